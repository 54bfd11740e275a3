package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
)

// url is where the message of an operation goes.
func (f *frame) url(o *op, host string) string {
	return fmt.Sprintf("http://%s/%s?m=%s&d=%d", host, o.route, f.message(o), max(0, f.depth-1))
}

// content is a message's body: what the run has come to.
func (f *frame) content() string { return fmt.Sprintf("%016x", f.sum) }

// opOfCall is the name in the oplog of the call that makes a message.
func opOfCall(message string) string { return "call~" + message }

// calling returns a context for the call of an operation, and notes what its message follows from.
func (f *frame) calling(ctx context.Context, o *op, p chttp.Policy) context.Context {
	p.Name = opOfCall(f.message(o))
	f.makes(f.message(o))
	return chttp.With(ctx, p)
}

// makes notes what a message follows from that is about to be made.
func (f *frame) makes(message string) {
	w := f.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.l.current() {
		w.sights[message] = f.seen
	}
}

// answered takes note of a call's result.
func (f *frame) answered(o *op, resp *http.Response, err error) error {
	name := f.message(o)
	if err != nil {
		f.tell(o, nil, err, opOfCall(name))
		return f.goesOn(o, err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.l.p.w.wrong("I3", "%s: a recorded answer cannot be read: %v", name, err)
	}
	f.i3Told(name, resp.StatusCode, string(b))
	f.tell(o, fmt.Sprint(resp.StatusCode, resp.Header.Get("X-Sum"), string(b)), nil, opOfCall(name))
	return nil
}

func (f *frame) post(ctx context.Context, o *op) error {
	resp, err := chttp.Post(f.calling(ctx, o, chttp.Policy{}), f.url(o, o.host), "text/plain", strings.NewReader(f.content()))
	return f.answered(o, resp, err)
}

func (f *frame) postOutside(ctx context.Context, o *op) error {
	host := strings.TrimPrefix(o.kind, "post to ")
	var p chttp.Policy
	if host == nowhereHost {
		p.Until = 3*time.Second + o.d
	}
	resp, err := chttp.Post(f.calling(ctx, o, p), f.url(o, host), "text/plain", strings.NewReader(f.content()))
	return f.answered(o, resp, err)
}

func (f *frame) postJSON(ctx context.Context, o *op) error {
	v, err := chttp.PostJSON[any](f.calling(ctx, o, chttp.Policy{}), f.url(o, o.host), map[string]string{"sum": f.content()})
	f.tell(o, v, err, opOfCall(f.message(o)))
	return f.goesOn(o, err)
}

// idOf is an id that a program chooses.
func idOf(message string) string { return "id~" + message + "~chosen-by-itself" }

func (f *frame) postWithID(ctx context.Context, o *op) error {
	p := chttp.Policy{ID: idOf(f.message(o))}
	resp, err := chttp.Post(f.calling(ctx, o, p), f.url(o, o.host), "text/plain", strings.NewReader(f.content()))
	return f.answered(o, resp, err)
}

// postWithDeadline gives up, and makes the same request again: that continues the same message (C1).
func (f *frame) postWithDeadline(ctx context.Context, o *op) error {
	call := f.calling(ctx, o, chttp.Policy{})
	content := f.content()
	short, cancel := context.WithTimeout(call, o.d)
	defer cancel()
	resp, err := chttp.Post(short, f.url(o, o.host), "text/plain", strings.NewReader(content))
	if err == nil {
		return f.answered(o, resp, nil)
	}
	f.l.p.w.reached("a call is given up")
	if o.n%3 == 0 {
		return f.answered(o, nil, err)
	}
	again, err2 := chttp.Post(call, f.url(o, o.host), "text/plain", strings.NewReader(content))
	f.see(o.path+" given up", err.Error(), "")
	return f.answered(o, again, err2)
}

// postBySDK is what a client library does: a key of its own, another one in each run, and the same request again where there was no answer.
func (f *frame) postBySDK(ctx context.Context, o *op) error {
	ctx = f.calling(ctx, o, chttp.Policy{})
	client := &http.Client{Transport: &chttp.Transport{}, Timeout: 0}
	key := fmt.Sprintf("sdk-key-%012d-of-its-own", f.l.p.w.number())
	content := f.content()
	var resp *http.Response
	var err error
	for try := range 3 {
		within, cancel := ctx, context.CancelFunc(func() {})
		if try < 2 {
			within, cancel = context.WithTimeout(ctx, o.d)
		}
		var req *http.Request
		if req, err = http.NewRequestWithContext(within, http.MethodPost, f.url(o, o.host), strings.NewReader(content)); err != nil {
			cancel()
			return err
		}
		req.Header.Set(headerKey, key)
		req.Header.Set("X-Sdk-Attempt", fmt.Sprint(try))
		resp, err = client.Do(req)
		cancel()
		if err == nil || errors.Is(err, chttp.ErrCanceled) {
			break
		}
		f.l.p.w.reached("an SDK tries again")
	}
	return f.answered(o, resp, err)
}

// postTooMuch posts what no handler takes: it is refused.
func (f *frame) postTooMuch(ctx context.Context, o *op) error {
	body := f.content() + strings.Repeat(".", maxBody)
	resp, err := chttp.Post(f.calling(ctx, o, chttp.Policy{}), f.url(o, o.host), "text/plain", strings.NewReader(body))
	if err == nil {
		f.l.p.w.wrong("S1", "%s is taken, though it is too large: %s", f.message(o), resp.Status)
	}
	return f.answered(o, resp, err)
}

// get reads, uncertified.
func (f *frame) get(ctx context.Context, o *op) error {
	ctx = chttp.With(ctx, chttp.Policy{Name: opOfCall(f.message(o)), Until: 10 * time.Minute})
	resp, err := chttp.Get(ctx, f.url(o, o.host))
	if err != nil {
		f.tell(o, nil, err, opOfCall(f.message(o)))
		return f.goesOn(o, err)
	}
	b, err := io.ReadAll(resp.Body)
	f.tell(o, fmt.Sprint(resp.StatusCode, string(b)), err, opOfCall(f.message(o)))
	return nil
}
