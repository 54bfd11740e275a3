package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// destined makes the options' Destination d for everything.
func destined(d chttp.Destination) func(*home) {
	return func(h *home) {
		h.opt.Destination = func(context.Context, *http.Request) (chttp.Destination, error) { return d, nil }
	}
}

func TestConcurrencyIsLimitedByDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
		})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) }, destined(chttp.Destination{Concurrency: 3}))
		begin := time.Now()
		var ids []string
		for i := range 15 {
			ids = append(ids, h.put(peerURL, "x", chttp.Policy{}))
			h.start(fmt.Sprint(i))
		}
		for i := range 15 {
			h.outcome(fmt.Sprint(i))
			h.ends(ids[i])
		}
		if took := time.Since(begin); most.Load() != 3 || took < 10*time.Second || took > 12*time.Second {
			t.Errorf("%d at a time, %v in all; want 3, 10 s", most.Load(), took)
		}
	})
}

func TestTheRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) }, destined(chttp.Destination{Rate: 2}))
		var ids []string
		for i := range 20 {
			ids = append(ids, h.put(peerURL, "x", chttp.Policy{}))
			h.start(fmt.Sprint(i))
		}
		for i := range 20 {
			h.outcome(fmt.Sprint(i))
			h.ends(ids[i])
		}
		all := l.requests("")
		for i := range all[4:] { // after a burst of two
			if gap := all[i+4].at.Sub(all[i+2].at); gap < 900*time.Millisecond {
				t.Errorf("attempts %d and %d within %v, at a rate of 2 a second", i+2, i+4, gap)
			}
		}
		if len(all) != 40 {
			t.Errorf("%d attempts, want 40", len(all))
		}
	})
}

func TestARateThatUntilOutrunsEndsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			return post(chttp.With(ctx, chttp.Policy{Until: 10 * time.Second}), peerURL)
		}, destined(chttp.Destination{Rate: 1}))
		var ids []string
		for i := range 30 {
			ids = append(ids, h.put(peerURL, "x", chttp.Policy{Until: 10 * time.Second}))
			h.start(fmt.Sprint(i))
		}
		undelivered := 0
		for i := range 30 {
			if i := h.ends(ids[i]); i.State == "undelivered" {
				undelivered++
			} else if i.State != "answered" {
				t.Errorf("it is %+v", i)
			}
			if _, err := h.outcome(fmt.Sprint(i)); errors.Is(err, chttp.ErrNotDone) {
				undelivered++
			} else if err != nil {
				t.Error(err)
			}
		}
		if sent := len(l.requests("")); sent+undelivered != 60 || sent < 9 || sent > 13 {
			t.Errorf("%d sent, %d undelivered, want 60 in all, of which about 11 sent", sent, undelivered)
		}
	})
}

func TestTheBreakerOpensAndClosesAndEverythingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		var tries atomic.Int64
		var now, most atomic.Int64
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			if up.Load() {
				return
			}
			tries.Add(1)
			defer now.Add(-1)
			n := now.Add(1)
			if tries.Load() > 60 { // all had a place before it was known
				most.Store(max(most.Load(), n))
			}
			time.Sleep(100 * time.Millisecond)
			panic(http.ErrAbortHandler)
		})
		l.hosts["other.example"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) })
		var ids []string
		for i := range 50 {
			ids = append(ids, h.put(peerURL, "x", chttp.Policy{}))
			h.start(fmt.Sprint(i))
		}
		if i := h.ends(h.put("http://other.example/", "x", chttp.Policy{})); i.State != "answered" {
			t.Errorf("a message to another peer is %+v", i)
		}
		time.Sleep(time.Hour)
		if n := tries.Load(); n > 60+3600 || most.Load() > 1 {
			t.Errorf("%d attempts in an hour, %d at once", n, most.Load())
		}
		up.Store(true)
		begin := time.Now()
		for i := range 50 {
			if _, err := h.outcome(fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
			h.ends(ids[i])
		}
		if took := time.Since(begin); took > 2*time.Minute {
			t.Errorf("they went on %v after the peer was there again", took)
		}
	})
}

