package chttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// site is a certified server that is asked in memory, so that hours pass in no time inside a synctest bubble.
type site struct {
	t       *testing.T
	store   store.Store
	node    *chttp.Node
	app     http.Handler
	options *chttp.HandlerOptions
	http.Handler
	stop func()
}

// callers says who calls: whoever the header X-Caller names, ann by default. Nobody is refused.
func callers(r *http.Request) (string, error) {
	switch name := r.Header.Get("X-Caller"); name {
	case "":
		return "ann", nil
	case "nobody":
		return "", errors.New("nobody is not known here")
	default:
		return name, nil
	}
}

// newSite opens a site on s, a new store if it is nil, until the test ends.
func newSite(t *testing.T, s store.Store, app http.HandlerFunc, o *chttp.HandlerOptions) *site {
	t.Helper()
	if s == nil {
		s = memstore.New()
	}
	if o == nil {
		o = &chttp.HandlerOptions{}
	}
	if o.Principal == nil && !o.Anonymous {
		o.Principal = callers
	}
	n := newNode(t, s, nil)
	x := &site{t: t, store: s, node: n, app: app, options: o, Handler: n.Handler("app", app, o)}
	x.run()
	return x
}

func (s *site) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.node.Run(ctx) // an error once the store has crashed
	}()
	s.stop = func() {
		cancel()
		<-done
	}
	s.t.Cleanup(s.stop)
	for s.post("not, a, key", "").status == http.StatusServiceUnavailable {
		time.Sleep(time.Millisecond) // until Run has begun
	}
}

// crash lets the process die, and opens another on what its store held.
func (s *site) crash() *site {
	s.t.Helper()
	m := s.store.(interface{ Crash() *memstore.Store }).Crash()
	s.stop()
	return newSite(s.t, m, s.app.ServeHTTP, s.options)
}

// reply is what a request was answered with.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with the header fields given as names and values.
func (s *site) ask(method, path, body string, header ...string) reply {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://shop.example"+path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

// post sends a plain client's request with a key.
func (s *site) post(key, body string, header ...string) reply {
	s.t.Helper()
	return s.ask("POST", "/orders", body, append([]string{"Idempotency-Key", key}, header...)...)
}

// certified sends a certified client's first attempt, made now, of a message that is good for a day.
func (s *site) certified(key, body string, header ...string) reply {
	s.t.Helper()
	return s.post(`"`+key+`"`, body, append([]string{"Certified", stamped(0, 0, 24*time.Hour)}, header...)...)
}

// stamped is the Certified field of a request, with times relative to now.
func stamped(sent, at, until time.Duration) string {
	now := time.Now()
	return fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", now.Add(sent).Unix(), now.Add(at).Unix(), now.Add(until).Unix())
}

// member returns the member of the Certified field of a response, without quotes; "" where there is none.
func (r reply) member(name string) string {
	m := regexp.MustCompile(`(?:^|, )` + name + `=("?)([^",]*)("?)`).FindStringSubmatch(r.header.Get("Certified"))
	if m == nil {
		return ""
	}
	return m[2]
}

// want checks status and state.
func (r reply) want(t *testing.T, status int, state string) reply {
	t.Helper()
	if r.status != status || r.member("state") != state {
		t.Fatalf("got %d %q, want %d %q\nCertified: %s\n%s", r.status, r.member("state"), status, state, r.header.Get("Certified"), r.body)
	}
	if state != "" && r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", r.header.Get("Cache-Control"))
	}
	return r
}

// done checks that r is an outcome, and whether it is from the record.
func (r reply) done(t *testing.T, status int, body string, replayed bool) reply {
	t.Helper()
	r.want(t, status, "done")
	if r.body != body {
		t.Errorf("body is %q, want %q", r.body, body)
	}
	if got := r.header.Get("Idempotent-Replayed") == "true"; got != replayed || (r.member("replayed") == "?1") != replayed {
		t.Errorf("replayed is %v and %q, want %v", got, r.member("replayed"), replayed)
	}
	return r
}

// problem checks that r is a problem document of the code, whole in all its parts (section 7).
func (r reply) problem(t *testing.T, status int, code, state string) reply {
	t.Helper()
	r.want(t, status, state)
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
		Retryable                 *bool
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("%v: %q", err, r.body)
	}
	if p.Code != code || p.Status != status || !strings.HasSuffix(p.Type, "docs/protocol.md#"+code) || p.Title == "" || p.Detail == "" {
		t.Errorf("got %s, want code %s", r.body, code)
	}
	if want := state == "none" || state == "running"; p.Retryable == nil || code != "not-found" && *p.Retryable != want {
		t.Errorf("%s: retryable is %v, want %v", code, p.Retryable, want)
	}
	return r
}

// same checks that two answers have the same status, recorded headers and bytes.
func (r reply) same(t *testing.T, other reply) {
	t.Helper()
	a, b := maps.Clone(r.header), maps.Clone(other.header)
	for _, h := range []http.Header{a, b} {
		h.Del("Certified")
		h.Del("Idempotent-Replayed")
		h.Del("Date")
	}
	if r.status != other.status || r.body != other.body || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("got  %d %v %q\nwant %d %v %q", r.status, a, r.body, other.status, b, other.body)
	}
}

// record returns what the site's store holds of the caller's message.
func (s *site) record(caller, id string) *store.Record {
	s.t.Helper()
	r, err := s.store.Read(context.Background(), store.Key{Scope: "app/" + caller, ID: id})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.t.Fatal(err)
	}
	return r
}

// records returns how many there are.
func (s *site) records() int {
	s.t.Helper()
	list, err := s.store.List(context.Background(), store.Query{Limit: 10_000})
	if err != nil {
		s.t.Fatal(err)
	}
	return len(list)
}

// counter is a handler that counts its runs and answers 201 with their number.
type counter struct{ runs atomic.Int64 }

func (c *counter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n := c.runs.Add(1)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "run %d", n)
}

// ran checks how often the handler ran.
func (c *counter) ran(t *testing.T, want int64) {
	t.Helper()
	if got := c.runs.Load(); got != want {
		t.Errorf("the handler ran %d times, want %d", got, want)
	}
}

// gate is a handler that says when it is entered and waits to be opened.
type gate struct {
	counter
	entered chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 100), open: make(chan struct{})} }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.entered <- struct{}{}
	select {
	case <-g.open:
	case <-r.Context().Done(): // the run is stopped, and nothing of it counts
		return
	}
	g.counter.ServeHTTP(w, r)
}

// pass lets time pass in a synctest bubble, until everything in it rests.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
