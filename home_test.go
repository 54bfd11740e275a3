package chttp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// lan is a network in memory. It gives requests to the handler of their host and remembers them.
type lan struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	seen  []*sighting
}

// sighting is a request that the lan carried.
type sighting struct {
	method, url, body string
	header            http.Header
	getBody           bool // net/http could send it again by itself
	at                time.Time
}

// newLAN makes a lan of one host, peer.example.
func newLAN(h http.HandlerFunc) *lan {
	return &lan{hosts: map[string]http.Handler{"peer.example": h}}
}

// RoundTrip answers like a connection: a handler that panics with http.ErrAbortHandler breaks it, one that announces a longer body than it
// writes cuts it short, and a host that is not there cannot be dialled.
func (l *lan) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	h := l.hosts[r.URL.Host]
	if h != nil {
		l.seen = append(l.seen, &sighting{r.Method, r.URL.String(), string(body), r.Header.Clone(), r.GetBody != nil, time.Now()})
	}
	l.mu.Unlock()
	if h == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(r.Context(), cancel)()
	in := httptest.NewRequestWithContext(ctx, r.Method, r.URL.String(), bytes.NewReader(body))
	in.Header = r.Header.Clone()
	if r.Host != "" {
		in.Host = r.Host
	}
	w := httptest.NewRecorder()
	broken := make(chan bool, 1)
	go func() {
		defer cancel()
		aborted := true
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
			broken <- aborted
		}()
		h.ServeHTTP(w, in)
		aborted = false
	}()
	select {
	case aborted := <-broken:
		if aborted {
			return nil, errors.New("connection reset by peer")
		}
	case <-r.Context().Done():
		cancel()
		return nil, r.Context().Err()
	}
	res := w.Result()
	if n, err := strconv.Atoi(res.Header.Get("Content-Length")); err == nil && n > w.Body.Len() {
		res.Body = io.NopCloser(io.MultiReader(res.Body, cutShort{}))
	}
	res.Request = r
	return res, nil
}

// cutShort is the rest of a body that does not come.
type cutShort struct{}

func (cutShort) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// requests returns what was carried with the method, or with any.
func (l *lan) requests(method string) []*sighting {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*sighting
	for _, s := range l.seen {
		if method == "" || s.method == method {
			list = append(list, s)
		}
	}
	return list
}

// key returns the id that a request names, in whatever form.
func (s *sighting) key() string { return strings.Trim(s.header.Get("Idempotency-Key"), `"`) }

// stamp returns a member of the Certified field of a request, 0 where there is none.
func (s *sighting) stamp(name string) int64 {
	m := regexp.MustCompile(`\b` + name + `=@(\d+)`).FindStringSubmatch(s.header.Get("Certified"))
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	return n
}

// certify answers as a certified server does, with the members of Certified that it would have, changed and completed by pairs of names and
// values; an empty value leaves a member out.
func certify(w http.ResponseWriter, r *http.Request, state string, status int, body string, pairs ...string) {
	s := &sighting{header: r.Header}
	members := map[string]string{
		"v": "1", "id": `"` + s.key() + `"`, "state": state, "store": `"aaaa"`, "message": `"/.well-known/chttp/messages/` + s.key() + `"`,
		"now": "@" + strconv.FormatInt(time.Now().Unix(), 10), "until": "@" + strconv.FormatInt(s.stamp("until"), 10),
	}
	if s.stamp("until") == 0 {
		delete(members, "until")
	}
	for i := 0; i < len(pairs); i += 2 {
		members[pairs[i]] = pairs[i+1]
	}
	var list []string
	for _, name := range []string{"v", "id", "state", "until", "now", "store", "message"} {
		if members[name] != "" {
			list = append(list, name+"="+members[name])
		}
	}
	w.Header().Set("Certified", strings.Join(list, ", "))
	if w.Header().Get("Content-Digest") == "" {
		w.Header().Set("Content-Digest", digestOf(body))
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// script is a handler that gives its n-th request, from 1, to f.
func script(f func(w http.ResponseWriter, r *http.Request, n int)) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		k := n
		mu.Unlock()
		f(w, r, k)
	}
}

// home is a node with the function "f" on a memory that can crash.
type home struct {
	t     *testing.T
	store *memstore.Store
	over  func(store.Store) store.Store // wraps the memory
	opt   chttp.Options
	fn    func(context.Context, string) (string, error)
	more  []chttp.Registrant
	f     *chttp.Function[string, string]
	node  *chttp.Node
	stop  func()
}

// newHome runs a node until the test ends. fn may be nil.
func newHome(t *testing.T, rt http.RoundTripper, fn func(context.Context, string) (string, error), edit ...func(*home)) *home {
	t.Helper()
	h := &home{t: t, store: memstore.New(), fn: fn, opt: chttp.Options{Logger: quiet, Transport: rt}}
	for _, e := range edit {
		e(h)
	}
	h.open()
	return h
}

// open makes the node and runs it.
func (h *home) open() {
	h.t.Helper()
	h.make()
	h.run()
}