func TestCredentialsAreFreshInEveryAttemptAndNeverStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		signed := func(r *http.Request) error {
			body, err := r.GetBody()
			if err != nil {
				return err
			}
			b, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			r.Header.Set("Authorization", fmt.Sprintf("secret-%d over %s", n.Add(1), b))
			return nil
		}
		l := newLAN(script(func(w http.ResponseWriter, r *http.Request, k int) {
			if k%3 != 0 {
				w.WriteHeader(503)
				return
			}
			certify(w, r, "done", 200, "")
		}))
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) }, destined(chttp.Destination{Authorize: signed}))
		if _, err := h.do("one"); err != nil {
			t.Fatal(err)
		}
		h.ends(h.put(peerURL, "text", chttp.Policy{}))
		seen := map[string]bool{}
		for _, s := range l.requests("") {
			a := s.header.Get("Authorization")
			if seen[a] || !strings.HasPrefix(a, "secret-") || !strings.HasSuffix(a, "over "+s.body) {
				t.Errorf("%s %s: the credentials are %q", s.method, s.url, a)
			}
			seen[a] = true
		}
		if len(seen) < 6 {
			t.Errorf("%d attempts, want 6 or more", len(seen))
		}
		noSecret(t, h.store, "secret-")
	})
}

func TestADestinationThatCannotBeToldIsAskedAgain(t *testing.T) {
	// Its failures cost no places, and end with until.
	synctest.Test(t, func(t *testing.T) {
		var k atomic.Int64
		l := newLAN(func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Millisecond) })
		h := newHome(t, l, nil, func(h *home) {
			h.opt.Destination = func(ctx context.Context, r *http.Request) (chttp.Destination, error) {
				if i, _ := chttp.From(ctx); i.State == "" {
					return chttp.Destination{}, nil // when it is stored
				}
				n := k.Add(1)
				if n%3 == 0 || r.URL.Path == "/never" {
					return chttp.Destination{}, errors.New("no configuration")
				}
				return chttp.Destination{Name: fmt.Sprint(n % 2), Concurrency: 2}, nil
			}
		})
		var ids []string
		for range 100 {
			ids = append(ids, h.put(peerURL, "x", chttp.Policy{}))
		}
		for _, id := range ids {
			if i := h.ends(id); i.State != "answered" {
				t.Errorf("it is %+v", i)
			}
		}
		if i := h.ends(h.put("http://peer.example/never", "x", chttp.Policy{Until: time.Hour})); i.State != "undelivered" {
			t.Errorf("it is %+v", i)
		}
	})
}

func TestAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
		p := chttp.Policy{After: 48 * time.Hour}
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(chttp.With(ctx, p), peerURL) })
		begin := time.Now()
		h.start("one")
		id := h.put(peerURL, "x", p)
		time.Sleep(time.Hour)
		h.crash()
		if i := h.ends(id); i.State != "answered" {
			t.Errorf("the put is %+v", i)
		}
		if i := h.ends("one"); i.State != "answered" {
			t.Errorf("the call is %+v", i)
		}
		for _, s := range l.requests("") {
			if took := s.at.Sub(begin); took < p.After || took > p.After+2*time.Second || s.stamp("sent") < begin.Add(p.After).Unix() {
				t.Errorf("%s after %v: %v", s.method, took, s.header["Certified"])
			}
		}
	})
}

func TestAnAnswerThatIsNotWholeOrNotToThisMessageIsNone(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"another id": func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 200, "bad", "id", `"other"`) },
		"no id":      func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 200, "bad", "id", "") },
		"wrong digest": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Digest", digestOf("good"))
			certify(w, r, "done", 200, "bad")
		},
		"no digest": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Digest", "unknown=:AA==:")
			certify(w, r, "done", 200, "bad")
			w.Header().Del("Content-Digest")
		},
		"cut short": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			certify(w, r, "done", 200, "bad")
		},
		"another version": func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 200, "bad", "v", "2") },
		"no state":        func(w http.ResponseWriter, r *http.Request) { certify(w, r, "", 200, "bad") },
		"garbage": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Certified", "%&/(")
			io.WriteString(w, "bad")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
					if n == 1 {
						bad(w, r)
						return
					}
					certify(w, r, "done", 200, "good")
				}))
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) })
				if got, err := h.do("one"); got != "200 good" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}

func TestTheStateCountsAndNotTheStatus(t *testing.T) {
	for name, test := range map[string]struct {
		state    string
		status   int
		attempts int
	}{
		"done, 503": {"done", 503, 1}, "done, 409": {"done", 409, 1}, "none, 200": {"none", 200, 2}, "none, 404": {"none", 404, 2}, "running, 200": {"running", 200, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
					if n == 1 {
						certify(w, r, test.state, test.status, "first")
						return
					}
					certify(w, r, "done", 200, "second")
				}))
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) { return post(ctx, peerURL) })
				want := []string{"", fmt.Sprintf("%d first", test.status), "200 second"}[test.attempts]
				if got, err := h.do("one"); got != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			})
		})
	}
}

