package chttptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// ResumesHandler is Resumes for a handler that Node.Handler makes durable, and one request to it. It is proved twice: with a certified client, and
// with one that is not and sends a plain Idempotency-Key. Either repeats the request until it has an answer, which must be the same in every
// run. req is not changed but for its body, which is read; its method is one that has an effect.
func ResumesHandler(t TB, h http.Handler, req *http.Request, o *Options) {
	t.Helper()
	body, err := readBody(req)
	if err != nil {
		t.Fatalf("chttptest.ResumesHandler: read the request's body: %v", err)
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		t.Fatalf("chttptest.ResumesHandler: the request is a %s, which passes through to the handler and is not recorded", req.Method)
	}
	opt := o.withDefaults()
	how := opt.Handler
	if how == nil {
		how = &chttp.HandlerOptions{Principal: everybody}
	}
	for _, call := range []func(*trial) error{
		func(tr *trial) error { return tr.callCertified(req, body) },
		func(tr *trial) error { return tr.callPlain(req, body) },
	} {
		if !prove(t, o, &subject{
			kind:     "handler",
			register: func(n *chttp.Node) http.Handler { return n.Handler(handlerName, h, how) },
			call:     call,
		}) {
			return
		}
	}
}

// handlerName is the name of the handler that is proved.
const handlerName = "handler"

// copyOf makes a copy of req with its body.
func copyOf(ctx context.Context, req *http.Request, body []byte) *http.Request {
	r := req.Clone(ctx)
	r.RequestURI = ""
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	if r.URL.Scheme == "" {
		r.URL.Scheme = "http"
	}
	if r.URL.Host == "" {
		r.URL.Host = "handler.example"
	}
	return r
}

// callCertified calls the handler from a node.
func (tr *trial) callCertified(req *http.Request, body []byte) error {
	n, err := chttp.New(memstore.New(), &chttp.Options{Logger: quiet, Transport: inbound{tr}, Linger: 30 * time.Minute})
	if err != nil {
		return err
	}
	f := chttp.Resumable("call", func(ctx context.Context, _ struct{}) (string, error) {
		res, err := chttp.Call(chttp.With(ctx, chttp.Policy{ID: rootID}), copyOf(ctx, req, body))
		if err != nil {
			return "", err
		}
		return answerText(res)
	})
	n.Register(f)
	ctx, cancel := context.WithCancel(tr.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	x, err := f.Start(ctx, n, "call", struct{}{})
	if err != nil {
		return err
	}
	answer, err := x.Wait(ctx)
	tr.answered(answer)
	return err
}

// callPlain calls the handler as any client can that repeats its requests.
func (tr *trial) callPlain(req *http.Request, body []byte) error {
	for tries := 0; tr.ctx.Err() == nil; tries++ {
		if tries > 0 {
			time.Sleep(time.Second)
		}
		r := copyOf(tr.ctx, req, body)
		r.Header.Set("Idempotency-Key", `"`+rootID+`"`)
		res, err := inbound{tr}.RoundTrip(r)
		if err != nil {
			continue
		}
		answer, err := answerText(res)
		if err != nil {
			return err
		}
		problem := strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json")
		if problem && (res.StatusCode == http.StatusConflict || res.StatusCode == http.StatusServiceUnavailable) {
			continue
		}
		tr.answered(answer)
		return nil
	}
	return tr.ctx.Err()
}

func (tr *trial) answered(answer string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.answer = answer
}

// perAnswer are header fields that say something of one answer, and not of the outcome.
var perAnswer = []string{"Certified", "Content-Digest", "Idempotent-Replayed", "Date", "Preference-Applied", "Cache-Control", "Retry-After"}

// answerText shows an answer as it must be every time.
func answerText(res *http.Response) (string, error) {
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintln(&b, res.StatusCode)
	for _, k := range slices.Sorted(maps.Keys(res.Header)) {
		if !slices.Contains(perAnswer, k) {
			fmt.Fprintf(&b, "%s: %s\n", k, strings.Join(res.Header[k], ", "))
		}
	}
	fmt.Fprintf(&b, "\n%s", body)
	return b.String(), nil
}

// inbound takes requests to the handler in the life that there is.
type inbound struct{ trial *trial }

// RoundTrip implements http.RoundTripper.
func (in inbound) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	tr := in.trial
	tr.mu.Lock()
	var l *life
	if n := len(tr.lives); n > 0 && !tr.lives[n-1].over {
		l = tr.lives[n-1]
	}
	if l == nil || l.handler == nil {
		tr.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: "chttptest", Err: errors.New("connection refused")}
	}
	h := l.handler
	tr.mu.Unlock()
	res, err := tr.exchange(l.ctx, h, req, body)
	if l.ctx.Err() != nil {
		return nil, errors.New("connection reset by peer")
	}
	return res, err
}
