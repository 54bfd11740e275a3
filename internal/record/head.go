package record

import "net/http"

// Head is what an execution began with: a function's input, or the message that was sent or received. It never changes.
type Head struct {
	Input []byte            // a function's, as its codec wrote it
	Label map[string]string // Policy.Labels

	// A message.
	Method string
	URL    string // absolute when sent; path and query when received
	Header http.Header
	Body   []byte
	Sent   int64 // Unix milliseconds; never changes for an id
	Until  int64

	// Sent.
	Destination string // Policy.Destination
	Chosen      bool   // the id is its caller's

	// Received.
	At        int64 // the largest of the copies that waited for it
	Host      string
	Principal string
	PathValue map[string]string
	Minimal   bool // Prefer: return=minimal
	Keyless   bool // it came without a key; the id is the server's
}

// Append appends h to b.
func (h *Head) Append(b []byte) []byte {
	b = append(b, Version)
	b = appendBytes(b, 1, h.Input)
	b = appendMap(b, 2, h.Label)
	b = appendBytes(b, 3, h.Method)
	b = appendBytes(b, 4, h.URL)
	b = appendHeader(b, 5, h.Header)
	b = appendBytes(b, 6, h.Body)
	b = appendInt(b, 7, h.Sent)
	b = appendInt(b, 8, h.Until)
	b = appendBytes(b, 9, h.Destination)
	b = appendInt(b, 10, h.At)
	b = appendBytes(b, 11, h.Host)
	b = appendBytes(b, 12, h.Principal)
	b = appendMap(b, 13, h.PathValue)
	b = appendBool(b, 14, h.Minimal)
	b = appendBool(b, 15, h.Keyless)
	return appendBool(b, 16, h.Chosen)
}

// ParseHead reads what Append wrote. What it returns shares b.
func ParseHead(b []byte) (*Head, error) {
	h := new(Head)
	err := fields(b, func(tag byte, v []byte) error {
		switch tag {
		case 1:
			h.Input = v
		case 2:
			return getMap(v, &h.Label)
		case 3:
			h.Method = string(v)
		case 4:
			h.URL = string(v)
		case 5:
			return getHeader(v, &h.Header)
		case 6:
			h.Body = v
		case 7:
			return getInt(v, &h.Sent)
		case 8:
			return getInt(v, &h.Until)
		case 9:
			h.Destination = string(v)
		case 10:
			return getInt(v, &h.At)
		case 11:
			h.Host = string(v)
		case 12:
			h.Principal = string(v)
		case 13:
			return getMap(v, &h.PathValue)
		case 14:
			return getBool(v, &h.Minimal)
		case 15:
			return getBool(v, &h.Keyless)
		case 16:
			return getBool(v, &h.Chosen)
		}
		return nil
	})
	return h, err
}
