package chttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Get reads url and returns the answer, recorded: a replay is given the record. A GET is not certified: it may be repeated.
func Get(ctx context.Context, url string) (*http.Response, error) {
	return build(ctx, http.MethodGet, url, "", nil)
}

// Post sends one message and returns its answer, recorded; a replay returns the record and sends nothing. It is retried, across
// crashes, until an answer or Policy.Until. Any final status is a response, not an error. If ctx ends first, that is recorded as
// the call's result, and the error is ErrUnknownOutcome unless no attempt can have arrived (ErrNotDone). The same request again after
// ErrUnknownOutcome continues the same message. resp.Body is in memory; closing it is optional.
func Post(ctx context.Context, url, contentType string, body io.Reader) (*http.Response, error) {
	return build(ctx, http.MethodPost, url, contentType, body)
}

func build(ctx context.Context, method, url, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, &Error{Op: "call", Name: method + " " + url, Err: notDone(err)}
	}
	if contentType != "" {
		req.Header.Set(headerContentType, contentType)
	}
	return Call(ctx, req)
}

// PostJSON posts in as JSON and returns the answer's JSON. An answer that is not 2xx is an *Error with its status.
func PostJSON[Out any](ctx context.Context, url string, in any) (Out, error) {
	var out Out
	body, err := json.Marshal(in)
	if err != nil {
		return out, &Error{Op: "post", Name: url, Err: notDone(err)}
	}
	resp, err := Post(ctx, url, typeJSON, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return out, &Error{Op: "post", Name: url, Err: err}
	}
	if resp.StatusCode/100 != 2 {
		return out, &Error{
			Op: "post", Name: url, Status: resp.StatusCode, Body: answer[:min(len(answer), errorBody)],
			Err: errors.New(http.StatusText(resp.StatusCode)),
		}
	}
	if len(answer) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, &Error{Op: "post", Name: url, Status: resp.StatusCode, Body: answer[:min(len(answer), errorBody)], Err: fmt.Errorf("read the answer: %w", err)}
	}
	return out, nil
}

// Call is Post for any request. Only its fingerprint is stored, not its headers: a replay's own go out with later attempts.
func Call(ctx context.Context, req *http.Request) (*http.Response, error) {
	s, e, err := inside(ctx, "call", targetName(req))
	if err != nil {
		return nil, err
	}
	x := s.x
	policy := e.policy.over(x.node.opt.Policy)
	c := &outcall{req: req, policy: policy, name: firstOf(policy.Name, targetName(req))}
	if err := policy.validate(); err != nil {
		return nil, &Error{Op: "call", Name: c.name, Err: notDone(err)}
	}
	if c.body, err = readRequest(req, x.node.opt.MaxValue); err != nil {
		return nil, &Error{Op: "call", Name: c.name, Err: notDone(err)}
	}
	if c.key, err = ownKey(req, policy); err != nil {
		return nil, &Error{Op: "call", Name: c.name, Err: notDone(err)}
	}
	seen := x.shown(ctx, func() []byte { return requestText(req, c.body) })
	op, err := s.enter(seen, record.Call, c.name, requestPrint(req, c.body))
	if err != nil {
		return nil, err
	}
	defer op.leave()
	op.key = c.key
	if op.end == nil {
		if err := op.call(ctx, c); err != nil {
			return nil, err
		}
	}
	if op.end.Err != nil {
		return nil, x.node.unflatten(op.end.Err)
	}
	return responseOf(op.end.Response, req), nil
}

// outcall is a call that was checked and read.
type outcall struct {
	req    *http.Request
	body   []byte
	policy Policy
	name   string
	key    ID // that the caller's own code chose, or ""
}

// ownKey returns the id that the caller's code put on the request, or ordered.
func ownKey(req *http.Request, policy Policy) (ID, error) {
	if policy.ID != "" {
		return policy.ID, nil
	}
	keys := req.Header.Values(headerKey)
	if len(keys) == 0 {
		return "", nil
	}
	return parseKey(keys)
}

