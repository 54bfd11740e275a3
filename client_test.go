package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

func TestC1EveryAttemptRepeatsIDAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				w.WriteHeader(503)
			case 2:
				panic(http.ErrAbortHandler)
			case 3:
				w.Header().Set("Content-Length", "10")
				io.WriteString(w, "short")
			default:
				io.WriteString(w, "ok")
			}
		}))
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL+"?q=1") })
		if got, err := h.do("one"); err != nil || got != "200 ok" {
			t.Fatalf("got %q, %v", got, err)
		}
		id := h.put(peerURL, "put", chttp.Policy{})
		if i := h.ends(id); i.State != "answered" {
			t.Fatalf("the put is %+v", i)
		}
		all := l.requests("POST")
		if len(all) != 4 {
			t.Fatalf("%d attempts, want 4", len(all))
		}
		for _, s := range all {
			if s.key() != all[0].key() || s.key() == "" || s.body != "body" || s.url != peerURL+"?q=1" ||
				s.header.Get("Content-Digest") != digestOf("body") || s.header.Get("Accept-Encoding") != "identity" ||
				s.header.Get("Content-Type") != "text/plain" {
				t.Errorf("an attempt differs: %+v", s)
			}
			if s.stamp("sent") != all[0].stamp("sent") || s.stamp("until") != all[0].stamp("until") || s.stamp("sent") == 0 {
				t.Errorf("sent or until changed: %v", s.header["Certified"])
			}
			if at := s.stamp("at"); at != s.at.Unix() || at < s.stamp("sent") || at > s.stamp("until") {
				t.Errorf("at is %d at %d: %v", at, s.at.Unix(), s.header["Certified"])
			}
		}
	})
}

func TestC1ACrashBetweenAttemptsKeepsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			if !up.Load() {
				w.WriteHeader(503)
				return
			}
			io.WriteString(w, "ok")
		})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			nonce := chttp.Persist(ctx, "nonce", func() int64 { return time.Now().UnixNano() })
			return post(ctx, fmt.Sprintf("%s?n=%d", peerURL, nonce))
		})
		h.start("one")
		id := h.put(peerURL, "put", chttp.Policy{})
		time.Sleep(10 * time.Second)
		h.crash()
		time.Sleep(10 * time.Second)
		h.restart()
		time.Sleep(10 * time.Second)
		up.Store(true)
		if got, err := h.outcome("one"); got != "200 ok" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		if i := h.ends(id); i.State != "answered" {
			t.Errorf("the put is %+v", i)
		}
		for _, method := range []string{"POST", "PUT"} {
			all := l.requests(method)
			if len(all) < 6 {
				t.Errorf("only %d attempts", len(all))
			}
			for _, s := range all {
				if s.key() != all[0].key() || s.url != all[0].url || s.body != all[0].body || s.stamp("sent") != all[0].stamp("sent") || s.stamp("until") != all[0].stamp("until") {
					t.Errorf("%s: an attempt after the crash differs: %+v, want %+v", method, s, all[0])
				}
			}
		}
	})
}

func TestC1AReusedKeyThatWeDerivedParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			certify(w, r, "refused", 422, `{"code":"key-reused"}`)
		})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			if in == "own" {
				ctx = chttp.With(ctx, chttp.Policy{ID: "mine"})
			}
			return post(ctx, peerURL)
		})
		h.start("derived")
		h.parked("derived", "home_test.go:", "another request")
		h.parked(h.put(peerURL, "x", chttp.Policy{}), "another request")

		e, err := h.f.Start(t.Context(), h.node, "chosen", "own")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrReused) || !errors.Is(err, chttp.ErrNotDone) {
			t.Errorf("with an id of the caller's own: %v, want %v", err, chttp.ErrReused)
		}
		if i := h.ends(h.put(peerURL, "x", chttp.Policy{ID: "mine-2"})); i.State != "rejected" || !errors.Is(i.Err, chttp.ErrReused) {
			t.Errorf("the put with an id of its own is %+v", i)
		}
	})
}

