package chttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

func TestA1AnAcknowledgementRidesOnTheNextRequest(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	for i := range 3 {
		s.certified(fmt.Sprint("a", i), "x").want(t, 201, "done")
	}
	s.certified("b", "x", "Certified-Ack", fmt.Sprintf(`"a0";at=@%d, "nobody's", "a1"`, time.Now().Unix())).want(t, 201, "done")
	s.certified("a0", "x").problem(t, 410, "acknowledged", "gone")
	s.certified("a1", "x").problem(t, 410, "acknowledged", "gone")
	s.certified("a2", "x").done(t, 201, "run 3", true)
	s.certified("a0", "other").problem(t, 422, "key-reused", "refused")
	if r := s.record("ann", "a0"); len(r.Head) != 0 || len(r.Tail) != 0 || len(r.Oplog) != 0 {
		t.Errorf("the outcome was not dropped: %+v", r)
	}
	app.ran(t, 4)
}

func TestA1AcknowledgementsThatCannotBeReadHarmNothing(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	s.certified("a", "x").want(t, 201, "done")
	for i, bad := range []string{`"a`, `a, `, `"a";at=yesterday`, `("a")`, "\x00", strings.Repeat(`"a", `, 100) + `"a"`, strings.Repeat("a", 70<<10)} {
		s.certified(fmt.Sprint("b", i), "x", "Certified-Ack", bad).want(t, 201, "done")
	}
	s.certified("a", "x").done(t, 201, "run 1", true)
}

func TestA1AHeaderAcknowledgesOnlyToTheHandlerAndFromThePrincipalOfTheMessage(t *testing.T) {
	app := new(counter)
	n := newNode(t, memstore.New(), nil)
	mux := http.NewServeMux()
	s := &site{t: t, node: n, Handler: mux}
	mux.Handle("/orders", n.Handler("app", app, &chttp.HandlerOptions{Principal: callers}))
	mux.Handle("/other", n.Handler("other", app, &chttp.HandlerOptions{Principal: callers}))
	mux.Handle("/.well-known/", n.WellKnown())
	s.run()
	first := s.certified("a", "x").done(t, 201, "run 1", false)
	s.certified("b", "x", "X-Caller", "bob", "Certified-Ack", `"a"`).want(t, 201, "done")
	s.ask("POST", "/other", "x", "Idempotency-Key", "c", "Certified-Ack", `"a"`).want(t, 201, "done")
	s.certified("a", "x").done(t, 201, "run 1", true)
	// A message URL is a capability: whoever has it may acknowledge.
	s.ask("DELETE", first.member("message"), "", "X-Caller", "bob").want(t, 204, "gone")
	s.certified("a", "x").problem(t, 410, "acknowledged", "gone")
}

func TestA1AcknowledgementsInBulk(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	type ack struct {
		Message string `json:"message"`
		At      int64  `json:"at,omitzero"`
	}
	var acks []ack
	for i := range 20 {
		r := s.certified(fmt.Sprint("a", i), "x").want(t, 201, "done")
		acks = append(acks, ack{r.member("message"), time.Now().Unix() * int64(i%2)})
	}
	acks = append(acks, ack{"/.well-known/chttp/messages/forged", 1}, ack{"", 1}, ack{"https://elsewhere.example/", 0})
	body, err := json.Marshal(map[string]any{"acks": acks[1:]})
	if err != nil {
		t.Fatal(err)
	}
	r := s.ask("POST", "/.well-known/chttp/acks", string(body)).want(t, 204, "")
	if r.body != "" {
		t.Errorf("body %q", r.body)
	}
	s.certified("a0", "x").done(t, 201, "run 1", true)
	for i := 1; i < 20; i++ {
		s.certified(fmt.Sprint("a", i), "x").problem(t, 410, "acknowledged", "gone")
	}
}

func TestA1BulkAcknowledgementsThatCannotBeReadAreRefused(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	url := s.certified("a", "x").want(t, 201, "done").member("message")
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"no JSON":   {"{", 400, "certified-invalid"},
		"a list":    {"[]", 400, "certified-invalid"},
		"bad at":    {`{"acks":[{"message":"` + url + `","at":-1}]}`, 400, "certified-invalid"},
		"text at":   {`{"acks":[{"message":"` + url + `","at":"now"}]}`, 400, "certified-invalid"},
		"many":      {`{"acks":[` + strings.Repeat(`{},`, 1000) + `{}]}`, 400, "certified-invalid"},
		"very long": {strings.Repeat(" ", 2<<20), 413, "too-large"},
	} {
		t.Run(name, func(t *testing.T) {
			s.ask("POST", "/.well-known/chttp/acks", c.body).problem(t, c.status, c.code, "refused")
		})
	}
	s.certified("a", "x").done(t, 201, "run 1", true)
}

