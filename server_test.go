package chttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

func TestS1AStrangerIsRefusedBeforeAnythingIsLookedAt(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	s.post("a1", "x", "X-Caller", "nobody").problem(t, 401, "unauthorized", "none")
	s.post(strings.Repeat("a", 300), "x", "X-Caller", "nobody", "Certified", "?").problem(t, 401, "unauthorized", "none")
	silent := newSite(t, nil, app.ServeHTTP, &chttp.HandlerOptions{Principal: func(*http.Request) (string, error) { return "", nil }})
	silent.post("a1", "x").problem(t, 401, "unauthorized", "none")
	app.ran(t, 0)
	if n := s.records() + silent.records(); n != 0 {
		t.Errorf("%d records, want none", n)
	}
}

func TestS2TwoPrincipalsWithOneIDNeverMeet(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s has %s", r.Header.Get("X-Caller"), b)
	}, nil)
	s.certified("order-1", "apples", "X-Caller", "ann").done(t, 200, "ann has apples", false)
	s.certified("order-1", "pears", "X-Caller", "bob").done(t, 200, "bob has pears", false)
	s.certified("order-2", "figs", "X-Caller", "bob", "Certified-Ack", `"order-1"`).want(t, 200, "done")
	s.certified("order-1", "apples", "X-Caller", "ann").done(t, 200, "ann has apples", true)
	s.certified("order-1", "pears", "X-Caller", "bob").problem(t, 410, "acknowledged", "gone")
}

func TestS2APrincipalsNameCannotReachIntoAnothersScope(t *testing.T) {
	app := new(counter)
	n := newNode(t, memstore.New(), nil)
	o := &chttp.HandlerOptions{Principal: callers}
	mux := http.NewServeMux()
	mux.Handle("/a/", n.Handler("a", app, o))
	mux.Handle("/b/", n.Handler("b", app, o))
	s := &site{t: t, node: n, Handler: mux}
	run(t, n)
	key := []string{"Idempotency-Key", "one"}
	for s.ask("POST", "/a/", "", key...).status == 503 {
		time.Sleep(time.Millisecond)
	}
	s.ask("POST", "/b/", "", key...).done(t, 201, "run 2", false)
	s.ask("POST", "/a/", "", append(key, "X-Caller", "b/ann")...).done(t, 201, "run 3", false)
	app.ran(t, 3)
}

func TestS2TheAnonymousScopeNeedsLongIDsAndMessageURLs(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, &chttp.HandlerOptions{Anonymous: true})
	s.certified("123456789-123456789-1", "x").problem(t, 400, "key-invalid", "refused")
	app.ran(t, 0)
	id := "123456789-123456789-12"
	first := s.certified(id, "x").done(t, 201, "run 1", false)
	s.certified(id+"3", "x", "Certified-Ack", `"`+id+`"`).want(t, 201, "done")
	s.certified(id, "x").done(t, 201, "run 1", true)
	s.ask("DELETE", first.member("message"), "").want(t, 204, "gone")
	s.certified(id, "x").problem(t, 410, "acknowledged", "gone")
	s.ask("POST", "/", "x").want(t, 201, "done") // without a key: under a new id, which is long enough
}

func TestS3AnIDWithAnotherFingerprintIsRefused(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	base := []string{"Idempotency-Key", "k", "Content-Type", "text/plain", "Content-Encoding", "gzip", "X-Other", "1"}
	s.ask("POST", "/a%2Fb?q=1", "body", base...).done(t, 201, "run 1", false)
	s.ask("POST", "/a%2Fb?q=1", "body", append(base[:6:6], "X-Other", "2")...).done(t, 201, "run 1", true)
	for _, other := range []struct {
		name, method, path, body string
		header                   []string
	}{
		{"method", "PUT", "/a%2Fb?q=1", "body", base},
		{"path", "POST", "/a/b?q=1", "body", base},
		{"query", "POST", "/a%2Fb?q=2", "body", base},
		{"no query", "POST", "/a%2Fb", "body", base},
		{"body", "POST", "/a%2Fb?q=1", "bodY", base},
		{"no body", "POST", "/a%2Fb?q=1", "", base},
		{"content type", "POST", "/a%2Fb?q=1", "body", append([]string{"Content-Type", "text/html"}, append(base[:2:2], base[4:]...)...)},
		{"content encoding", "POST", "/a%2Fb?q=1", "body", base[:4]},
	} {
		t.Run(other.name, func(t *testing.T) {
			s.ask(other.method, other.path, other.body, other.header...).problem(t, 422, "key-reused", "refused")
		})
	}
	r := httptest.NewRequest("POST", "http://mirror.example/a%2Fb?q=1", strings.NewReader("body"))
	for i := 0; i < len(base); i += 2 {
		r.Header.Set(base[i], base[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	reply{w.Code, w.Header(), w.Body.String()}.done(t, 201, "run 1", true)
	app.ran(t, 1)
}

func TestS3AnIDInUseWithAnotherFingerprintIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		go s.post("k", "one")
		<-app.entered
		begin := time.Now()
		s.post("k", "two").problem(t, 422, "key-reused", "refused")
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("waited %v", waited)
		}
		close(app.open)
		s.post("k", "one").done(t, 201, "run 1", true)
	})
}