func TestC2RetryAfterIsObeyedInBothForms(t *testing.T) {
	for _, form := range []string{"90", "date"} {
		for _, status := range []int{429, 503, 409, 425} {
			t.Run(fmt.Sprint(form, " ", status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
						if n > 1 {
							return
						}
						after := form
						if form == "date" {
							after = time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
						}
						w.Header().Set("Retry-After", after)
						w.WriteHeader(status)
					}))
					h := newHome(t, l, nil)
					if i := h.ends(h.put(peerURL, "x", chttp.Policy{})); i.State != "answered" {
						t.Fatalf("it is %+v", i)
					}
					all := l.requests("PUT")
					if wait := all[1].at.Sub(all[0].at); wait < 89*time.Second || wait > 100*time.Second {
						t.Errorf("it came again after %v", wait)
					}
				})
			})
		}
	}
}

func TestC2NothingIsSentAfterUntil(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"busy": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) },
		"retry much later": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(503)
		},
		"silent": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"broken": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"running": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "50000")
			certify(w, r, "running", 202, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(answer)
				p := chttp.Policy{Until: 5 * time.Minute}
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(chttp.With(ctx, p), peerURL) })
				begin := time.Now()
				h.start("one")
				id := h.put(peerURL, "x", p)
				_, err := h.outcome("one")
				took := time.Since(begin)
				if !errors.Is(err, chttp.ErrUnknownOutcome) || errors.Is(err, chttp.ErrNotDone) {
					t.Errorf("the call's error is %v, want %v", err, chttp.ErrUnknownOutcome)
				}
				if took < 4*time.Minute || took > 6*time.Minute {
					t.Errorf("the call took %v", took)
				}
				begin = time.Now()
				if i := h.ends(id); i.State != "unknown" || !errors.Is(i.Err, chttp.ErrUnknownOutcome) || time.Since(begin) > 2*time.Minute {
					t.Errorf("the put is %+v, %v after the call", i, time.Since(begin))
				}
				for _, s := range l.requests("") {
					if s.key() != "" && s.at.Unix() > s.stamp("until") {
						t.Errorf("sent at %d, after until: %v", s.at.Unix(), s.header["Certified"])
					}
				}
			})
		})
	}
}

func TestC2OneAttemptAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			select {
			case <-time.After(30 * time.Second):
			case <-r.Context().Done():
			}
			w.WriteHeader(503)
		})
		h := newHome(t, l, nil)
		h.ends(h.put(peerURL, "x", chttp.Policy{Until: 10 * time.Minute}))
		if most.Load() != 1 {
			t.Errorf("%d attempts of one message at a time", most.Load())
		}
	})
}

func TestC4AnUnmarkedAnswerOfACertifiedPeerIsNoOutcome(t *testing.T) {
	tests := []struct {
		name     string
		unmarked func(w http.ResponseWriter, r *http.Request, n int) // the n-th answer without Certified
		probe    func(w http.ResponseWriter, r *http.Request)
		state    string
		attempts int
		paused   bool
	}{
		{"a gateway in between, once", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				w.WriteHeader(502)
				return
			}
			certify(w, r, "done", 200, "")
		}, nil, "answered", 2, false},
		{"a gateway in between, for long", func(w http.ResponseWriter, r *http.Request, n int) {
			if n < 20 {
				w.WriteHeader(502)
				return
			}
			certify(w, r, "done", 200, "")
		}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) }, "answered", 20, false},
		{"a page that says OK, and a certified peer behind it", func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				io.WriteString(w, "welcome")
				return
			}
			certify(w, r, "done", 200, "")
		}, discovery, "answered", 2, false},
		{
			"a page that says OK, for ever", func(w http.ResponseWriter, r *http.Request, n int) { io.WriteString(w, "welcome") },
			func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "welcome") }, "unknown", 1, true,
		},
		{
			"a resource that is not certified", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(404) },
			discovery, "unknown", 3, false,
		},
		{
			"certified no more", func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(404) },
			func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, "unknown", 3, true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				l := newLAN(nil)
				l.hosts["peer.example"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.Method == "DELETE":
						w.WriteHeader(204)
					case r.Method == "GET":
						test.probe(w, r)
					case r.URL.Path == "/first":
						certify(w, r, "done", 200, "")
					default:
						n++
						test.unmarked(w, r, n)
					}
				})
				h := newHome(t, l, nil)
				h.ends(h.put("http://peer.example/first", "", chttp.Policy{}))
				time.Sleep(10 * time.Second)
				h.crash() // that the peer is certified was durable
				id := h.put(peerURL, "x", chttp.Policy{})
				i := h.ends(id)
				if i.State != test.state || n != test.attempts {
					t.Errorf("it is %s after %d attempts, want %s after %d: %v", i.State, n, test.state, test.attempts, i.Err)
				}
				before := len(l.requests("PUT"))
				h.put("http://peer.example/first", "", chttp.Policy{})
				time.Sleep(time.Minute)
				if sent := len(l.requests("PUT")) > before; sent == test.paused {
					t.Errorf("a later message was sent: %v", sent)
				}
			})
		})
	}
}