// call sends the message of op, or goes on sending it, and records its answer. Its error says that the execution is stopping.
func (op *operation) call(ctx context.Context, c *outcall) error {
	x := op.scope.x
	again := op.begin != nil
	if !again {
		begin, end, err := op.opening(ctx, c)
		switch {
		case err != nil:
			err = &Error{Op: "call", Name: c.name, ID: c.key, Err: notDone(err)}
			return op.note(&record.Entry{Phase: record.Whole, Err: x.node.flatten(err)})
		case end != nil:
			return op.note(end)
		}
		if err := op.note(begin); err != nil {
			return err
		}
	}
	if err := op.output(); err != nil { // C1: the id, and that it begins, are durable before the first byte.
		return err
	}
	m := &message{
		id: op.messageID(), derived: op.begin.ID == "", method: method(c.req), url: c.req.URL, header: headerOf(c.req), body: c.body,
		sent: op.begin.Sent, until: op.begin.Until, dest: c.policy.Destination, left: again || op.begin.Continues, earlier: again || op.begin.Continues,
		info: Info{ID: op.messageID(), Function: x.reg.name, State: "running", Labels: c.policy.Labels},
	}
	if c.req.Host != "" && c.req.Host != c.req.URL.Host {
		if m.header == nil {
			m.header = make(http.Header)
		}
		m.header.Set("Host", c.req.Host)
	}
	ctx, cancel := x.within(ctx)
	wake := x.node.now().Add(restPause).UnixMilli()
	back := x.rest(time.UnixMilli(max(wake, m.sent)))
	e := x.node.courier.deliver(ctx, m)
	back()
	cancel()
	return op.answered(c, m, e)
}

// opening decides what the call's beginning records: a message of its own, or one that an earlier call's unanswered message
// goes on in (C1). An end instead is the answer that the message has had.
func (op *operation) opening(ctx context.Context, c *outcall) (begin, end *record.Entry, err error) {
	x := op.scope.x
	reading := method(c.req) == http.MethodGet || method(c.req) == http.MethodHead
	if prior := op.prior(c.key, reading); prior != nil {
		if prior.end.Err == nil {
			return nil, &record.Entry{Phase: record.Whole, ID: prior.messageID(), Response: prior.end.Response, Continues: true}, nil
		}
		return &record.Entry{Phase: record.Begin, ID: prior.messageID(), Sent: prior.begin.Sent, Until: prior.begin.Until, Continues: true}, nil, nil
	}
	if err := op.otherRequest(c.key); err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil {
		return nil, nil, ending(ctx)
	}
	m := &message{method: method(c.req), url: c.req.URL, header: c.req.Header, body: c.body, dest: c.policy.Destination}
	sent, until, _, err := x.node.term(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	return &record.Entry{Phase: record.Begin, ID: c.key, Sent: sent, Until: until}, nil, nil
}

// prior returns the call whose message this one continues: the last one with the same key and request, or one with the same request that
// got no answer. That is the one just before, as SDKs that retry make them, or, without a key, the last one, whatever was done in
// between, such as a Sleep. Reading is done anew then.
func (op *operation) prior(key ID, reading bool) *operation {
	log := op.scope.log
	for i := op.seq - 1; i >= 0; i-- {
		p := log[i]
		if p.kind != record.Call || p.end == nil || string(p.print) != string(op.print) {
			continue
		}
		noAnswer := p.end.Err != nil && p.begin.Phase == record.Begin
		same := key != "" && (key == p.key || key == p.messageID()) // An SDK draws another key in another run.
		if noAnswer && (i == op.seq-1 || key == "" && !reading || same) || same && p.end.Err == nil {
			return p
		}
		if key == "" {
			return nil
		}
	}
	return nil
}

// otherRequest is an error when the key is that of an earlier call of this scope with another request (I4).
func (op *operation) otherRequest(key ID) error {
	if key == "" {
		return nil
	}
	for _, p := range op.scope.log[:op.seq] {
		if p.kind == record.Call && p.begin != nil && (p.begin.ID == key || p.key == key) && string(p.print) != string(op.print) {
			return fmt.Errorf("%w: the key %q went out with another request", ErrReused, key)
		}
	}
	return nil
}

// messageID returns the id of the call's message.
func (op *operation) messageID() ID {
	if op.begin != nil && op.begin.ID != "" {
		return op.begin.ID
	}
	return op.scope.x.derive(op)
}

// answered records how the call's message ended.
func (op *operation) answered(c *outcall, m *message, e *end) error {
	x := op.scope.x
	if err := op.stopping(); err != nil {
		return err // The attempt's answer is discarded; the next run asks for it again.
	}
	if errors.Is(e.err, ErrReused) && m.derived {
		return x.park(record.Call, c.name, fmt.Sprintf(
			"the peer knows the id of call %q, at %s, with another request: what this run sends differs from what an earlier one sent", c.name, userLine()))
	}
	r := &record.Entry{Phase: record.End, Response: e.response}
	if e.err != nil {
		r.Response = nil
		r.Err = x.node.flatten(&Error{Op: "call", Name: c.name, ID: m.id, Err: e.err})
	}
	return op.note(r, func() {
		if e.ack != nil {
			x.acks = append(x.acks, *e.ack) // A1: sent when this result is durable, not when an earlier batch is.
		}
	})
}

// responseOf makes of a record the response that every run sees.
func responseOf(r *record.Response, req *http.Request) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)), StatusCode: r.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: r.Header.Clone(),
		Body: io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)), Request: req,
	}
}
