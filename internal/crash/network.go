package crash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
)

var (
	errDead  = errors.New("the process is dead")
	errReset = errors.New("connection reset by peer")
)

// refused is the error of a connection that was not made.
func refused() error {
	return &net.OpError{Op: "dial", Net: "crash", Err: errors.New("connection refused")}
}

// RoundTrip takes a request to the process that its URL's host names, and the answer back. Either side may die before, or after
// the work was done.
func (l *Life) RoundTrip(req *http.Request) (*http.Response, error) {
	p := l.process
	w := p.world
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
	}
	w.mu.Lock()
	if l.dead {
		w.mu.Unlock()
		return nil, errDead
	}
	p.requests++
	point := Point{Caller: p.name, N: p.requests}
	if w.diesAt(point, p.name, false) {
		l.kill()
		w.mu.Unlock()
		return nil, errDead
	}
	w.leaves(p, req, body)
	q := w.processes[req.URL.Host]
	if q != nil && w.diesAt(point, q.name, false) && q.life != nil {
		q.life.kill()
	}
	if q == nil || q.life == nil || q.life.handler == nil {
		w.mu.Unlock()
		return nil, refused()
	}
	peer := q.life
	w.mu.Unlock()

	done := make(chan *http.Response, 1)
	w.wg.Go(func() {
		w.pass()
		res := peer.serve(req, body)
		w.pass()
		done <- res
	})
	select {
	case <-peer.ctx.Done():
		return nil, errReset
	case <-l.ctx.Done():
		return nil, errDead
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	case res := <-done:
		w.mu.Lock()
		defer w.mu.Unlock()
		if peer.dead {
			return nil, errReset
		}
		if w.diesAt(point, q.name, true) {
			peer.kill()
			return nil, errReset
		}
		w.answers(q, req, res)
		if w.diesAt(point, p.name, true) {
			l.kill()
		}
		if l.dead {
			return nil, errDead
		}
		return res, nil
	}
}

// diesAt is dies for a request; called with mu held.
func (w *World) diesAt(p Point, victim string, after bool) bool {
	p.Victim, p.After = victim, after
	return w.dies(p)
}

// serve is the request at the callee. A connection ends with either process.
func (l *Life) serve(req *http.Request, body []byte) *http.Response {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	defer context.AfterFunc(req.Context(), cancel)()
	r := (&http.Request{
		Method: req.Method, URL: &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery},
		RequestURI: req.URL.RequestURI(), Host: req.URL.Host, Header: req.Header.Clone(), RemoteAddr: "caller",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	rec := httptest.NewRecorder()
	l.handler.ServeHTTP(rec, r)
	return rec.Result()
}