func discovery(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, `{"versions":[1],"store":"aaaa","retention":"P15D","linger":"PT10M","skew":"PT2M","max_body":10485760,"ack":["header","delete","bulk"],"now":1795348261}`)
}

func TestC4AnOutcomeFoundAtTheMessageURLCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var id string
		l := newLAN(nil)
		l.hosts["peer.example"] = script(func(w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case r.Method == "GET" && strings.HasPrefix(r.URL.Path, "/.well-known/chttp/messages/"):
				r.Header.Set("Idempotency-Key", id)
				certify(w, r, "done", 200, "found")
			case r.Method == "DELETE":
				w.WriteHeader(204)
			case n == 1:
				id = r.Header.Get("Idempotency-Key")
				certify(w, r, "running", 202, "")
			default:
				io.WriteString(w, "stripped")
			}
		})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) })
		if got, err := h.do("one"); got != "200 found" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestC5TheStatusDecides(t *testing.T) {
	inProgress := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(409)
		io.WriteString(w, `{"code":"in-progress"}`)
	}
	type test struct {
		name  string
		first func(w http.ResponseWriter)
		state string // "" : tried again
		as    int
	}
	var tests []test
	for _, status := range []int{200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308} {
		tests = append(tests, test{fmt.Sprint(status), func(w http.ResponseWriter) { w.WriteHeader(status) }, "answered", status})
	}
	for _, status := range []int{400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 415, 422, 428, 451, 501, 505, 507, 511} {
		tests = append(tests, test{fmt.Sprint(status), func(w http.ResponseWriter) { w.WriteHeader(status) }, "rejected", status})
	}
	for _, status := range []int{408, 425, 429, 500, 502, 503, 504} {
		tests = append(tests, test{fmt.Sprint(status), func(w http.ResponseWriter) { w.WriteHeader(status) }, "", 0})
	}
	for _, status := range []int{500, 502, 503, 504} {
		tests = append(tests, test{fmt.Sprint(status, " replayed"), func(w http.ResponseWriter) {
			w.Header().Set("Idempotent-Replayed", "true")
			w.WriteHeader(status)
		}, "rejected", status})
	}
	tests = append(tests,
		test{"409 with Retry-After", func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1"); w.WriteHeader(409) }, "", 0},
		test{"409 in-progress", inProgress, "", 0},
		test{"transport error", func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }, "", 0},
		test{"truncated body", func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9"); io.WriteString(w, "abc") }, "", 0},
	)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(nil)
				var mu sync.Mutex
				seen := map[string]bool{}
				l.hosts["peer.example"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					again := seen[r.Method]
					seen[r.Method] = true
					mu.Unlock()
					if !again {
						test.first(w)
						return
					}
					w.WriteHeader(299)
				})
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
					res, err := chttp.Post(ctx, peerURL, "text/plain", strings.NewReader("body"))
					if err != nil {
						return "", err
					}
					return res.Status[:3], nil
				})
				want, state, attempts := test.as, test.state, 1
				if test.state == "" {
					want, state, attempts = 299, "answered", 2
				}
				if got, err := h.do("one"); err != nil || got != fmt.Sprint(want) {
					t.Errorf("the call's answer is %q, %v, want %d", got, err, want)
				}
				if i := h.ends(h.put(peerURL, "x", chttp.Policy{})); i.State != state || i.Status != want {
					t.Errorf("the put is %s with %d, want %s with %d", i.State, i.Status, state, want)
				}
				if n, m := len(l.requests("POST")), len(l.requests("PUT")); n != attempts || m != attempts {
					t.Errorf("%d and %d attempts, want %d", n, m, attempts)
				}
				for _, s := range l.requests("") {
					if key := s.header.Get("Idempotency-Key"); key == "" || strings.Contains(key, `"`) {
						t.Errorf("the key is %s, want it bare", key)
					}
				}
			})
		})
	}
}

func TestC5RedirectsAreFollowedWithinTheAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/x":
				w.Header().Set("Location", "/y?z=1")
				w.WriteHeader(307)
			case "/y":
				w.Header().Set("Location", "http://peer.example/z")
				w.WriteHeader(308)
			case "/z":
				b, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s %s", r.Method, b)
			case "/away":
				w.Header().Set("Location", "http://other.example/z")
				w.WriteHeader(307)
			case "/round":
				w.Header().Set("Location", "/round")
				w.WriteHeader(308)
			}
		})
		l.hosts["other.example"] = http.NotFoundHandler()
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			one, err := post(ctx, peerURL)
			if err != nil {
				return "", err
			}
			two, err := post(ctx, "http://peer.example/away")
			if err != nil {
				return "", err
			}
			_, err = post(chttp.With(ctx, chttp.Policy{Until: time.Minute}), "http://peer.example/round")
			return one + "; " + two + "; " + fmt.Sprint(errors.Is(err, chttp.ErrUnknownOutcome)), nil
		})
		if got, err := h.do("one"); got != "200 POST body; 307 ; true" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		all := l.requests("POST")
		for _, s := range all[:3] {
			if s.key() != all[0].key() || s.body != "body" {
				t.Errorf("the redirected request differs: %+v", s)
			}
		}
		for _, s := range all {
			if strings.Contains(s.url, "other.example") {
				t.Errorf("the message was sent to another authority: %s", s.url)
			}
		}
	})
}

func TestC5WithoutCredentialsTheDestinationWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good atomic.Bool
		server := newHost(t, nil, func(w http.ResponseWriter, r *http.Request) {}, &chttp.HandlerOptions{Principal: func(r *http.Request) (string, error) {
			if !good.Load() {
				return "", errors.New("expired")
			}
			return "ann", nil
		}})
		l := newLAN(server.ServeHTTP)
		h := newHome(t, l, nil)
		var ids []string
		for range 20 {
			ids = append(ids, h.put(peerURL, "x", chttp.Policy{}))
		}
		time.Sleep(10 * time.Minute)
		if n := len(l.requests("PUT")); n > 20+10*60/2 {
			t.Errorf("%d attempts without credentials in ten minutes", n)
		}
		good.Store(true)
		for _, id := range ids {
			if i := h.ends(id); i.State != "answered" {
				t.Errorf("it is %+v", i)
			}
		}
	})
}

func TestC6Ends(t *testing.T) {
	down := "http://nobody.example/x"
	refuse := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		certify(w, r, "refused", 400, `{"code":"too-long"}`)
	}
	tests := []struct {
		name, url  string
		peer       http.HandlerFunc
		send, call string // state; error of the call: "", "not done" or "unknown"
		status     int
	}{
		{"answered", peerURL, func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 201, "") }, "answered", "", 201},
		{"rejected", peerURL, func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 422, "") }, "rejected", "", 422},
		{"a recorded 503", peerURL, func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 503, "") }, "rejected", "", 503},
		{"no connection", down, nil, "undelivered", "not done", 0},
		{"an answer lost", peerURL, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "unknown", "unknown", 0},
		{"none, always", peerURL, func(w http.ResponseWriter, r *http.Request) { certify(w, r, "none", 503, "") }, "unknown", "unknown", 0},
		{"refused", peerURL, refuse, "rejected", "not done", 400},
		{"refused after an attempt", peerURL, script(func(w http.ResponseWriter, r *http.Request, n int) {
			if n < 3 {
				panic(http.ErrAbortHandler)
			}
			refuse(w, r)
		}), "unknown", "unknown", 400},
		{"gone", peerURL, func(w http.ResponseWriter, r *http.Request) { certify(w, r, "gone", 410, "") }, "unknown", "unknown", 0},
		{"too large an answer", peerURL, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("x", 2000)) }, "unknown", "unknown", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got error
				h := newHome(t, newLAN(test.peer), func(ctx context.Context, in string) (string, error) {
					_, got = chttp.Post(chttp.With(ctx, chttp.Policy{Until: time.Hour}), test.url, "text/plain", strings.NewReader("body"))
					return "", got
				}, func(h *home) { h.opt.MaxValue = 1000 })
				id := h.put(test.url, "x", chttp.Policy{Until: time.Hour})
				if i := h.ends(id); i.State != test.send || i.Status != test.status {
					t.Errorf("the put is %s with %d (%v), want %s with %d", i.State, i.Status, i.Err, test.send, test.status)
				}
				if test.name == "refused after an attempt" {
					return // its script was used up
				}
				_, err := h.do("one")
				for _, err := range []error{got, err} {
					var e *chttp.Error
					switch {
					case test.call == "":
						if err != nil {
							t.Errorf("the call's error is %v", err)
						}
					case !errors.Is(err, chttp.ErrUnknownOutcome) && test.call == "unknown", !errors.Is(err, chttp.ErrNotDone) && test.call == "not done":
						t.Errorf("the call's error is %v, want %s", err, test.call)
					case err == got && (!errors.As(err, &e) || e.MayHaveHappened() != (test.call == "unknown") || e.ID == "" || e.Op != "call"):
						t.Errorf("the call's error is %#v", err)
					}
				}
			})
		})
	}
}