// make makes the node.
func (h *home) make() {
	h.t.Helper()
	var s store.Store = h.store
	if h.over != nil {
		s = h.over(s)
	}
	h.node = newNode(h.t, s, &h.opt)
	if h.fn != nil {
		h.f = chttp.Resumable("f", h.fn)
		h.node.Register(h.f)
	}
	h.node.Register(h.more...)
}

func (h *home) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.node.Run(ctx) // an error once the store has crashed
	}()
	h.stop = func() {
		cancel()
		<-done
	}
	h.t.Cleanup(h.stop)
}

// restart stops the node, as an operator does, and runs another on the same memory.
func (h *home) restart() {
	h.t.Helper()
	h.stop()
	h.open()
}

// crash lets the process die, and runs another on what was committed.
func (h *home) crash() {
	h.t.Helper()
	s := h.store.Crash()
	h.stop()
	h.store = s
	h.open()
}

// start begins the execution id of "f".
func (h *home) start(id string) *chttp.Execution[string] {
	h.t.Helper()
	e, err := h.f.Start(h.t.Context(), h.node, id, "in")
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

// outcome waits for the execution id of "f", at most a day.
func (h *home) outcome(id string) (string, error) {
	h.t.Helper()
	e, err := h.f.Attach(h.t.Context(), h.node, id)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 24*time.Hour)
	defer cancel()
	return e.Wait(ctx)
}

// do is start and outcome.
func (h *home) do(id string) (string, error) {
	h.t.Helper()
	h.start(id)
	return h.outcome(id)
}

// put sends a message to url.
func (h *home) put(url, body string, p chttp.Policy) chttp.ID {
	h.t.Helper()
	id, err := h.node.Put(chttp.With(h.t.Context(), p), url, "text/plain", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// ends waits until the message or execution id is finished or parked, at most 20 days.
func (h *home) ends(id string) chttp.Info {
	h.t.Helper()
	every := 100 * time.Millisecond
	for deadline := time.Now().Add(20 * 24 * time.Hour); time.Now().Before(deadline); every = min(every*11/10, 30*time.Second) {
		i, err := h.node.Lookup(h.t.Context(), id)
		if err != nil {
			h.t.Fatal(err)
		}
		if i.State != "running" && i.State != "waiting" {
			return i
		}
		time.Sleep(every)
	}
	h.t.Fatalf("%s has not ended", id)
	return chttp.Info{}
}

// parked waits until id is parked, for a reason that holds all of the texts.
func (h *home) parked(id string, texts ...string) {
	h.t.Helper()
	i := h.ends(id)
	if i.State != "parked" || !errors.Is(i.Err, chttp.ErrParked) {
		h.t.Fatalf("%s is %s (%v), want parked", id, i.State, i.Err)
	}
	for _, text := range texts {
		if !strings.Contains(i.Err.Error(), text) {
			h.t.Errorf("parked because %q, which does not say %q", i.Err, text)
		}
	}
}

// post is the body of most functions: one message, and its answer.
func post(ctx context.Context, url string) (string, error) {
	res, err := chttp.Post(ctx, url, "text/plain", strings.NewReader("body"))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, b), err
}

const peerURL = "http://peer.example/x"

// host is a certified server.
type host struct {
	http.Handler
	store *memstore.Store
	node  *chttp.Node
}

// newHost runs a server of app until the test ends, with everybody in one scope unless o says otherwise.
func newHost(t *testing.T, rt http.RoundTripper, app http.HandlerFunc, o *chttp.HandlerOptions, edit ...func(*chttp.Options)) *host {
	t.Helper()
	if o == nil {
		o = &chttp.HandlerOptions{}
	}
	if o.Principal == nil {
		o.Principal = func(*http.Request) (string, error) { return "ann", nil }
	}
	opt := chttp.Options{Logger: quiet, Transport: rt}
	for _, e := range edit {
		e(&opt)
	}
	h := &host{store: memstore.New()}
	h.node = newNode(t, h.store, &opt)
	h.Handler = h.node.Handler("app", app, o)
	run(t, h.node)
	return h
}

// door lets requests in one by one.
type door struct {
	entered chan struct{}
	open    chan struct{}
}

func newDoor() *door { return &door{make(chan struct{}, 1000), make(chan struct{})} }

// pass waits until the door is open or ctx ends.
func (d *door) pass(ctx context.Context) {
	d.entered <- struct{}{}
	select {
	case <-d.open:
	case <-ctx.Done():
	}
}

// logbook keeps what a node logs.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

// count returns how many lines hold text.
func (b *logbook) count(text string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (b *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// dumpOf returns everything that the store holds.
func dumpOf(t *testing.T, s *memstore.Store) (dump []string) {
	t.Helper()
	records, err := s.List(t.Context(), store.Query{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		dump = append(dump, r.ID, r.Scope, r.Function, string(r.Head), string(r.Tail))
		chunks, err := s.Chunks(t.Context(), r.Key)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			dump = append(dump, string(c.Data))
		}
	}
	facts, err := s.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range facts {
		dump = append(dump, f.Name, string(f.Value))
	}
	return dump
}
