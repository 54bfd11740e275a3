package chttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
)

func TestSection6APlainClientGetsTheDraftsBehaviour(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	send := func(body string, header ...string) reply {
		t.Helper()
		r, err := http.NewRequest("POST", srv.URL+"/orders", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "order-1")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{res.StatusCode, res.Header, string(b)}
	}
	running := send("apples", "Prefer", "wait=0").problem(t, 409, "in-progress", "running")
	if running.header.Get("Retry-After") == "" {
		t.Error("409 without Retry-After")
	}
	send("pears").problem(t, 422, "key-reused", "refused")
	close(app.open)
	first := send("apples").want(t, 201, "done")
	if first.member("until") != "" {
		t.Errorf("until was not given: %v", first.header["Certified"])
	}
	for range 3 {
		send("apples").done(t, 201, "run 1", true).same(t, first)
	}
	send("pears").problem(t, 422, "key-reused", "refused")
	app.ran(t, 1)
}

func TestSection6BothFormsOfAKeyNameTheSameMessage(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	s.post("a1", "x").done(t, 201, "run 1", false)
	for _, key := range []string{`"a1"`, " a1 ", ` "a1" `, `"a1";p=1`} {
		s.post(key, "x").done(t, 201, "run 1", true)
	}
	s.post("A1", "x").done(t, 201, "run 2", false)
	s.post("a1", "y").problem(t, 422, "key-reused", "refused")
}

func TestSection6WithoutAKeyEveryRequestIsNew(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	ids := make(map[string]bool)
	for i := range 3 {
		r := s.ask("POST", "/orders", "x").done(t, 201, fmt.Sprint("run ", i+1), false)
		ids[r.member("id")] = true
		s.ask("GET", r.member("message"), "").done(t, 201, r.body, true)
		s.post(r.member("id"), "x").done(t, 201, r.body, true)
	}
	if len(ids) != 3 {
		t.Errorf("ids %v", ids)
	}
	s.ask("POST", "/orders", "x", "Certified", stamped(0, 0, time.Hour)).problem(t, 400, "key-missing", "refused")
	app.ran(t, 3)
}

func TestSection6WhereARouteDemandsAKey(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, &chttp.HandlerOptions{RequireKey: true})
	r := s.ask("POST", "/orders", "x").problem(t, 400, "key-missing", "refused")
	if r.member("id") != "" {
		t.Errorf("an id was made up: %v", r.header["Certified"])
	}
	s.nothing(t, app)
	s.post("a", "x").done(t, 201, "run 1", false)
	s.ask("GET", "/orders", "").want(t, 201, "")
}

func TestSection1SafeMethodsPassThrough(t *testing.T) {
	type outer struct{}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE"} {
		runs := 0
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			runs++
			if _, ok := chttp.From(r.Context()); ok || r.Method != method || r.Context().Value(outer{}) != 1 || r.Header.Get("Authorization") == "" {
				t.Errorf("%s: the handler does not see the request as it came", method)
			}
			w.Header().Set("Set-Cookie", "a=b")
			w.(http.Flusher).Flush()
		}, nil)
		for range 2 {
			r := httptest.NewRequestWithContext(context.WithValue(t.Context(), outer{}, 1), method, "/orders", nil)
			r.Header.Set("Idempotency-Key", "a")
			r.Header.Set("Certified", "?")
			r.Header.Set("Authorization", "x")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != 200 || w.Header().Get("Certified") != "" || w.Header().Get("Set-Cookie") == "" {
				t.Errorf("%s: got %d %v", method, w.Code, w.Header())
			}
		}
		if runs != 2 || s.records() != 0 {
			t.Errorf("%s: %d runs and %d records, want 2 and none", method, runs, s.records())
		}
		s.stop()
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), outer{}, 1), method, "/orders", nil)
		r.Header.Set("Authorization", "x")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 {
			t.Errorf("%s: got %d from a node that has stopped", method, w.Code)
		}
	}
}

func TestPreferReturnMinimalKeepsOnlyTheStatus(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		app.runs.Add(1)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Kept", "k")
		if r.URL.Path == "/bad" {
			w.WriteHeader(400)
		}
		fmt.Fprint(w, "a long page")
	}, nil)
	minimal := []string{"Idempotency-Key", "a", "Prefer", "return=minimal"}
	r := s.ask("POST", "/", "x", minimal...).done(t, 200, "", false)
	if r.header.Get("Preference-Applied") != "return=minimal" || r.header.Get("Content-Type") != "" || r.header.Get("Content-Length") != "0" {
		t.Errorf("got %v", r.header)
	}
	s.ask("POST", "/", "x", minimal...).done(t, 200, "", true).same(t, r)
	s.ask("POST", "/", "x", "Idempotency-Key", "a").done(t, 200, "", true) // What was not kept cannot be had.
	s.ask("POST", "/bad", "x", "Idempotency-Key", "b", "Prefer", "return=minimal").done(t, 400, "a long page", false)
	whole := s.ask("POST", "/", "x", "Idempotency-Key", "c").done(t, 200, "a long page", false)
	s.ask("POST", "/", "x", "Idempotency-Key", "c", "Prefer", "return=minimal").done(t, 200, "a long page", true).same(t, whole)
	app.ran(t, 3)
}

func TestPreferRespondAsyncWorksForAPlainClientToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		url := s.post("a", "x", "Prefer", "respond-async").want(t, 202, "running").member("message")
		s.post("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		s.ask("GET", url, "").want(t, 202, "running")
		close(app.open)
		synctest.Wait()
		s.post("a", "x", "Prefer", "respond-async").done(t, 201, "run 1", true)
		s.ask("GET", url, "").done(t, 201, "run 1", true)
	})
}