func TestC6AMessageThatNeverLeftIsUndeliveredAlsoAfterARestart(t *testing.T) {
	// After a crash an attempt is presumed to have left. Without one, where none was made, it is not.
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), nil)
		late := h.put("http://nobody.example/x", "x", chttp.Policy{After: time.Hour, Until: 2 * time.Hour})
		early := h.put("http://nobody.example/x", "x", chttp.Policy{Until: 2 * time.Hour})
		if i := h.ends(late); i.State != "undelivered" {
			t.Errorf("it is %s, want undelivered", i.State)
		}
		if i := h.ends(early); i.State != "undelivered" {
			t.Errorf("it is %s, want undelivered", i.State)
		}
		crashed := h.put("http://nobody.example/x", "x", chttp.Policy{Until: time.Hour})
		h.crash()
		if i := h.ends(crashed); i.State != "unknown" {
			t.Errorf("after a crash it is %s, want unknown", i.State)
		}
	})
}

func TestFailedIsCalledAsAnExecutionOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]chttp.Info{}
		runs := 0
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/told":
				certify(w, r, "done", 200, "")
			case "/rejected":
				certify(w, r, "done", 409, "no")
			default:
				panic(http.ErrAbortHandler)
			}
		})
		h := newHome(t, l, nil, func(h *home) {
			h.opt.Failed = func(ctx context.Context, m chttp.Info) error {
				mu.Lock()
				told[m.ID] = m
				runs++
				first := runs == 1
				mu.Unlock()
				if _, err := chttp.Post(ctx, "http://peer.example/told", "text/plain", strings.NewReader(m.ID)); err != nil {
					return err
				}
				if first {
					return chttp.Sleep(ctx, time.Minute) // in which the process dies
				}
				return nil
			}
		})
		p := chttp.Policy{Until: time.Minute, Labels: map[string]string{"order": "7"}}
		rejected := h.put("http://peer.example/rejected", "x", p)
		h.ends(rejected)
		time.Sleep(20 * time.Second)
		h.crash()
		unknown := h.put(peerURL, "x", p)
		undelivered := h.put("http://nobody.example/", "x", p)
		h.ends(unknown)
		h.ends(undelivered)
		for id, want := range map[string]string{rejected: "rejected", unknown: "unknown", undelivered: "undelivered"} {
			h.ends("failed/" + id)
			i := told[id]
			if i.State != want || i.Labels["order"] != "7" || i.Err == nil {
				t.Errorf("told of %s: %+v", want, i)
			}
			is := map[string]error{"unknown": chttp.ErrUnknownOutcome, "undelivered": chttp.ErrNotDone}[want]
			if is != nil && !errors.Is(i.Err, is) {
				t.Errorf("told of %s with %v", want, i.Err)
			}
		}
		if told[rejected].Status != 409 {
			t.Errorf("told of status %d, want 409", told[rejected].Status)
		}
		keys := map[string]int{}
		for _, s := range l.requests("POST") {
			if s.key() != "" {
				keys[s.body+" "+s.key()]++
			}
		}
		if len(keys) != 3 {
			t.Errorf("the messages of Failed were %v, want one for each", keys)
		}
	})
}

