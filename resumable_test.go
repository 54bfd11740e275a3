package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// died lets the process die where a function calls it, the first time: nothing that comes after is recorded.
type died struct {
	once atomic.Bool
	here chan struct{}
}

func newDied() *died { return &died{here: make(chan struct{})} }

// point waits, the first time, until the run is over.
func (d *died) point(ctx context.Context) {
	if d.once.CompareAndSwap(false, true) {
		close(d.here)
		<-ctx.Done()
		runtime.Goexit()
	}
}

var double = chttp.Resumable("double", func(ctx context.Context, n int) (int, error) {
	return 2*n + chttp.Persist(ctx, "zero", func() int { return 0 }), nil
})

func TestAReplayIsGivenWhatWasRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peer := newHost(t, nil, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, `{"Method":%q,"Body":%q,"Nonce":%d}`, r.Method, b, rand.Int64())
		}, nil)
		l := newLAN(peer.ServeHTTP)
		d := newDied()
		var runs [2][]string
		var run atomic.Int64
		var steps atomic.Int64
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			k := run.Add(1) - 1
			say := func(format string, args ...any) { runs[k] = append(runs[k], fmt.Sprintf(format, args...)) }
			node := ctx.Value(nodeKey{}) // nothing of the starter's context
			say("node %v", node)
			say("persist %d", chttp.Persist(ctx, "nonce", rand.Int64))
			say("now %v", chttp.Now(ctx))
			n, err := chttp.Do(ctx, "draw", func(context.Context) (int64, error) { steps.Add(1); return rand.Int64(), nil })
			say("do %d %v", n, err)
			err = chttp.Run(ctx, "fail", func(context.Context) error {
				steps.Add(1)
				return fmt.Errorf("read: %w %d", fs.ErrNotExist, rand.Int64())
			})
			say("run %v %v", err, errors.Is(err, fs.ErrNotExist))
			say("sleep %v", chttp.Sleep(ctx, time.Second))
			res, err := chttp.Get(ctx, peerURL)
			if err != nil {
				return "", err
			}
			b, _ := io.ReadAll(res.Body)
			say("get %s %v %s", res.Status, res.Header, b)
			s, err := post(ctx, peerURL)
			say("post %s %v", s, err)
			out, err := chttp.PostJSON[struct{ Nonce int64 }](ctx, peerURL, map[string]any{"a": 1})
			say("post json %v %v", out, err)
			req, _ := http.NewRequestWithContext(chttp.With(ctx, chttp.Policy{Name: "the call", ID: "call-" + in}), "DELETE", peerURL, nil)
			res, err = chttp.Call(ctx, req)
			say("call without the id %v %v", res.Status, err)
			res, err = chttp.Call(req.Context(), req)
			say("call %v %v", res.Status, err)
			m, err := double.Call(ctx, 21)
			say("function %d %v", m, err)
			f := chttp.Go(ctx, "branch", func(ctx context.Context) (int64, error) {
				return chttp.Persist(ctx, "n", rand.Int64), nil
			})
			g := chttp.Go(ctx, "bad branch", func(ctx context.Context) (int, error) { return 0, io.ErrUnexpectedEOF })
			v, err := f.Wait(ctx)
			say("branch %s %d %v", f.ID(), v, err)
			_, err = g.Wait(ctx)
			say("bad branch %v %v", err, errors.Is(err, io.ErrUnexpectedEOF))
			home := theNode.Load()
			e, err := double.Start(ctx, home, "", 4)
			say("start %v", err)
			say("id %s", e.ID())
			m, err = e.Wait(ctx)
			say("wait %d %v", m, err)
			i, err := home.Lookup(ctx, e.ID())
			say("lookup %+v %v", i, err)
			_, err = home.Lookup(ctx, "nobody")
			say("lookup %v %v", err, errors.Is(err, chttp.ErrNotFound))
			id, err := home.Put(ctx, peerURL, "text/plain", strings.NewReader("put"))
			say("put %s %v", id, err)
			r1, _ := http.NewRequest("POST", peerURL+"/1", strings.NewReader("1"))
			r2, _ := http.NewRequest("POST", peerURL+"/2", strings.NewReader("2"))
			ids, err := home.SendAll(ctx, r1, r2)
			say("send all %v %v", ids, err)
			info, ok := chttp.From(ctx)
			say("from %s %s %v", info.ID, info.Function, ok)
			chttp.Sleep(ctx, 0)
			d.point(ctx)
			return strings.Join(runs[k], "\n"), nil
		}, func(h *home) { h.more = append(h.more, double) })
		theNode.Store(h.node)
		h.start("one")
		<-d.here
		time.Sleep(5 * time.Second)
		theNode.Store(nil)
		s := h.store.Crash()
		h.stop()
		h.store = s
		h.make()
		theNode.Store(h.node)
		h.run()
		got, err := h.outcome("one")
		if err != nil {
			t.Fatal(err)
		}
		if got != strings.Join(runs[1], "\n") {
			t.Errorf("the outcome is %q", got)
		}
		if len(runs[0]) != len(runs[1]) {
			t.Fatalf("%d operations, then %d", len(runs[0]), len(runs[1]))
		}
		for i := range runs[0] {
			if runs[0][i] != runs[1][i] {
				t.Errorf("first: %s\n then: %s", runs[0][i], runs[1][i])
			}
		}
		if steps.Load() != 2 {
			t.Errorf("%d steps, want 2", steps.Load())
		}
		time.Sleep(10 * time.Second)
		keys := map[string]bool{}
		for _, s := range l.requests("") {
			if s.key() != "" {
				if keys[s.key()] {
					t.Errorf("sent twice: %s %s", s.method, s.url)
				}
				keys[s.key()] = true
			}
		}
		if len(keys) != 7 {
			t.Errorf("%d messages, want 7", len(keys))
		}
	})
}

