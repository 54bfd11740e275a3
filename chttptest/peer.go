package chttptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// peer is a Peer in one trial.
type peer struct {
	Peer
	trial *trial
	serve http.Handler // what the network calls
	stop  func()

	mu      sync.Mutex // guards what follows
	answers map[string]*answer
	works   map[work]int
}

// work is what a peer's handler was asked to do.
type work struct{ id, method, url, body string }

// answer is what a plain peer has answered, or is about to answer, to a key.
type answer struct {
	done   chan struct{}
	status int
	header http.Header
	body   []byte
}

// servePeers starts the peers of the trial.
func (tr *trial) servePeers() {
	tr.peers = make(map[string]*peer)
	for _, o := range tr.proof.opt.Peers {
		p := &peer{Peer: o, trial: tr, answers: make(map[string]*answer), works: make(map[work]int), stop: func() {}}
		tr.peers[o.Host] = p
		switch {
		case o.Forgetful:
			p.serve = http.HandlerFunc(p.work)
		case o.Plain:
			p.serve = http.HandlerFunc(p.once)
		default:
			if err := p.certify(tr.ctx); err != nil {
				tr.failNow(&finding{what: foundBroken, text: err.Error()})
				return
			}
		}
	}
}

// certify puts the handler behind a node of its own.
func (p *peer) certify(ctx context.Context) error {
	n, err := chttp.New(memstore.New(), &chttp.Options{Logger: quiet, Transport: between{p.trial}, Linger: 30 * time.Minute})
	if err != nil {
		return err
	}
	p.serve = n.Handler("peer", http.HandlerFunc(p.work), &chttp.HandlerOptions{Principal: everybody})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.Run(ctx)
	}()
	p.stop = func() { cancel(); <-done }
	return nil
}

// everybody is the principal of those who are not told apart.
func everybody(*http.Request) (string, error) { return "tester", nil }

func (p *peer) close() { p.stop() }

// work has the test's handler answer.
func (p *peer) work(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.Header.Get("Idempotency-Key")
	if x, ok := chttp.From(r.Context()); ok {
		id = x.ID
	}
	p.mu.Lock()
	p.works[work{id, r.Method, r.URL.RequestURI(), string(body)}]++
	p.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.Handler.ServeHTTP(w, r)
}

// once answers the same key with the same answer, as plain peers do that know keys.
func (p *peer) once(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		p.work(w, r)
		return
	}
	p.mu.Lock()
	a := p.answers[key]
	mine := a == nil
	if mine {
		a = &answer{done: make(chan struct{})}
		p.answers[key] = a
	}
	p.mu.Unlock()
	if mine {
		rec := httptest.NewRecorder()
		p.work(rec, r)
		a.status, a.header, a.body = rec.Code, rec.Result().Header, rec.Body.Bytes()
		if a.status >= 500 || a.status == http.StatusTooManyRequests {
			p.mu.Lock()
			delete(p.answers, key) // It is to be tried again.
			p.mu.Unlock()
		}
		close(a.done)
	}
	<-a.done
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// between takes the requests of peers to peers.
type between struct{ trial *trial }

// RoundTrip implements http.RoundTripper.
func (b between) RoundTrip(req *http.Request) (*http.Response, error) {
	p := b.trial.peers[req.URL.Host]
	if p == nil {
		return nil, fmt.Errorf("dial %s: no such peer", req.URL.Host)
	}
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	return b.trial.exchange(context.Background(), p.serve, req, body)
}

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	return io.ReadAll(req.Body)
}

var errDead = errors.New("the process is dead")

// RoundTrip takes a request of the process to a peer, and the answer back. The process may die before, or after the work was done.
func (l *life) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	tr := l.trial
	p, at, err := l.send(req)
	if err != nil {
		return nil, l.rest(req, err)
	}
	res := tr.recorded(at, req)
	switch {
	case res != nil:
	case p == nil:
		r := req.Clone(req.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		res, err = l.beyond.RoundTrip(r)
	default:
		res, err = tr.exchange(context.Background(), p.serve, req, body)
	}
	tr.mu.Lock()
	if at != nil && tr.dies(point{*at, momentAnswerLost}) {
		l.kill()
	}
	over := l.over
	tr.mu.Unlock()
	if over {
		if err == nil {
			res.Body.Close()
		}
		return nil, l.rest(req, errDead)
	}
	return res, err
}

// recorded is the answer that the undisturbed run got, where peers do not live as long as the trial. What counts of it is put in its place
// when it is recorded.
func (tr *trial) recorded(at *site, req *http.Request) *http.Response {
	if tr.child == nil || at == nil {
		return nil
	}
	rec := httptest.NewRecorder()
	if h := tr.proof.world.executions[at.key]; at.seq == none && h != nil {
		t, err := record.ParseTail(h.tail)
		if err != nil || t.Response == nil {
			return nil
		}
		rec.Header().Set("Idempotent-Replayed", "true") // Then it is final, whatever it is.
		rec.WriteHeader(t.Response.Status)
	}
	res := rec.Result()
	res.Request = req
	return res
}

// send lets a request leave the process. It returns the peer that it goes to, nil for what is beyond, and the site whose message it is, if
// any. Its error says that it does not arrive.
func (l *life) send(req *http.Request) (*peer, *site, error) {
	tr := l.trial
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if l.over {
		return nil, nil, errDead
	}
	p := tr.peers[req.URL.Host]
	if p == nil && l.beyond == nil {
		tr.fail(&finding{what: foundNobody, text: req.URL.Host})
		return nil, nil, errDead
	}
	info, _ := chttp.From(req.Context())
	at, ok := tr.messages[info.ID]
	if info.Function == sendFunction {
		at, ok = site{key: store.Key{ID: info.ID}, seq: none}, true
	}
	if !ok {
		return p, nil, nil
	}
	if tr.dies(point{at, momentRequestLost}) {
		l.kill()
		return nil, nil, errDead
	}
	return p, &at, nil
}

// rest keeps a request that does not arrive until its sender no longer waits: the dead are told nothing.
func (l *life) rest(req *http.Request, err error) error {
	select {
	case <-req.Context().Done():
	case <-time.After(time.Minute):
	}
	return err
}

// exchange is a request at h, in a goroutine of its own: it is finished whatever becomes of its sender, unless its server's context ends.
func (tr *trial) exchange(server context.Context, h http.Handler, req *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithCancel(server)
	r := (&http.Request{
		Method: req.Method, URL: &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery},
		RequestURI: req.URL.RequestURI(), Host: req.URL.Host, Header: req.Header.Clone(), RemoteAddr: "192.0.2.1:1234",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	if req.Host != "" {
		r.Host = req.Host
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	done := make(chan *http.Response, 1)
	tr.wg.Go(func() {
		defer cancel()
		defer close(done)
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				tr.failNow(&finding{what: foundBroken, text: fmt.Sprintf("the handler of the peer %s panicked: %v", req.URL.Host, p)})
			}
		}()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		done <- rec.Result()
	})
	select {
	case res := <-done:
		if res == nil {
			return nil, errors.New("connection reset by peer")
		}
		res.Request = req
		return res, nil
	case <-server.Done():
		return nil, errors.New("connection reset by peer")
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
}