func TestC7APlainDestinationGetsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			req, _ := http.NewRequestWithContext(ctx, "POST", peerURL, strings.NewReader("body"))
			req.Header.Set("Idempotency-Key", "sdk")
			res, err := chttp.Call(ctx, req)
			if err != nil {
				return "", err
			}
			return res.Status, nil
		}, func(h *home) {
			h.opt.Destination = func(context.Context, *http.Request) (chttp.Destination, error) {
				return chttp.Destination{Plain: true}, nil
			}
		})
		if _, err := h.do("one"); err != nil {
			t.Fatal(err)
		}
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		all := l.requests("")
		if len(all) != 2 {
			t.Fatalf("%d requests, want 2", len(all))
		}
		for _, s := range all {
			for _, name := range []string{"Idempotency-Key", "Certified", "Content-Digest", "Certified-Ack"} {
				if s.header.Get(name) != "" {
					t.Errorf("%s: %s", name, s.header.Get(name))
				}
			}
			if s.getBody {
				t.Error("net/http may send it again by itself")
			}
		}
	})
}

func TestC4TheKeyIsInQuotesOnceThePeerIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newHost(t, nil, func(w http.ResponseWriter, r *http.Request) {}, nil)
		l := newLAN(server.ServeHTTP)
		h := newHome(t, l, nil)
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		h.crash()
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		var quoted []bool
		var horizon []int64
		for _, s := range l.requests("PUT") {
			quoted = append(quoted, strings.HasPrefix(s.header.Get("Idempotency-Key"), `"`))
			horizon = append(horizon, (s.stamp("until")-s.stamp("sent"))/3600)
		}
		if !slices.Equal(quoted, []bool{false, true, true}) || !slices.Equal(horizon, []int64{23, 168, 168}) {
			t.Errorf("in quotes: %v; hours: %v", quoted, horizon)
		}
	})
}

func TestS13ARestoredPeerIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var restored atomic.Bool
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			name := `"aaaa"`
			if restored.Load() {
				name = `"bbbb"`
			}
			certify(w, r, "done", 200, "", "store", name)
		})
		h := newHome(t, l, nil)
		h.ends(h.put(peerURL, "1", chttp.Policy{}))
		time.Sleep(10 * time.Second)
		restored.Store(true)
		h.ends(h.put(peerURL, "2", chttp.Policy{}))
		for range 2 {
			before := len(l.requests("PUT"))
			id := h.put(peerURL, "3", chttp.Policy{})
			time.Sleep(time.Hour)
			if n := len(l.requests("PUT")); n != before {
				t.Errorf("%d more attempts to a peer that was restored", n-before)
			}
			if i, err := h.node.Lookup(t.Context(), id); err != nil || i.State != "running" && i.State != "waiting" {
				t.Errorf("it is %+v, %v", i, err)
			}
			h.crash() // The pause is durable.
		}
	})
}

func TestC8AClockThatIsOffIsAllowedFor(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				warned := &logbook{}
				l := newLAN(func(w http.ResponseWriter, r *http.Request) {
					now := time.Now().Add(off)
					s := &sighting{header: r.Header}
					state, status := "done", 200
					if at := s.stamp("at"); at < now.Add(-10*time.Minute).Unix() || at > now.Add(2*time.Minute).Unix() {
						state, status = "none", 412
					}
					certify(w, r, state, status, "", "now", fmt.Sprintf("@%d", now.Unix()))
				})
				h := newHome(t, l, nil, func(h *home) { h.opt.Logger = warned.logger() })
				begin := time.Now()
				h.ends(h.put(peerURL, "x", chttp.Policy{}))
				took := time.Since(begin)
				h.ends(h.put(peerURL, "y", chttp.Policy{}))
				h.crash()
				h.ends(h.put(peerURL, "z", chttp.Policy{}))
				if off > 0 && took > time.Minute {
					t.Errorf("it took %v", took)
				}
				last := map[string]int64{}
				for _, s := range l.requests("PUT") {
					at := s.stamp("at")
					if at < last[s.key()] || at < s.stamp("sent") || at > s.stamp("until") {
						t.Errorf("at fell to %d, or is out of bounds: %v", at, s.header["Certified"])
					}
					last[s.key()] = at
				}
				if off > 0 {
					if n := len(l.requests("PUT")); n != 4 {
						t.Errorf("%d attempts, want one that learns and three that pass", n)
					}
				}
				if n := warned.count("clocks differ"); n != 1 {
					t.Errorf("it was reported %d times, want once", n)
				}
			})
		})
	}
}