type nodeKey struct{}

// theNode is the node of the function of TestAReplayIsGivenWhatWasRecorded.
var theNode atomic.Pointer[chttp.Node]

func TestADeadlineThatEndsACallIsRecorded(t *testing.T) {
	for name, unknown := range map[string]bool{peerURL: true, "http://nobody.example/": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDied()
				var errs []error
				l := newLAN(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
					short, cancel := context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
					_, err := post(short, name)
					errs = append(errs, err)
					d.point(ctx)
					return "", nil
				})
				h.start("one")
				<-d.here
				time.Sleep(time.Second)
				h.crash()
				if _, err := h.outcome("one"); err != nil {
					t.Fatal(err)
				}
				if errs[0].Error() != errs[1].Error() {
					t.Errorf("first: %v\nthen: %v", errs[0], errs[1])
				}
				for _, err := range errs {
					if errors.Is(err, chttp.ErrUnknownOutcome) != unknown || errors.Is(err, chttp.ErrNotDone) == unknown ||
						!errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v", err)
					}
				}
			})
		})
	}
}

func TestTheSameRequestAgainContinuesItsMessage(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var up atomic.Bool
				d := newDied()
				d.once.Store(!crash)
				l := newLAN(func(w http.ResponseWriter, r *http.Request) {
					if !up.Load() {
						<-r.Context().Done()
					}
				})
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
					for range 3 {
						short, cancel := context.WithTimeout(ctx, 10*time.Second)
						_, err := post(short, peerURL)
						cancel()
						if !errors.Is(err, chttp.ErrUnknownOutcome) {
							return "", fmt.Errorf("got %w", err)
						}
						d.point(ctx)
					}
					up.Store(true)
					got, err := post(ctx, peerURL)
					if err != nil {
						return "", err
					}
					_, err = post(ctx, peerURL) // another message: the one before was answered
					return got, err
				})
				h.start("one")
				if crash {
					<-d.here
					time.Sleep(time.Second)
					h.crash()
				}
				if got, err := h.outcome("one"); got != "200 " || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
				keys := map[string]int{}
				for _, s := range l.requests("POST") {
					keys[s.key()]++
				}
				if len(keys) != 2 || keys[l.requests("POST")[0].key()] != 4 {
					t.Errorf("attempts by id: %v", keys)
				}
			})
		})
	}
}