// dam holds back the commits of a store while it is shut.
type dam struct {
	store.Store
	mu   sync.Mutex
	shut chan struct{}
}

func (d *dam) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	d.mu.Lock()
	shut := d.shut
	d.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return d.Store.Commit(ctx, b)
}

func (d *dam) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = make(chan struct{})
}

func (d *dam) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.shut)
	d.shut = nil
}

func TestC3NothingIsAcknowledgedOrSentBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dam{}
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case "DELETE":
				w.WriteHeader(204)
			case "POST":
				d.close() // The answer arrives at a disk that hangs.
				certify(w, r, "done", 200, "")
			default:
				certify(w, r, "done", 200, "")
			}
		})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			if _, err := post(ctx, peerURL); err != nil {
				return "", err
			}
			req, err := http.NewRequestWithContext(ctx, "PATCH", peerURL, nil)
			if err != nil {
				return "", err
			}
			_, err = chttp.Call(ctx, req)
			return "", err
		}, func(h *home) {
			h.over = func(s store.Store) store.Store { d.Store = s; return d }
		})
		h.start("one")
		time.Sleep(time.Minute)
		if all := l.requests(""); len(all) != 1 {
			t.Errorf("%d requests left while the disk hung, want the first alone", len(all))
		}
		d.release()
		if _, err := h.outcome("one"); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		var methods []string
		for _, s := range l.requests("") {
			methods = append(methods, s.method)
		}
		// The second call carries the acknowledgement of the first, or a bulk does.
		if !slices.Contains(methods, "PATCH") || !slices.Contains(methods, "DELETE") && !slices.Contains(methods[1:], "POST") {
			t.Errorf("after it: %v", methods)
		}
	})
}

func TestC7NetHTTPRepeatsNothingForAPlainPeer(t *testing.T) {
	// The peer takes a request on a connection that was used before, and dies: net/http sends such a request again where it may.
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
	}))
	defer srv.Close()
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	defer transport.CloseIdleConnections()
	attempts := &tally{next: transport}
	node := newNode(t, memstore.New(), &chttp.Options{
		Logger: quiet, Transport: attempts,
		Destination: func(context.Context, *http.Request) (chttp.Destination, error) {
			return chttp.Destination{Plain: true}, nil
		},
	})
	run(t, node)
	for range 2 {
		id, err := node.Put(t.Context(), srv.URL, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		waitState(t, node, id, "answered")
	}
	if n.Load() != 3 || attempts.n.Load() != 3 {
		t.Errorf("%d requests arrived of %d attempts, want 3 of 3", n.Load(), attempts.n.Load())
	}
}

// tally counts the attempts that pass.
type tally struct {
	n    atomic.Int64
	next http.RoundTripper
}

func (c *tally) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

func TestSeveralPeersBehindOneAuthorityAreToldApartByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			certify(w, r, "done", 200, "", "store", `"`+strings.TrimPrefix(r.URL.Path, "/")+`"`)
		})
		h := newHome(t, l, nil, func(h *home) {
			h.opt.Destination = func(_ context.Context, r *http.Request) (chttp.Destination, error) {
				return chttp.Destination{Name: r.URL.Path}, nil
			}
		})
		for range 3 {
			for _, path := range []string{"aaaa", "bbbb"} {
				if i := h.ends(h.put("http://peer.example/"+path, "x", chttp.Policy{})); i.State != "answered" {
					t.Fatalf("it is %+v", i)
				}
			}
			h.crash()
		}
	})
}

func TestTheMoreSpecialPolicyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
		h := newHome(t, l, nil, destined(chttp.Destination{Policy: chttp.Policy{Until: 2 * time.Hour}}), func(h *home) {
			h.opt.Policy.Until = 3 * time.Hour
		})
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		h.ends(h.put(peerURL, "x", chttp.Policy{Until: time.Hour}))
		for i, want := range []int64{2, 1} {
			if s := l.requests("PUT")[i]; (s.stamp("until")-s.stamp("sent"))/3600 != want {
				t.Errorf("message %d: %v, want %d hours", i, s.header["Certified"], want)
			}
		}
	})
}
