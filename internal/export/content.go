package export

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// content is bytes, as JSON, as text or as neither: whatever comes back exactly. A nil content is no bytes.
type content struct {
	JSON   json.RawMessage `json:"json,omitempty"`
	Text   string          `json:"text,omitempty"`
	Base64 []byte          `json:"base64,omitempty"`
}

func newContent(b []byte) *content {
	switch {
	case len(b) == 0:
		return nil
	case !utf8.Valid(b):
		return &content{Base64: b}
	case compact(b):
		return &content{JSON: b}
	}
	return &content{Text: string(b)}
}

// compact tells whether b is JSON that an encoder leaves as it is.
func compact(b []byte) bool {
	if !json.Valid(b) {
		return false
	}
	again, err := encode(json.RawMessage(b))
	return err == nil && bytes.Equal(b, bytes.TrimSuffix(again, []byte("\n")))
}

func (c *content) bytes() []byte {
	switch {
	case c == nil:
		return nil
	case c.JSON != nil:
		return c.JSON
	case c.Base64 != nil:
		return c.Base64
	}
	return []byte(c.Text)
}

// hexed is bytes that nobody reads.
type hexed []byte

// MarshalText implements encoding.TextMarshaler.
func (h hexed) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexed) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// text is a string that comes back exactly, also where it is no text.
type text string

// MarshalJSON implements json.Marshaler.
func (t text) MarshalJSON() ([]byte, error) {
	if !utf8.ValidString(string(t)) {
		return encode(content{Base64: []byte(t)})
	}
	return encode(string(t))
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var c content
		err := decode(b, &c)
		*t = text(c.Base64)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

// moment is a time in Unix milliseconds. It is written as a date where it is one.
type moment int64

// layout is RFC 3339 with milliseconds.
const layout = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (m moment) MarshalJSON() ([]byte, error) {
	if t := time.UnixMilli(int64(m)).UTC(); m > 0 && t.Year() <= 9999 {
		return encode(t.Format(layout))
	}
	return encode(int64(m))
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *moment) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return json.Unmarshal(b, (*int64)(m))
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return fmt.Errorf("a time is as in %s: %w", layout, err)
	}
	*m = moment(t.UnixMilli())
	return nil
}