// sdk calls like a payment company's SDK: with a key of its own, drawn anew in each run, that its retries share.
func sdk(ctx context.Context, tries int, each time.Duration) (string, error) {
	key := fmt.Sprintf("sdk-%d", rand.Int64())
	var last error
	for i := range tries {
		if i > 0 {
			time.Sleep(5 * time.Second)
		}
		short, cancel := context.WithTimeout(ctx, each)
		req, err := http.NewRequestWithContext(short, "POST", peerURL, strings.NewReader("amount=7"))
		if err != nil {
			cancel()
			return "", err
		}
		req.Header.Set("Idempotency-Key", key)
		req.Header.Set("Authorization", "Bearer sk_test_secret")
		client := &http.Client{Transport: &chttp.Transport{}}
		res, err := client.Do(req)
		cancel()
		if err != nil {
			last = err
			continue
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode == 409 || res.StatusCode >= 500 {
			last = fmt.Errorf("status %d: %s", res.StatusCode, b)
			continue
		}
		return string(b), nil
	}
	return "", last
}

func TestC1AnSDKsOwnKeyIsKept(t *testing.T) {
	// The process dies after each of the SDK's tries, which draws another key in the next run.
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"no answer": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a recorded 500": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Idempotent-Replayed", "true")
			w.WriteHeader(500)
		},
		"a 409": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(409) },
	}
	for name, answer := range answers {
		for tries := range 4 {
			t.Run(fmt.Sprint(name, ", ", tries), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLAN(answer)
					h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
						_, first := sdk(ctx, 3, 10*time.Second)
						chttp.Sleep(ctx, time.Minute)
						_, second := sdk(ctx, 1, 10*time.Second) // a second charge
						return fmt.Sprint(first != nil, second != nil), nil
					})
					h.start("one")
					time.Sleep(time.Duration(tries)*5*time.Second + 2*time.Second)
					h.crash()
					if got, err := h.outcome("one"); err != nil || got != "truetrue" && got != "true true" {
						t.Fatalf("got %q, %v", got, err)
					}
					keys := map[string]bool{}
					for _, s := range l.requests("POST") {
						keys[s.key()] = true
						if !strings.HasPrefix(s.key(), "sdk-") {
							t.Errorf("the key is %q, not the SDK's", s.key())
						}
					}
					if len(keys) != 2 {
						t.Errorf("keys on the wire: %v, want one a charge", keys)
					}
					noSecret(t, h.store, "sk_test_secret")
				})
			})
		}
	}
}

// noSecret checks that nothing stored holds the text.
func noSecret(t *testing.T, s *memstore.Store, text string) {
	t.Helper()
	if dump := fmt.Sprintf("%q", dumpOf(t, s)); strings.Contains(dump, text) {
		t.Errorf("the store holds %q", text)
	}
}

func TestErrReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			if in == "child" {
				return "", nil
			}
			_, e1 := double.Start(ctx, theNode.Load(), "d", 1)
			_, e2 := double.Start(ctx, theNode.Load(), "d", 2)
			named := chttp.With(ctx, chttp.Policy{ID: "m"})
			_, e3 := theNode.Load().Put(named, peerURL, "text/plain", strings.NewReader("1"))
			_, e4 := theNode.Load().Put(named, peerURL, "text/plain", strings.NewReader("1"))
			_, e5 := theNode.Load().Put(named, peerURL, "text/plain", strings.NewReader("2"))
			_, e6 := post(chttp.With(ctx, chttp.Policy{ID: "c"}), peerURL)
			_, e7 := post(chttp.With(ctx, chttp.Policy{ID: "c"}), peerURL+"/other")
			for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
				if want := i == 1 || i == 4 || i == 6; errors.Is(err, chttp.ErrReused) != want || (err == nil) == want {
					return "", fmt.Errorf("error %d is %w", i+1, err)
				}
			}
			return "", nil
		}, func(h *home) { h.more = append(h.more, double) })
		theNode.Store(h.node)
		if _, err := h.do("one"); err != nil {
			t.Error(err)
		}
		h.start("two")
		var e *chttp.Error
		if _, err := h.f.Start(t.Context(), h.node, "two", "other"); !errors.Is(err, chttp.ErrReused) || !errors.As(err, &e) || e.MayHaveHappened() {
			t.Errorf("Start with another input: %v", err)
		}
		if _, err := double.Start(t.Context(), h.node, "two", 1); !errors.Is(err, chttp.ErrReused) {
			t.Errorf("Start of another function: %v", err)
		}
		own := chttp.With(t.Context(), chttp.Policy{ID: "own"})
		for i, body := range []string{"1", "1", "2"} {
			_, err := h.node.Put(own, peerURL, "text/plain", strings.NewReader(body))
			if errors.Is(err, chttp.ErrReused) != (body == "2") || (err != nil) != (body == "2") {
				t.Errorf("Put %d: %v", i, err)
			}
		}
		h.ends("own")
		n := 0
		for _, s := range l.requests("PUT") {
			if s.key() == "own" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the message was sent %d times", n)
		}
		request := func(key, body string) *http.Request {
			r, _ := http.NewRequest("PUT", peerURL, strings.NewReader(body))
			r.Header.Set("Idempotency-Key", key)
			return r
		}
		for range 2 { // All or none, and the second time nothing new.
			ids, err := h.node.SendAll(t.Context(), request("all-1", "1"), request("all-2", "2"))
			if err != nil || len(ids) != 2 || ids[0] != "all-1" || ids[1] != "all-2" {
				t.Errorf("SendAll: %v, %v", ids, err)
			}
			h.ends("all-1")
			h.ends("all-2")
		}
		if _, err := h.node.SendAll(t.Context(), request("all-3", "3"), request("all-2", "other")); !errors.Is(err, chttp.ErrReused) {
			t.Errorf("SendAll with a key of another: %v", err)
		}
		if _, err := h.node.Lookup(t.Context(), "all-3"); !errors.Is(err, chttp.ErrNotFound) {
			t.Errorf("half of SendAll was stored: %v", err)
		}
	})
}

