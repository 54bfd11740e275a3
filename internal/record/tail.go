package record

import "net/http"

// Tail is what an execution ended with, or why it is parked.
type Tail struct {
	Value    []byte // a function's, as its codec wrote it
	Err      *Error // a function's error, or why a message has no outcome
	Response *Response
	Why      string // parked: the reason, for people
	Cause    string // parked: "unregistered" and the like, for programs
	Ended    int64  // Unix milliseconds
}

// Response is an HTTP response as recorded.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Error is an error as recorded: what it said, and the sentinels that errors.Is must find again, by their texts.
type Error struct {
	Text string
	Is   []string
	Own  *Own // what errors.As must find again
}

// Own is a chttp.Error that an error is or wraps.
type Own struct {
	Op, Name, ID string
	Status       int
	Body         []byte
	Err          *Error
}

// Append appends t to b.
func (t *Tail) Append(b []byte) []byte {
	b = append(b, Version)
	b = appendBytes(b, 1, t.Value)
	b = appendError(b, 2, t.Err)
	b = appendResponse(b, 3, t.Response)
	b = appendBytes(b, 4, t.Why)
	b = appendBytes(b, 5, t.Cause)
	return appendInt(b, 6, t.Ended)
}

// ParseTail reads what Append wrote. What it returns shares b.
func ParseTail(b []byte) (*Tail, error) {
	t := new(Tail)
	err := fields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case 1:
			t.Value = v
		case 2:
			t.Err, err = parseError(v)
		case 3:
			t.Response, err = parseResponse(v)
		case 4:
			t.Why = string(v)
		case 5:
			t.Cause = string(v)
		case 6:
			err = getInt(v, &t.Ended)
		}
		return err
	})
	return t, err
}

func appendError(b []byte, tag byte, e *Error) []byte {
	if e == nil {
		return b
	}
	inner := appendBytes([]byte{Version}, 1, e.Text)
	for _, s := range e.Is {
		inner = appendBytes(inner, 2, s)
	}
	if o := e.Own; o != nil {
		own := appendBytes([]byte{Version}, 1, o.Op)
		own = appendBytes(own, 2, o.Name)
		own = appendBytes(own, 3, o.ID)
		own = appendInt(own, 4, int64(o.Status))
		own = appendBytes(own, 5, o.Body)
		inner = appendBytes(inner, 3, appendError(own, 6, o.Err))
	}
	return appendBytes(b, tag, inner)
}

func parseError(b []byte) (*Error, error) {
	e := new(Error)
	err := fields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case 1:
			e.Text = string(v)
		case 2:
			e.Is = append(e.Is, string(v))
		case 3:
			e.Own, err = parseOwn(v)
		}
		return err
	})
	return e, err
}

func parseOwn(b []byte) (*Own, error) {
	o := new(Own)
	err := fields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case 1:
			o.Op = string(v)
		case 2:
			o.Name = string(v)
		case 3:
			o.ID = string(v)
		case 4:
			var n int64
			err = getInt(v, &n)
			o.Status = int(n)
		case 5:
			o.Body = v
		case 6:
			o.Err, err = parseError(v)
		}
		return err
	})
	return o, err
}

func appendResponse(b []byte, tag byte, r *Response) []byte {
	if r == nil {
		return b
	}
	inner := make([]byte, 0, 64+len(r.Body))
	inner = appendInt(append(inner, Version), 1, int64(r.Status))
	inner = appendHeader(inner, 2, r.Header)
	inner = appendBytes(inner, 3, r.Body)
	return appendBytes(b, tag, inner)
}

func parseResponse(b []byte) (*Response, error) {
	r := &Response{Header: make(http.Header)}
	err := fields(b, func(tag byte, v []byte) error {
		switch tag {
		case 1:
			var n int64
			err := getInt(v, &n)
			r.Status = int(n)
			return err
		case 2:
			return getHeader(v, &r.Header)
		case 3:
			r.Body = v
		}
		return nil
	})
	return r, err
}