func TestA2AnAcknowledgementKeepsTheIDAndNothingElse(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			err := chttp.Run(r.Context(), fmt.Sprint("step ", i), func(context.Context) error { return nil })
			if err != nil {
				t.Error(err)
			}
		}
	}, nil)
	r := s.certified("a", strings.Repeat("x", 1000)).want(t, 200, "done")
	s.ask("DELETE", r.member("message"), "", "Certified", stamped(0, 0, time.Hour)).want(t, 204, "gone")
	key := store.Key{Scope: "app/ann", ID: "a"}
	x, err := s.store.Read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	chunks, err := s.store.Chunks(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if x.State != store.Acknowledged || len(x.Head)+len(x.Tail)+len(x.Oplog)+len(chunks) != 0 {
		t.Errorf("left: %+v and %d chunks", x, len(chunks))
	}
}

func TestA3TheMessageURLInEveryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		running := s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		url := running.member("message")
		get := s.ask("GET", url, "").want(t, 202, "running")
		if get.header.Get("Retry-After") == "" || get.body != "" || get.member("id") != "a" || get.member("message") != url {
			t.Errorf("got %v %q", get.header, get.body)
		}
		s.ask("HEAD", url, "").want(t, 202, "running")
		s.ask("DELETE", url, "").problem(t, 409, "in-progress", "running")
		s.ask("PUT", url, "").want(t, 405, "")

		close(app.open)
		done := s.certified("a", "x").done(t, 201, "run 1", true)
		if done.member("message") != url {
			t.Errorf("the message URL is %q, was %q", done.member("message"), url)
		}
		get = s.ask("GET", url, "").done(t, 201, "run 1", true)
		get.same(t, done)
		if get.member("until") != done.member("until") || get.member("id") != "a" {
			t.Errorf("got %v, want what %v has", get.header["Certified"], done.header["Certified"])
		}
		s = s.crash()
		s.ask("GET", url, "").done(t, 201, "run 1", true)

		s.ask("DELETE", url, "", "Certified", stamped(0, 0, time.Hour)).want(t, 204, "gone")
		s.ask("DELETE", url, "", "Certified", stamped(0, 0, time.Hour)).want(t, 204, "gone")
		s.ask("GET", url, "").problem(t, 410, "acknowledged", "gone")
		s.ask("HEAD", url, "").want(t, 410, "gone")
		pass(time.Hour)
		s.ask("GET", url, "").problem(t, 404, "not-found", "none")
		s.ask("HEAD", url, "").want(t, 404, "none")
		s.ask("DELETE", url, "").problem(t, 404, "not-found", "none")
		app.ran(t, 1)
	})
}

func TestA3TheMessageURLOfWhatWaitsToTryAgainOrIsParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		s := newSite(t, nil, func(http.ResponseWriter, *http.Request) {
			<-open
			panic("always")
		}, &chttp.HandlerOptions{Attempts: 2})
		url := s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running").member("message")
		close(open)
		synctest.Wait()
		s.ask("GET", url, "").want(t, 202, "running")
		s.ask("DELETE", url, "").problem(t, 409, "in-progress", "running")
		pass(time.Minute)
		s.ask("GET", url, "").problem(t, 503, "parked", "running")
		s.ask("DELETE", url, "").problem(t, 409, "in-progress", "running")
	})
}

func TestA3HEADOverTheWireHasNoBody(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	url := s.certified("a", "x").want(t, 201, "done").member("message")
	res, err := srv.Client().Head(srv.URL + url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || len(b) != 0 || res.ContentLength != int64(len("run 1")) || res.Header.Get("Content-Digest") == "" {
		t.Errorf("got %v %q, length %d, %v", err, b, res.ContentLength, res.Header)
	}
}

func TestA3ForgedForeignAndGarbledMessageURLsLeadNowhere(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	other := newSite(t, nil, app.ServeHTTP, nil)
	good := s.certified("a", "x").want(t, 201, "done").member("message")
	foreign := other.certified("a", "x").want(t, 201, "done").member("message")
	const prefix = "/.well-known/chttp/messages/"
	bad := []string{foreign, prefix, prefix + "a", prefix + "app/ann/a", good + "A", good[:len(good)-1], good + "/", good + "=", prefix + "../acks", prefix + strings.ToUpper(good[len(prefix):])}
	for i := len(prefix); i < len(good); i++ {
		flipped := []byte(good)
		flipped[i] = map[bool]byte{true: 'B', false: 'A'}[flipped[i] == 'A']
		bad = append(bad, string(flipped))
	}
	for _, url := range bad {
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			if r := s.ask(method, url, ""); r.status != 404 || r.member("id") != "" {
				t.Errorf("%s %s: got %d %v", method, url, r.status, r.header)
			}
		}
	}
	s.ask("GET", foreign, "").problem(t, 404, "not-found", "none")
	s.certified("a", "x").done(t, 201, "run 1", true)
}