var sleeper = chttp.Resumable("sleeper", func(ctx context.Context, d time.Duration) (string, error) {
	return "slept", chttp.Sleep(ctx, d)
})

func TestCancel(t *testing.T) {
	type test struct {
		name string
		fn   func(ctx context.Context) error
		wait time.Duration // before Cancel
	}
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := []test{
		{"in a step", func(ctx context.Context) error {
			return chttp.Run(ctx, "wait", func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		}, time.Second},
		{"asleep", func(ctx context.Context) error { return chttp.Sleep(ctx, 100*time.Hour) }, time.Hour},
		{"in a call", func(ctx context.Context) error { _, err := post(ctx, peerURL); return err }, time.Hour},
		{"waiting for another", func(ctx context.Context) error {
			e, err := sleeper.Start(ctx, theNode.Load(), "sleeper", time.Hour)
			if err != nil {
				return err
			}
			_, err = e.Wait(ctx)
			return err
		}, time.Second},
		{"waiting for a branch", func(ctx context.Context) error {
			_, err := chttp.Go(ctx, "b", func(ctx context.Context) (int, error) { return 0, chttp.Sleep(ctx, 100*time.Hour) }).Wait(ctx)
			return err
		}, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(hang)
				undone := 0
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
					if err := test.fn(ctx); err != nil {
						// To undo things is what it may still do.
						chttp.Run(context.WithoutCancel(ctx), "undo", func(context.Context) error { undone++; return nil })
						return "", err
					}
					return "", errors.New("it was not cancelled")
				}, func(h *home) { h.more = append(h.more, sleeper) })
				theNode.Store(h.node)
				e := h.start("one")
				time.Sleep(test.wait)
				if err := e.Cancel(t.Context(), "enough"); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				_, err := e.Wait(t.Context())
				if !errors.Is(err, chttp.ErrCanceled) || !strings.Contains(err.Error(), "enough") || time.Since(begin) > time.Second {
					t.Errorf("after %v: %v", time.Since(begin), err)
				}
				if i := h.ends("one"); i.State != "canceled" || undone != 1 {
					t.Errorf("it is %+v, undone %d times", i, undone)
				}
				if err := e.Cancel(t.Context(), "again"); err != nil {
					t.Errorf("Cancel of what has ended: %v", err)
				}
				h.crash()
				if i := h.ends("one"); i.State != "canceled" {
					t.Errorf("after a crash it is %+v", i)
				}
			})
		})
	}
}

func TestCancelReachesWhatIsNotInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ran := make(map[string]int)
		h := newHome(t, newLAN(nil), nil, func(h *home) {
			h.fn = func(ctx context.Context, in string) (string, error) {
				i, _ := chttp.From(ctx)
				mu.Lock()
				ran[i.ID]++
				mu.Unlock()
				if i.ID == "parked" {
					panic("always")
				}
				return "", chttp.Sleep(ctx, 100*time.Hour)
			}
		})
		asleep, parked := h.start("asleep"), h.start("parked")
		h.parked("parked", "always")
		time.Sleep(time.Second)

		// Cancelled after a restart, while it replays or before.
		h.crash()
		if err := asleep.Cancel(t.Context(), "x"); err == nil {
			t.Error("Cancel on a store that is gone: no error")
		}
		e, err := h.f.Attach(t.Context(), h.node, "asleep")
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrCanceled) {
			t.Errorf("got %v", err)
		}

		// What is parked ends without running.
		e, _ = h.f.Attach(t.Context(), h.node, "parked")
		n := ran["parked"]
		if err := e.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		if i := h.ends("parked"); i.State != "canceled" || ran["parked"] != n {
			t.Errorf("it is %+v and ran %d times more", i, ran["parked"]-n)
		}
		if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrCanceled) {
			t.Errorf("got %v", err)
		}
		_ = parked

		// Before Run.
		h.stop()
		h.make()
		early := h.start("early")
		if err := early.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		h.run()
		if _, err := early.Wait(t.Context()); !errors.Is(err, chttp.ErrCanceled) {
			t.Errorf("got %v", err)
		}
		if ran["early"] != 1 {
			t.Errorf("it ran %d times", ran["early"])
		}
		if e, err := h.f.Attach(t.Context(), h.node, "nobody"); !errors.Is(err, chttp.ErrNotFound) {
			t.Errorf("Attach: %v, %v", e, err)
		}
		if e, err := double.Attach(t.Context(), h.node, "early"); !errors.Is(err, chttp.ErrNotFound) {
			t.Errorf("Attach of another function's: %v, %v", e, err)
		}
	})
}