func TestS4AnOutcomeIsNeverTheBeginningOfARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		st := newFaulty()
		var token store.Token
		st.fails(func(b *store.Batch) (error, bool) { token = b.Token; return nil, false })
		s := newSite(t, st, app.ServeHTTP, nil)
		s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		r := s.record("ann", "a")
		_, err := st.Store.Commit(t.Context(), &store.Batch{Token: token, Changes: []store.Change{{Key: r.Key, Run: r.Run, Version: r.Version + 1, Forget: true}}})
		if err != nil {
			t.Fatal(err)
		}
		close(app.open)
		synctest.Wait()
		app.ran(t, 1)
		if r := s.record("ann", "a"); r != nil {
			t.Errorf("the outcome of a run whose record is gone made the record %+v", r)
		}
	})
}

// beforeWriting is a ResponseWriter that tells when the first byte of the response leaves.
type beforeWriting struct {
	http.ResponseWriter
	f    func(status int)
	once sync.Once
}

func (w *beforeWriting) WriteHeader(status int) {
	w.once.Do(func() { w.f(status) })
	w.ResponseWriter.WriteHeader(status)
}

func TestS4TheOutcomeIsDurableBeforeTheResponseLeaves(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	seen := 0
	for i := range 50 {
		id := fmt.Sprint("id-", i)
		r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
		r.Header.Set("Idempotency-Key", id)
		s.ServeHTTP(&beforeWriting{ResponseWriter: httptest.NewRecorder(), f: func(int) {
			if x := s.record("ann", id); x != nil && x.State == store.Answered {
				seen++
			}
		}}, r)
	}
	if seen != 50 {
		t.Errorf("%d outcomes of 50 were durable before their response left", seen)
	}
}

func TestS5FiftyDuplicatesAtOnceRunTheHandlerOnceAndGetTheSameBytes(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	replies := make([]reply, 50)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() {
			r, err := http.NewRequest("POST", srv.URL+"/orders", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Idempotency-Key", []string{"once", `"once"`}[i%2])
			if i%3 == 0 {
				r.Header.Set("Certified", stamped(0, 0, time.Hour))
			}
			res, err := srv.Client().Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			replies[i] = reply{res.StatusCode, res.Header, string(b)}
		})
	}
	<-app.entered
	close(app.open)
	wg.Wait()
	app.ran(t, 1)
	first := 0
	for _, r := range replies {
		r.want(t, 201, "done").same(t, replies[0])
		if r.member("replayed") == "" {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d answers say that they are no replay, want 1", first)
	}
}

func TestS5WhileItRunsTheServerWaitsAndThenSaysSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		wait   time.Duration
		async  bool
	}{
		{"default", nil, 10 * time.Second, false},
		{"wait=3", []string{"Prefer", "wait=3"}, 3 * time.Second, false},
		{"wait=0", []string{"Prefer", "wait=0"}, 0, false},
		{"no longer than the server's own", []string{"Prefer", "wait=60"}, 10 * time.Second, false},
		{"respond-async", []string{"Prefer", "respond-async"}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := newGate()
				s := newSite(t, nil, app.ServeHTTP, nil)
				begin := time.Now()
				r := s.certified("a", "x", c.header...).want(t, 202, "running")
				if got := time.Since(begin); got != c.wait {
					t.Errorf("waited %v, want %v", got, c.wait)
				}
				if r.header.Get("Retry-After") == "" || r.member("message") == "" || r.member("id") != "a" || r.member("until") == "" {
					t.Errorf("the answer lacks something: %v", r.header)
				}
				if r.body != "" {
					t.Errorf("body %q", r.body)
				}
				if got := r.header.Get("Preference-Applied"); (got == "respond-async") != c.async {
					t.Errorf("Preference-Applied is %q", got)
				}
				if !c.async {
					p := s.post("b", "x", c.header...).problem(t, 409, "in-progress", "running")
					if p.header.Get("Retry-After") == "" {
						t.Error("no Retry-After")
					}
				}
				close(app.open)
				s.certified("a", "x").want(t, 201, "done")
				if !c.async {
					s.post("b", "x").want(t, 201, "done")
				}
			})
		})
	}
}

func TestS5RunningIsOnlySaidOnceTheAcceptanceIsDurable(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	for i, header := range [][]string{{"Prefer", "respond-async"}, {"Prefer", "wait=0"}} {
		id := fmt.Sprint("id-", i)
		r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
		r.Header.Set("Idempotency-Key", id)
		r.Header.Set("Certified", stamped(0, 0, time.Hour))
		r.Header.Set(header[0], header[1])
		s.ServeHTTP(&beforeWriting{ResponseWriter: httptest.NewRecorder(), f: func(status int) {
			if x := s.record("ann", id); status != 202 || x == nil || x.State != store.Running {
				t.Errorf("%v: %d left while the record was %+v", header, status, x)
			}
		}}, r)
	}
	close(app.open)
}

func TestS5AskingAgainWhileItRunsWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		s.certified("a", "x", "Prefer", "wait=0").want(t, 202, "running")
		before := s.record("ann", "a").Version
		for range 20 {
			s.certified("a", "x", "Prefer", "wait=0").want(t, 202, "running")
		}
		if after := s.record("ann", "a").Version; after != before {
			t.Errorf("the record is at version %d, was at %d", after, before)
		}
		close(app.open)
	})
}

func TestS6ARepetitionGetsTheRecordedAnswerByteForByte(t *testing.T) {
	app := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("X-Twice", "one")
		h.Add("X-Twice", "two")
		h.Set("Etag", `"e"`)
		h.Set("Content-Type", "application/octet-stream")
		w.WriteHeader(http.StatusTeapot)
		w.Write([]byte("\x00\xff\r\n\r\n"))
		h.Set("X-Late", "is not sent")
	}
	s := newSite(t, nil, app, nil)
	first := s.certified("a", "x").done(t, 418, "\x00\xff\r\n\r\n", false)
	if first.header.Get("X-Late") != "" || len(first.header["X-Twice"]) != 2 || first.header.Get("Content-Digest") == "" {
		t.Errorf("headers %v", first.header)
	}
	s.certified("a", "x").done(t, 418, first.body, true).same(t, first)
	s = s.crash()
	s.certified("a", "x").done(t, 418, first.body, true).same(t, first)
	s.post("a", "x").done(t, 418, first.body, true).same(t, first) // plain, and so without until
}

func TestS6AnAcceptedRequestIsFinishedAfterARestartWithoutItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		s = s.crash()
		close(app.open)
		synctest.Wait()
		if r := s.record("ann", "a"); r == nil || r.State != store.Answered {
			t.Fatalf("the record is %+v, want it answered", r)
		}
		app.ran(t, 1)
		s.certified("a", "x").done(t, 201, "run 1", true)
	})
}

func TestS6AnAcceptedRequestIsFinishedAfterAStopWithoutItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		waiting := make(chan reply, 1)
		go func() { waiting <- s.certified("a", "x") }()
		synctest.Wait()
		s.stop()
		(<-waiting).problem(t, 503, "in-progress", "running")
		s.certified("a", "x").problem(t, 503, "overloaded", "none")
		s = newSite(t, s.store, app.ServeHTTP, nil)
		close(app.open)
		synctest.Wait()
		if r := s.record("ann", "a"); r == nil || r.State != store.Answered {
			t.Fatalf("the record is %+v, want it answered", r)
		}
		app.ran(t, 1)
	})
}

func TestS6WhatWasNotAcceptedWhenTheNodeStopsIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		waiting := make(chan reply, 1)
		go func() { waiting <- s.certified("a", "x") }()
		<-app.entered
		s.stop()
		(<-waiting).problem(t, 503, "overloaded", "none")
		if n := s.records(); n != 0 {
			t.Errorf("%d records, want none", n)
		}
		close(app.open)
	})
}

func TestS11AnotherNodeOnTheStoreTakesOverAndTheFirstSaysNothingWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		first := newSite(t, nil, app.ServeHTTP, nil)
		first.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		waiting := make(chan reply, 1)
		go func() { waiting <- first.certified("b", "x") }()
		<-app.entered
		<-app.entered
		second := newSite(t, first.store, app.ServeHTTP, nil)
		close(app.open)
		synctest.Wait()
		r := <-waiting
		if r.status != 503 || r.member("state") == "done" {
			t.Errorf("the fenced node answered %d %s", r.status, r.member("state"))
		}
		r = first.certified("c", "x")
		r.problem(t, 503, "overloaded", "none")
		second.certified("a", "x").want(t, 201, "done")
	})
}

func TestS13EveryAnswerNamesTheStore(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	first := s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
	name := first.member("store")
	close(app.open)
	done := s.certified("a", "x").want(t, 201, "done")
	replies := map[string]reply{
		"done":      done,
		"replayed":  s.certified("a", "x"),
		"message":   s.ask("GET", done.member("message"), ""),
		"reused":    s.certified("a", "y"),
		"no key":    s.post(",", ""),
		"nobody":    s.post("b", "", "X-Caller", "nobody"),
		"not found": s.ask("GET", "/.well-known/chttp/messages/x", ""),
		"discovery": s.ask("GET", "/.well-known/chttp", ""),
		"bulk":      s.ask("POST", "/.well-known/chttp/acks", `{"acks":[]}`),
		"delete":    s.ask("DELETE", done.member("message"), ""),
	}
	for what, r := range replies {
		if r.member("store") != name || name == "" || r.member("v") != "1" || r.member("now") == "" {
			t.Errorf("%s: Certified is %q, want the store %q", what, r.header.Get("Certified"), name)
		}
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control is %q", what, r.header.Get("Cache-Control"))
		}
	}
	if again := s.crash().certified("a", "x"); again.member("store") != name {
		t.Errorf("after a crash the store is %q, was %q", again.member("store"), name)
	}
}
