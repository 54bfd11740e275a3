package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"
)

var (
	errDead  = errors.New("sim: the process is dead")
	errReset = errors.New("sim: connection reset by peer")
)

// refused is the error of a connection that was not made: nothing has left.
func refused() error {
	return &net.OpError{Op: "dial", Net: "sim", Err: errors.New("connection refused")}
}

// voyage is one request on its way and back.
type voyage struct {
	w    *World
	from string
	life *Life // of the sender; nil outside of nodes
	req  *http.Request
	body []byte
	name string // of the message, or what else it is
	n    int    // which attempt
	fate fate
}

// fate is what the network makes of a voyage.
type fate struct {
	pause    time.Duration   // before it arrives
	copies   []time.Duration // and later ones
	lost     bool
	deaf     bool
	hang     time.Duration // before it is seen that it was lost
	gateway  bool
	early    bool // the gateway did not pass it on
	unmarked bool
	garbled  int // what is changed: 1 the request, 2 the answer, 3 the answer is cut short
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
	cut    bool // its body breaks off
}

// RoundTrip takes a request to the host that its URL names, and the answer back, as far as the network lets it.
func (l *Life) RoundTrip(req *http.Request) (*http.Response, error) {
	return l.p.w.exchange(l.p.name, l, req)
}

// exchange is RoundTrip, for senders without a node too.
func (w *World) exchange(from string, l *Life, req *http.Request) (*http.Response, error) {
	v := &voyage{w: w, from: from, life: l, req: req, name: label(req)}
	if req.Body != nil {
		var err error
		if v.body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
	}
	if err := v.depart(); err != nil {
		return nil, err
	}
	r, err := v.travel()
	if l != nil {
		v.arrived(r)
	}
	if err != nil {
		return nil, err
	}
	res := &http.Response{
		StatusCode: r.status, Status: http.StatusText(r.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)), Request: req,
	}
	if r.cut {
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(r.body), brokenOff{}))
	}
	return res, nil
}

// brokenOff is the end of a body that broke off.
type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// label names a request the same in every run of a seed.
func label(req *http.Request) string {
	if m := req.URL.Query().Get("m"); m != "" {
		return m
	}
	path := req.URL.Path
	if strings.HasPrefix(path, pathOfMessages) {
		path = pathOfMessages
	}
	return req.Method + " " + req.URL.Host + path
}

// depart is the request's leaving. Its error says that nothing has left.
func (v *voyage) depart() error {
	w := v.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.life != nil && v.life.dead {
		return errDead
	}
	w.tallies["attempt "+v.from+" "+v.name]++
	v.n = w.tallies["attempt "+v.from+" "+v.name]
	key := v.from + " " + v.name
	if v.life != nil && v.life.dies(DieRequest, 0.012, key+" leaves", v.n, "before its request leaves"+v.kind()) {
		return errDead
	}
	_, outside := w.outside[v.req.URL.Host]
	q := w.process(v.req.URL.Host)
	if !outside && (q == nil || !q.life.serving()) || w.strikes(Refuse, 0.04, key, v.n) {
		return refused()
	}
	w.leaves(v)
	f := &v.fate
	if w.strikes(Slow, 0.12, key, v.n) {
		f.pause = w.luck.span(time.Millisecond, 70*time.Second, "slow", key, v.n)
	}
	if w.strikes(Double, 0.06, key, v.n) {
		f.copies = w.copies(key, v.n)
	}
	f.hang = w.luck.span(10*time.Millisecond, 100*time.Second, "hang", key, v.n)
	f.lost = w.strikes(Lose, 0.06, key, v.n)
	f.deaf = w.strikes(Deaf, 0.08, key, v.n)
	if w.strikes(Reset, 0.04, key, v.n) {
		f.hang, f.lost, f.deaf = 0, w.luck.chance(0.5, "reset early", key, v.n), true
	}
	f.gateway = w.strikes(Gateway, 0.03, key, v.n)
	f.early = w.luck.chance(0.5, "gateway early", key, v.n)
	f.unmarked = v.certified() && v.life != nil && v.life.p.knows(v.req.URL.Host) && w.strikes(Unmarked, 0.03, key, v.n)
	if w.strikes(Garble, 0.03, key, v.n) {
		f.garbled = 1 + w.luck.pick(3, "garbled", key, v.n)
		if outside {
			f.garbled = 3 // It would not see the change.
		}
	}
	return nil
}

// copies returns when a request arrives once more: at once, or up to hours later.
func (w *World) copies(key string, n int) (list []time.Duration) {
	if w.luck.chance(0.05, "many copies", key, n) {
		return make([]time.Duration, 30) // at once
	}
	for i := range 1 + w.luck.pick(2, "copies", key, n) {
		list = append(list, w.luck.span(time.Millisecond, 4*time.Hour, "copy", key, 10*n+i))
	}
	return list
}

// kind tells acknowledgements from messages in what is counted.
func (v *voyage) kind() string {
	switch {
	case v.req.Method == http.MethodDelete, strings.HasSuffix(v.req.URL.Path, pathOfAcks):
		return ": an acknowledgement"
	case v.req.Method == http.MethodGet:
		return ": a GET"
	}
	return ""
}

// certified tells whether the request carries a message, certified.
func (v *voyage) certified() bool {
	return v.req.Header.Get(headerCertified) != "" && v.req.Header.Get(headerKey) != ""
}

