package export

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// execution is a record without its oplog and tail.
type execution struct {
	ID        text   `json:"id"`
	Scope     text   `json:"scope,omitempty"`
	Function  text   `json:"function"`
	State     string `json:"state"`
	Run       uint64 `json:"run"`
	Version   int    `json:"version"`
	Created   moment `json:"created,omitempty"`
	Due       moment `json:"due,omitempty"`
	Bound     moment `json:"bound,omitempty"`
	Certified bool   `json:"certified,omitempty"`
	Print     hexed  `json:"print,omitempty"`
	Head      *head  `json:"head,omitempty"`
}

func newExecution(r *store.Record) *execution {
	return &execution{
		ID: text(r.ID), Scope: text(r.Scope), Function: text(r.Function), State: r.State.String(), Run: r.Run, Version: r.Version,
		Created: moment(r.Created), Due: moment(r.Due), Bound: moment(r.Bound), Certified: r.Certified, Print: r.Print, Head: newHead(r.Head),
	}
}

func (e *execution) record(r *store.Record) (err error) {
	*r = store.Record{
		Key: store.Key{ID: string(e.ID), Scope: string(e.Scope)}, Function: string(e.Function), Run: e.Run, Version: e.Version,
		Created: int64(e.Created), Due: int64(e.Due), Bound: int64(e.Bound), Certified: e.Certified, Print: e.Print,
	}
	for s := store.Running; s <= store.Acknowledged; s++ {
		if s.String() == e.State {
			r.State = s
		}
	}
	switch {
	case r.State == 0:
		return fmt.Errorf("there is no state %q", e.State)
	case r.ID == "" || r.Run == 0 || r.Version < 1:
		return errors.New("the execution has no id, run or version")
	}
	r.Head, err = e.Head.bytes()
	return err
}

// head is record.Head, or what is none.
type head struct {
	Input       *content          `json:"input,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Method      string            `json:"method,omitempty"`
	URL         string            `json:"url,omitempty"`
	Host        string            `json:"host,omitempty"`
	Principal   string            `json:"principal,omitempty"`
	Header      http.Header       `json:"header,omitempty"`
	Body        *content          `json:"body,omitempty"`
	PathValue   map[string]string `json:"path_value,omitempty"`
	Destination string            `json:"destination,omitempty"`
	Sent        moment            `json:"sent,omitempty"`
	At          moment            `json:"at,omitempty"`
	Until       moment            `json:"until,omitempty"`
	Chosen      bool              `json:"chosen,omitempty"`
	Minimal     bool              `json:"minimal,omitempty"`
	Keyless     bool              `json:"keyless,omitempty"`
	Base64      []byte            `json:"base64,omitempty"` // of the whole
}

func newHead(b []byte) *head {
	if len(b) == 0 {
		return nil
	}
	if h, err := record.ParseHead(b); err == nil {
		out := &head{
			Input: newContent(h.Input), Labels: h.Label, Method: h.Method, URL: h.URL, Host: h.Host, Principal: h.Principal, Header: h.Header,
			Body: newContent(h.Body), PathValue: h.PathValue, Destination: h.Destination, Sent: moment(h.Sent), At: moment(h.At),
			Until: moment(h.Until), Chosen: h.Chosen, Minimal: h.Minimal, Keyless: h.Keyless,
		}
		if comesBack(out, b) {
			return out
		}
	}
	return &head{Base64: b}
}

func (h *head) bytes() ([]byte, error) {
	switch {
	case h == nil:
		return nil, nil
	case h.Base64 != nil:
		return h.Base64, nil
	}
	r := &record.Head{
		Input: h.Input.bytes(), Label: h.Labels, Method: h.Method, URL: h.URL, Host: h.Host, Principal: h.Principal, Header: h.Header,
		Body: h.Body.bytes(), PathValue: h.PathValue, Destination: h.Destination, Sent: int64(h.Sent), At: int64(h.At),
		Until: int64(h.Until), Chosen: h.Chosen, Minimal: h.Minimal, Keyless: h.Keyless,
	}
	return r.Append(nil), nil
}

// tail is record.Tail, or what is none.
type tail struct {
	Value    *content  `json:"value,omitempty"`
	Error    *failure  `json:"error,omitempty"`
	Response *response `json:"response,omitempty"`
	Why      string    `json:"why,omitempty"`
	Cause    string    `json:"cause,omitempty"`
	Ended    moment    `json:"ended,omitempty"`
	Base64   []byte    `json:"base64,omitempty"` // of the whole
}

func newTail(b []byte) *tail {
	if t, err := record.ParseTail(b); err == nil {
		out := &tail{
			Value: newContent(t.Value), Error: newFailure(t.Err), Response: newResponse(t.Response), Why: t.Why, Cause: t.Cause, Ended: moment(t.Ended),
		}
		if comesBack(out, b) {
			return out
		}
	}
	return &tail{Base64: b}
}

func (t *tail) bytes() ([]byte, error) {
	if t.Base64 != nil {
		return t.Base64, nil
	}
	r := &record.Tail{
		Value: t.Value.bytes(), Err: t.Error.error(), Response: t.Response.response(), Why: t.Why, Cause: t.Cause, Ended: int64(t.Ended),
	}
	return r.Append(nil), nil
}

// failure is record.Error.
type failure struct {
	Text string   `json:"text,omitempty"`
	Is   []string `json:"is,omitempty"`
	Own  *own     `json:"own,omitempty"`
}

type own struct {
	Op     string   `json:"op,omitempty"`
	Name   string   `json:"name,omitempty"`
	ID     string   `json:"id,omitempty"`
	Status int      `json:"status,omitempty"`
	Body   *content `json:"body,omitempty"`
	Error  *failure `json:"error,omitempty"`
}

func newFailure(e *record.Error) *failure {
	if e == nil {
		return nil
	}
	f := &failure{Text: e.Text, Is: e.Is}
	if o := e.Own; o != nil {
		f.Own = &own{Op: o.Op, Name: o.Name, ID: o.ID, Status: o.Status, Body: newContent(o.Body), Error: newFailure(o.Err)}
	}
	return f
}

func (f *failure) error() *record.Error {
	if f == nil {
		return nil
	}
	e := &record.Error{Text: f.Text, Is: f.Is}
	if o := f.Own; o != nil {
		e.Own = &record.Own{Op: o.Op, Name: o.Name, ID: o.ID, Status: o.Status, Body: o.Body.bytes(), Err: o.Error.error()}
	}
	return e
}

// response is record.Response.
type response struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   *content    `json:"body,omitempty"`
}

func newResponse(r *record.Response) *response {
	if r == nil {
		return nil
	}
	return &response{Status: r.Status, Header: r.Header, Body: newContent(r.Body)}
}

func (r *response) response() *record.Response {
	if r == nil {
		return nil
	}
	return &record.Response{Status: r.Status, Header: r.Header, Body: r.Body.bytes()}
}

// comesBack tells whether b is what a reader makes of v.
func comesBack[T any, P interface {
	*T
	bytes() ([]byte, error)
}](v P, b []byte) bool {
	written, err := encode(v)
	if err != nil {
		return false
	}
	read := P(new(T))
	if err := decode(written, read); err != nil {
		return false
	}
	again, err := read.bytes()
	return err == nil && bytes.Equal(again, b)
}