func TestA3ADeleteThatCannotBeReadAcknowledgesNothing(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	url := s.certified("a", "x").want(t, 201, "done").member("message")
	for _, bad := range []string{"?", "v=2, at=@1", "v=1, at=1", "v=1, at=@0", "v=1, at=@999999999999"} {
		s.ask("DELETE", url, "", "Certified", bad).problem(t, 400, "certified-invalid", "refused")
	}
	s.certified("a", "x").done(t, 201, "run 1", true)
}

func TestA5TheBoundOfAnAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		until := now.Add(24 * time.Hour)
		last := now.Add(2*time.Minute + 15*24*time.Hour) // the latest until that any message of now can have
		for _, c := range []struct {
			name string
			acks []string
			want time.Time
		}{
			{"at", []string{fmt.Sprintf("v=1, at=@%d", now.Unix()+9)}, now.Add(9 * time.Second)},
			{"no at counts as until", []string{"v=1"}, until},
			{"no field counts as until", []string{""}, until},
			{"no more than until is believed", []string{"v=1, at=@253402300799"}, until},
			{"a later one raises it", []string{fmt.Sprintf("v=1, at=@%d", now.Unix()), fmt.Sprintf("v=1, at=@%d", now.Unix()+60)}, now.Add(time.Minute)},
			{"an earlier one does not lower it", []string{fmt.Sprintf("v=1, at=@%d", now.Unix()+60), fmt.Sprintf("v=1, at=@%d", now.Unix())}, now.Add(time.Minute)},
			{"until is not known any more", []string{fmt.Sprintf("v=1, at=@%d", now.Unix()), "v=1"}, last},
			{"nor believed without limit", []string{fmt.Sprintf("v=1, at=@%d", now.Unix()), "v=1, at=@253402300799"}, last},
		} {
			s := newSite(t, nil, new(counter).ServeHTTP, nil)
			url := s.certified("a", "x").want(t, 201, "done").member("message")
			for _, ack := range c.acks {
				var header []string
				if ack != "" {
					header = []string{"Certified", ack}
				}
				s.ask("DELETE", url, "", header...).want(t, 204, "gone")
			}
			if got := s.record("ann", "a").Bound; got/1000 != c.want.Unix() {
				t.Errorf("%s: kept until %v, want %v", c.name, time.UnixMilli(got), c.want)
			}
		}
	})
}

func TestA5AnAcknowledgementOfWhatStillRunsIsPassedOver(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
	s.ask("PUT", "/orders", "x", "Idempotency-Key", "b", "Prefer", "respond-async", "Certified-Ack", `"a", "b"`).want(t, 202, "running")
	close(app.open)
	s.certified("a", "x").want(t, 201, "done")
}

func TestSection8DiscoveryTellsWhatTheServerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memstore.New(), &chttp.Options{Logger: quiet, Linger: 90 * time.Second})
		h := n.Handler("app", new(counter), &chttp.HandlerOptions{Principal: callers, MaxBody: 1234})
		s := &site{t: t, node: n, Handler: h}
		s.run()
		for _, method := range []string{"GET", "HEAD"} {
			r := s.ask(method, "/.well-known/chttp", "").want(t, 200, "")
			if r.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %v", method, r.header)
			}
		}
		var d struct {
			Versions                       []int
			Store, Retention, Linger, Skew string
			MaxBody                        int64 `json:"max_body"`
			Ack                            []string
			Now                            int64
		}
		if err := json.Unmarshal([]byte(s.ask("GET", "/.well-known/chttp", "").body), &d); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.Versions, []int{1}) || d.Retention != "P15D" || d.Linger != "PT1M30S" || d.Skew != "PT2M" || d.MaxBody != 1234 ||
			!slices.Equal(d.Ack, []string{"header", "delete", "bulk"}) || d.Now != time.Now().Unix() || len(d.Store) < 4 {
			t.Errorf("got %+v", d)
		}
		if r := s.ask("POST", "/.well-known/chttp", "").want(t, 405, ""); r.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("Allow is %q", r.header.Get("Allow"))
		}
		s.ask("GET", "/.well-known/chttp/other", "").problem(t, 404, "not-found", "none")
	})
}