// travel takes the request there and the answer back.
func (v *voyage) travel() (*reply, error) {
	w, f := v.w, &v.fate
	for _, d := range f.copies {
		w.wg.Go(func() { v.copied(d) })
	}
	ctx := v.req.Context()
	if err := v.rest(ctx, f.pause, true); err != nil {
		return nil, err
	}
	switch {
	case f.lost:
		return v.silence(ctx)
	case f.gateway && f.early:
		return badGateway(), nil
	case f.unmarked && f.early:
		return stranger(), nil
	}
	body := v.body
	if f.garbled == 1 && len(body) > 0 && v.req.Header.Get(headerDigest) != "" {
		body = bytes.Clone(body)
		body[len(body)/2] ^= 4
	}
	r, err := v.deliver(ctx, body)
	switch {
	case err != nil:
		return nil, err
	case f.deaf:
		return v.silence(ctx)
	case f.gateway:
		return badGateway(), nil
	case f.unmarked:
		r.header.Del(headerCertified)
	case f.garbled == 2 && len(r.body) > 0 && r.header.Get(headerDigest) != "" && v.certified():
		r.body = bytes.Clone(r.body)
		r.body[len(r.body)/2] ^= 4
	case f.garbled == 3 && len(r.body) > 0:
		r.body, r.cut = r.body[:len(r.body)/2], true
	}
	return r, nil
}

// rest lets d pass on the way. A request whose sender does not wait so long arrives all the same.
func (v *voyage) rest(ctx context.Context, d time.Duration, arrives bool) error {
	if d == 0 {
		return nil
	}
	begin := time.Now()
	select {
	case <-time.After(d):
		return nil
	case <-v.senderGone():
	case <-ctx.Done():
	}
	if arrives {
		left := d - time.Since(begin)
		v.w.wg.Go(func() { v.copied(left) })
	}
	return v.gone(ctx)
}

// silence is an answer that does not come.
func (v *voyage) silence(ctx context.Context) (*reply, error) {
	if err := v.rest(ctx, v.fate.hang, false); err != nil {
		return nil, err
	}
	return nil, errReset
}

func (v *voyage) senderGone() <-chan struct{} {
	if v.life == nil {
		return v.w.ctx.Done()
	}
	return v.life.gone
}

// gone is the error of a sender that does not wait any more.
func (v *voyage) gone(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errDead
}

// deliver has the request worked on, and brings the answer. Either side may die meanwhile, or at the end.
func (v *voyage) deliver(ctx context.Context, body []byte) (*reply, error) {
	w := v.w
	if o := w.outside[v.req.URL.Host]; o != nil {
		r := *o.serve(v.req, body)
		r.header = r.header.Clone()
		return &r, nil
	}
	key := v.from + " " + v.name
	w.mu.Lock()
	q := w.process(v.req.URL.Host)
	if q.life.serving() {
		q.life.dies(DieRequest, 0.012, key+" arrives", v.n, "before it works on a request"+v.kind())
	}
	peer := q.life
	if !peer.serving() {
		w.mu.Unlock()
		return nil, errReset
	}
	w.mu.Unlock()
	answered := make(chan *reply, 1)
	w.wg.Go(func() { answered <- peer.answer(ctx, v.req, body) })
	var r *reply
	select {
	case <-peer.gone:
		return nil, errReset
	case <-v.senderGone():
		return nil, v.gone(ctx)
	case <-ctx.Done():
		return nil, v.gone(ctx)
	case r = <-answered:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if peer.dead || peer.dies(DieRequest, 0.012, key+" is answered", v.n, "after it worked on a request"+v.kind()) {
		return nil, errReset
	}
	w.answers(q, v, r)
	if v.life != nil && (v.life.dead || v.life.dies(DieRequest, 0.012, key+" hears", v.n, "when an answer has come"+v.kind())) {
		return nil, errDead
	}
	return r, nil
}

// copied is another copy of the request, d later, whose answer nobody hears.
func (v *voyage) copied(d time.Duration) {
	w := v.w
	w.flies(1)
	defer w.flies(-1)
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
		return
	}
	if o := w.outside[v.req.URL.Host]; o != nil {
		o.serve(v.req, v.body)
		return
	}
	w.mu.Lock()
	q := w.process(v.req.URL.Host)
	peer := q.life
	ok := peer.serving()
	if ok {
		w.event("a copy of %s of %s arrives at %s after %v", v.name, v.from, q.name, d)
	}
	if ok && d > time.Minute {
		w.hit("a late copy arrives" + v.kind())
	}
	w.mu.Unlock()
	if !ok {
		return
	}
	r := peer.answer(w.ctx, v.req, v.body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !peer.dead {
		w.answers(q, v, r)
	}
}

// flies counts the copies on their way.
func (w *World) flies(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying += n
}

// process returns the process of a host; nil where there is none.
func (w *World) process(host string) *Process {
	for _, p := range w.processes {
		if p.name == host {
			return p
		}
	}
	return nil
}

// answer is the request at the process that serves it. Its connection ends with either side.
func (l *Life) answer(ctx context.Context, req *http.Request, body []byte) *reply {
	conn, cancel := context.WithCancel(l.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	r := (&http.Request{
		Method: req.Method, URL: &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery},
		RequestURI: req.URL.RequestURI(), Host: req.URL.Host, Header: req.Header.Clone(), RemoteAddr: "sim",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(conn)
	rec := httptest.NewRecorder()
	l.handler.ServeHTTP(rec, r)
	res := rec.Result()
	return &reply{status: res.StatusCode, header: res.Header, body: rec.Body.Bytes()}
}

// badGateway is the answer of a proxy whose server is away.
func badGateway() *reply {
	return &reply{status: http.StatusBadGateway, header: http.Header{}, body: []byte("bad gateway")}
}

// stranger is the answer of somebody who is not the server, and says that all is well.
func stranger() *reply {
	return &reply{status: http.StatusOK, header: http.Header{}, body: []byte("welcome")}
}