func TestA1AcknowledgementsRideAreDeletedOrGoInBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newHost(t, nil, func(w http.ResponseWriter, r *http.Request) {}, nil)
		l := newLAN(server.ServeHTTP)
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) })
		acknowledged := func(keys ...string) {
			t.Helper()
			time.Sleep(5 * time.Second)
			for _, key := range keys {
				r, err := server.store.Read(t.Context(), store.Key{Scope: "app/ann", ID: key})
				if err != nil || r.State != store.Acknowledged {
					t.Errorf("%s is %+v, %v at the peer, want acknowledged", key, r, err)
				}
			}
		}
		// The second call carries the acknowledgement of the first; the second's own finds nothing to ride on.
		h.do("one")
		h.do("two")
		first, second := l.requests("POST")[0], l.requests("POST")[1]
		if want := fmt.Sprintf(`"%s";at=@%d`, first.key(), first.stamp("at")); second.header.Get("Certified-Ack") != want {
			t.Errorf("the second call carries %q, want %q", second.header.Get("Certified-Ack"), want)
		}
		acknowledged(first.key(), second.key())
		deletes := l.requests("DELETE")
		if len(deletes) != 1 || deletes[0].stamp("at") != second.stamp("at") {
			t.Fatalf("the second's acknowledgement: %d DELETEs", len(deletes))
		}

		// Several that find nothing to ride on go together.
		var ids []string
		for i := range 5 {
			ids = append(ids, h.put(fmt.Sprintf("http://peer.example/p%d", i), "x", chttp.Policy{}))
		}
		for _, id := range ids {
			h.ends(id)
		}
		acknowledged(ids...)
		if n := len(l.requests("DELETE")); n != 1 {
			t.Errorf("%d more DELETEs, want one POST in bulk", n-1)
		}
		bulk := l.requests("POST")[len(l.requests("POST"))-1]
		if !strings.HasSuffix(bulk.url, "/.well-known/chttp/acks") || strings.Count(bulk.body, `"at":`) != 5 {
			t.Errorf("the bulk is %s %s", bulk.url, bulk.body)
		}
	})
}

func TestA5AfterACrashTheAcknowledgementNamesUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door := newDoor()
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case "PUT":
				door.pass(r.Context())
				certify(w, r, "done", 200, "")
			default:
				w.WriteHeader(204)
			}
		})
		h := newHome(t, l, nil)
		id := h.put(peerURL, "x", chttp.Policy{})
		<-door.entered
		h.crash()
		<-door.entered
		close(door.open)
		h.ends(id)
		time.Sleep(5 * time.Second)
		put, del := l.requests("PUT")[1], l.requests("DELETE")
		if len(del) != 1 || del[0].stamp("at") != put.stamp("until") {
			t.Errorf("acknowledged %v, want until of %v", del, put.header["Certified"])
		}
	})
}

func TestA5WhileRunningTheLargestAtIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case r.Method == "DELETE":
				w.WriteHeader(204)
			case n < 5:
				certify(w, r, "running", 202, "")
			default:
				certify(w, r, "done", 200, "")
			}
		}))
		h := newHome(t, l, nil)
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		time.Sleep(5 * time.Second)
		puts, del := l.requests("PUT"), l.requests("DELETE")
		if len(del) != 1 || del[0].stamp("at") != puts[len(puts)-1].stamp("at") {
			t.Errorf("acknowledged %v, want at of %v", del[0].header, puts[len(puts)-1].header["Certified"])
		}
	})
}

func TestAcknowledgementsThatDidNotArriveRideAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(nil)
		broken := true
		l.hosts["peer.example"] = script(func(w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case r.Method == "DELETE":
				w.WriteHeader(204)
			case r.Header.Get("Certified-Ack") != "" && broken:
				broken = false
				w.WriteHeader(502) // by a gateway: the peer has not seen it
			default:
				certify(w, r, "done", 200, "")
			}
		})
		h := newHome(t, l, nil)
		first := h.put(peerURL, "1", chttp.Policy{})
		h.ends(first)
		second := h.put(peerURL, "2", chttp.Policy{})
		h.ends(second)
		time.Sleep(5 * time.Second)
		told := map[string]bool{}
		for _, s := range l.requests("")[2:] {
			for _, id := range []string{first, second} {
				if strings.Contains(s.header.Get("Certified-Ack"), id) || strings.Contains(s.url+s.body, "/messages/"+id) {
					told[id] = true
				}
			}
		}
		if !told[first] || !told[second] {
			t.Errorf("acknowledged after the gateway's answer: %v", told)
		}
	})
}
