package chttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// uncodable is what no codec can write.
type uncodable struct{ F func() }

func TestWhatAFunctionDoesWrongParksWithTheReason(t *testing.T) {
	tests := []struct {
		name string
		fn   func(ctx context.Context) error
		why  []string
	}{
		{"a panic", func(ctx context.Context) error { panic("oh no") }, []string{"crashed 5 times", "oh no", "misuse_test.go"}},
		{"a panic in a branch", func(ctx context.Context) error {
			_, err := chttp.Go(ctx, "b", func(context.Context) (int, error) { panic("oh no") }).Wait(ctx)
			return err
		}, []string{"crashed 5 times", "oh no"}},
		{"a panic in a step", func(ctx context.Context) error {
			return chttp.Run(ctx, "s", func(context.Context) error { panic("oh no") })
		}, []string{"crashed 5 times", "oh no"}},
		{"t.FailNow", func(ctx context.Context) error { new(testing.T).FailNow(); return nil }, []string{"crashed 5 times", "Goexit"}},
		{"t.FailNow in a branch", func(ctx context.Context) error {
			chttp.Go(ctx, "b", func(context.Context) (int, error) { new(testing.T).FailNow(); return 0, nil })
			return nil
		}, []string{"crashed 5 times", "Goexit"}},
		{"a step's name twice", func(ctx context.Context) error {
			for range 2 {
				if err := chttp.Run(ctx, "charge", func(context.Context) error { return nil }); err != nil {
					return err
				}
			}
			return nil
		}, []string{`"charge"`, "twice", "misuse_test.go:"}},
		{"two operations at once", func(ctx context.Context) error {
			var wg sync.WaitGroup
			for i := range 2 {
				wg.Go(func() { chttp.Sleep(chttp.With(ctx, chttp.Policy{Name: fmt.Sprint(i)}), time.Hour) })
			}
			wg.Wait()
			return nil
		}, []string{"two operations at once", "chttp.Go", "misuse_test.go:"}},
		{"an operation in Persist", func(ctx context.Context) error {
			chttp.Persist(ctx, "outer", func() int { return chttp.Persist(ctx, "inner", func() int { return 1 }) })
			return nil
		}, []string{"inner", "inside persist", "outer"}},
		{"a function that returns before its goroutine", func(ctx context.Context) error {
			began := make(chan bool)
			go func() {
				chttp.Run(ctx, "late", func(ctx context.Context) error { close(began); <-ctx.Done(); return nil })
			}()
			<-began
			return nil
		}, []string{"late", "another goroutine"}},
		{"a value that the codec cannot write", func(ctx context.Context) error {
			chttp.Persist(ctx, "v", func() uncodable { return uncodable{func() {}} })
			return nil
		}, []string{`persist "v"`, "cannot be recorded", "misuse_test.go:"}},
		{"a step's value that the codec cannot write", func(ctx context.Context) error {
			_, err := chttp.Do(ctx, "v", func(context.Context) (uncodable, error) { return uncodable{func() {}}, nil })
			return err
		}, []string{`step "v" had its effect`, "cannot be recorded"}},
		{"a branch's value that the codec cannot write", func(ctx context.Context) error {
			_, err := chttp.Go(ctx, "b", func(context.Context) (uncodable, error) { return uncodable{func() {}}, nil }).Wait(ctx)
			return err
		}, []string{`branch "b"`, "cannot be recorded"}},
		{"a value that is too long", func(ctx context.Context) error {
			chttp.Persist(ctx, "v", func() string { return strings.Repeat("x", 1<<20) })
			return nil
		}, []string{"Options.MaxValue"}},
		{"a step without a function", func(ctx context.Context) error { return chttp.Run(ctx, "nothing", nil) }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) { return "", test.fn(ctx) },
					func(h *home) { h.opt.MaxValue = 1 << 16 })
				e := h.start("one")
				if test.why == nil {
					if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrNotDone) {
						t.Errorf("got %v", err)
					}
					return
				}
				h.parked("one", test.why...)
				if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrParked) || !strings.Contains(err.Error(), test.why[0]) {
					t.Errorf("Wait: %v", err)
				}
				h.crash()
				time.Sleep(time.Hour)
				h.parked("one", test.why...)
			})
		})
	}
}

func TestAnOutcomeThatTheCodecCannotWriteParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := chttp.Resumable("bad", func(context.Context, int) (uncodable, error) { return uncodable{func() {}}, nil })
		worse := chttp.Resumable("worse", func(context.Context, uncodable) (int, error) { return 0, nil })
		h := newHome(t, newLAN(nil), nil, func(h *home) { h.more = append(h.more, bad, worse) })
		e, err := bad.Start(t.Context(), h.node, "one", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrParked) || !strings.Contains(err.Error(), `outcome of "bad"`) {
			t.Errorf("got %v", err)
		}
		var ce *chttp.Error
		if _, err := worse.Start(t.Context(), h.node, "two", uncodable{func() {}}); !errors.As(err, &ce) || ce.MayHaveHappened() {
			t.Errorf("an input that cannot be written: %v", err)
		}
	})
}

func TestADivergenceParksWithBothSidesAndTheLine(t *testing.T) {
	sayAgain := func(ctx context.Context, text string) error {
		_, err := chttp.Post(ctx, peerURL, "text/plain", strings.NewReader(text))
		return err
	}
	tests := []struct {
		name          string
		first, second func(ctx context.Context) error
		why           []string
	}{
		{
			"another name", func(ctx context.Context) error { return chttp.Run(ctx, "a", noEffect) },
			func(ctx context.Context) error { return chttp.Run(ctx, "b", noEffect) },
			[]string{`recorded: step "a"`, `now: step "b"`, "misuse_test.go:"},
		},
		{
			"another kind", func(ctx context.Context) error { return chttp.Run(ctx, "a", noEffect) },
			func(ctx context.Context) error { return chttp.Sleep(ctx, 1) },
			[]string{`recorded: step "a"`, `now: sleep`, "misuse_test.go:"},
		},
		{
			"another body", func(ctx context.Context) error { return sayAgain(ctx, "a") },
			func(ctx context.Context) error { return sayAgain(ctx, "b") },
			[]string{`recorded: call "POST http://peer.example/x" (fingerprint`, "body", "misuse_test.go:"},
		},
		{
			"one less", func(ctx context.Context) error { return chttp.Run(ctx, "a", noEffect) },
			func(ctx context.Context) error { return nil },
			[]string{`recorded: step "a"`, "has returned"},
		},
		{
			"another type", func(ctx context.Context) error { chttp.Persist(ctx, "v", func() string { return "text" }); return nil },
			func(ctx context.Context) error { chttp.Persist(ctx, "v", func() int { return 1 }); return nil },
			[]string{`persist "v"`, "does not fit", "misuse_test.go:"},
		},
		{"in a branch", func(ctx context.Context) error {
			chttp.Go(ctx, "b", func(ctx context.Context) (int, error) {
				return 0, errors.Join(chttp.Run(ctx, "a", noEffect), chttp.Sleep(ctx, time.Hour))
			})
			return nil
		}, func(ctx context.Context) error {
			chttp.Go(ctx, "b", func(ctx context.Context) (int, error) { return 0, chttp.Run(ctx, "c", noEffect) })
			return nil
		}, []string{`scope "/0:b"`, `recorded: step "a"`, `now: step "c"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var again atomic.Bool
				l := newLAN(func(w http.ResponseWriter, r *http.Request) {})
				h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
					if again.Load() {
						return "", test.second(ctx)
					}
					err := test.first(ctx)
					chttp.Sleep(chttp.With(ctx, chttp.Policy{Name: "x"}), time.Hour)
					return "", err
				})
				h.start("one")
				time.Sleep(time.Minute)
				again.Store(true)
				h.crash()
				h.parked("one", test.why...)
			})
		})
	}
}

func noEffect(context.Context) error { return nil }

func TestTheOuterContextInAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "plain "+r.Header.Get("Idempotency-Key"))
		})
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			return chttp.Do(ctx, "s", func(inner context.Context) (string, error) {
				if _, err := post(ctx, peerURL); err == nil || !strings.Contains(err.Error(), "outer context") {
					return "", fmt.Errorf("a call with the outer context: %w", err)
				}
				if _, err := post(inner, peerURL); !errors.Is(err, chttp.ErrNoExecution) || !strings.Contains(err.Error(), `step "s"`) {
					return "", fmt.Errorf("a call with the inner context: %w", err)
				}
				req, _ := http.NewRequestWithContext(inner, "POST", peerURL, strings.NewReader("x"))
				res, err := theNode.Load().Client().Do(req) // HTTP in a step is plain HTTP
				if err != nil {
					return "", err
				}
				b, err := io.ReadAll(res.Body)
				return string(b), err
			})
		})
		theNode.Store(h.node)
		if got, err := h.do("one"); got != "plain " || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestOperationsOutsideAnExecutionFailClosed(t *testing.T) {
	ctx := t.Context()
	n := newNode(t, memstore.New(), nil)
	n.Register(double)
	_, post := post(ctx, peerURL)
	_, get := chttp.Get(ctx, peerURL)
	_, postJSON := chttp.PostJSON[int](ctx, peerURL, 1)
	_, do := chttp.Do(ctx, "x", func(context.Context) (int, error) { t.Error("the step ran"); return 0, nil })
	_, call := double.Call(ctx, 1)
	_, future := chttp.Go(ctx, "x", func(context.Context) (int, error) { t.Error("the branch ran"); return 0, nil }).Wait(ctx)
	_, client := n.Client().Get(peerURL)
	for name, err := range map[string]error{
		"Post": post, "Get": get, "PostJSON": postJSON, "Do": do, "Call": call, "Go": future, "Client": client,
		"Sleep": chttp.Sleep(ctx, 1), "Run": chttp.Run(ctx, "x", noEffect),
	} {
		if !errors.Is(err, chttp.ErrNoExecution) || !errors.Is(err, chttp.ErrNotDone) {
			t.Errorf("%s: %v, want %v", name, err, chttp.ErrNoExecution)
		}
	}
	for name, f := range map[string]func(){
		"Persist": func() { chttp.Persist(ctx, "x", func() int { return 1 }) }, "Now": func() { chttp.Now(ctx) },
	} {
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, chttp.ErrNoExecution) {
					t.Errorf("%s: panic %v", name, err)
				}
			}()
			f()
		}()
	}
	if _, ok := chttp.From(ctx); ok {
		t.Error("From finds an execution")
	}
	outside := &http.Client{Transport: &chttp.Transport{Outside: newLAN(func(http.ResponseWriter, *http.Request) {})}}
	if res, err := outside.Get(peerURL); err != nil || res.StatusCode != 200 {
		t.Errorf("Transport.Outside: %v", err)
	}
}

func TestAStrayGoroutineCanDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error)
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			go func() {
				time.Sleep(time.Minute)
				got <- errors.Join(chttp.Sleep(ctx, 1), chttp.Run(ctx, "x", func(context.Context) error { panic("it ran") }))
			}()
			return "done", nil
		})
		if out, err := h.do("one"); out != "done" || err != nil {
			t.Fatalf("got %q, %v", out, err)
		}
		if err := <-got; !errors.Is(err, chttp.ErrNotDone) || !strings.Contains(err.Error(), "has returned") {
			t.Errorf("got %v", err)
		}
		if i := h.ends("one"); i.State != "answered" {
			t.Errorf("it is %+v", i)
		}
	})
}

func TestAnUnknownFunctionParksAndGoesOnWhenItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			n := chttp.Persist(ctx, "n", func() int { return 7 })
			return fmt.Sprint(n), chttp.Sleep(ctx, time.Minute)
		})
		h.start("one")
		time.Sleep(time.Second)
		fn := h.fn
		h.fn = nil
		h.crash()
		h.parked("one", chttp.ErrNotRegistered.Error(), `"f"`)
		h.fn = fn
		h.restart()
		time.Sleep(time.Second)
		if got, err := h.outcome("one"); got != "7" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		other := chttp.Resumable("g", h.fn)
		if _, err := other.Start(t.Context(), h.node, "two", ""); !errors.Is(err, chttp.ErrNotRegistered) {
			t.Errorf("Start of what is not registered: %v", err)
		}
	})
}

func TestMistakesInRegistrations(t *testing.T) {
	f := func(context.Context, int) (int, error) { return 0, nil }
	for want, fns := range map[string][]chttp.Registrant{
		"nil":            {chttp.Resumable[int, int]("a", nil)},
		"twice":          {chttp.Resumable("a", f), chttp.Resumable("a", f)},
		"without a name": {chttp.Resumable("", f)},
	} {
		n := newNode(t, memstore.New(), nil)
		n.Register(fns...)
		if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Run returns %v", want, err)
		}
		if _, err := n.Put(t.Context(), peerURL, "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Put returns %v", want, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		h := newHome(t, newLAN(nil), func(context.Context, string) (string, error) { return "", nil }, func(h *home) { h.opt.Logger = log.logger() })
		time.Sleep(time.Second)
		late := chttp.Resumable("late", f)
		h.node.Register(late)
		if _, err := late.Start(t.Context(), h.node, "", 1); !errors.Is(err, chttp.ErrNotRegistered) {
			t.Errorf("Start of what was registered after Run: %v", err)
		}
		if log.count("after Run") != 1 {
			t.Error("the log does not say why")
		}
		if _, err := h.do("one"); err != nil {
			t.Errorf("what was registered in time: %v", err)
		}
	})
}

func TestAStoppedNodeTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) { return "", chttp.Sleep(ctx, time.Hour) })
		e := h.start("one")
		time.Sleep(time.Second)
		h.stop()
		check := func(what string) {
			t.Helper()
			_, start := h.f.Start(t.Context(), h.node, "two", "")
			_, put := h.node.Put(t.Context(), peerURL, "", nil)
			for name, err := range map[string]error{"Start": start, "Put": put} {
				var ce *chttp.Error
				if !errors.As(err, &ce) || ce.MayHaveHappened() {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			}
		}
		check("stopped")
		if err := h.node.Run(t.Context()); err == nil {
			t.Error("Run a second time: no error")
		}
		h.open()
		if _, err := h.f.Attach(t.Context(), h.node, e.ID()); err != nil {
			t.Error(err)
		}
		h.store.Close()
		if _, err := h.node.Put(t.Context(), peerURL, "", nil); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Put on a closed store: %v", err)
		}
		h.stop()
		check("closed store")
	})
	if _, err := chttp.New(nil, nil); err == nil {
		t.Error("New(nil): no error")
	}
}

func TestBadRequestsAreRefusedBeforeAnythingIsStored(t *testing.T) {
	ctx := t.Context()
	n := newNode(t, memstore.New(), &chttp.Options{Logger: quiet, MaxValue: 100})
	request := func(edit func(r *http.Request)) *http.Request {
		r, _ := http.NewRequest("POST", peerURL, strings.NewReader("x"))
		edit(r)
		return r
	}
	for name, r := range map[string]*http.Request{
		"nil":             nil,
		"relative URL":    request(func(r *http.Request) { r.URL.Host = "" }),
		"ftp":             request(func(r *http.Request) { r.URL.Scheme = "ftp" }),
		"upgrade":         request(func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }),
		"header injected": request(func(r *http.Request) { r.Header["X-A"] = []string{"a\r\nX-B: b"} }),
		"header name":     request(func(r *http.Request) { r.Header["X A"] = []string{"a"} }),
		"long key":        request(func(r *http.Request) { r.Header.Set("Idempotency-Key", strings.Repeat("k", 256)) }),
		"bad key":         request(func(r *http.Request) { r.Header.Set("Idempotency-Key", "a,b") }),
		"large body":      request(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 101))) }),
		"failing body":    request(func(r *http.Request) { r.Body = io.NopCloser(cutShort{}) }),
		"credentials in the URL": request(func(r *http.Request) {
			r.URL, _ = r.URL.Parse("http://user:hunter2@peer.example/")
		}),
	} {
		_, err := n.Send(ctx, r)
		var ce *chttp.Error
		if !errors.As(err, &ce) || ce.MayHaveHappened() {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	for name, p := range map[string]chttp.Policy{
		"long id":           {ID: strings.Repeat("x", 256)},
		"bad id":            {ID: `a"b`},
		"negative until":    {Until: -1},
		"negative after":    {After: -1},
		"until too far":     {Until: 16 * 24 * time.Hour},
		"until after after": {After: time.Hour, Until: time.Minute},
	} {
		if _, err := n.Put(chttp.With(ctx, p), peerURL, "", nil); !errors.Is(err, chttp.ErrNotDone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.Put(ctx, "http://[::1", "", nil); !errors.Is(err, chttp.ErrNotDone) {
		t.Errorf("a URL that is none: %v", err)
	}
}

func TestSteps(t *testing.T) {
	// AtMostOnce parks, ReadOnly waits for no disk and begins nothing, Attempts tries again, a plain step is done again.
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		count := map[string]int{}
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			p := map[string]chttp.Policy{"once": {AtMostOnce: true}, "read": {ReadOnly: true}, "tries": {Attempts: 3}}[in]
			out, err := chttp.Do(chttp.With(ctx, p), "step", func(ctx context.Context) (int, error) {
				mu.Lock()
				count[in]++
				n := count[in]
				mu.Unlock()
				if in == "tries" {
					return n, errors.New("again")
				}
				if in != "done" && n == 1 {
					<-ctx.Done() // the process dies here
				}
				return n, nil
			})
			return fmt.Sprint(out), err
		})
		for _, in := range []string{"plain", "once", "read", "tries"} {
			if _, err := h.f.Start(t.Context(), h.node, in, in); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.outcome("tries"); err == nil || err.Error() != "again" || count["tries"] != 3 {
			t.Errorf("Attempts: %v after %d", err, count["tries"])
		}
		h.crash()
		for _, in := range []string{"plain", "read"} {
			if got, err := h.outcome(in); got != "2" || err != nil {
				t.Errorf("%s: %q, %v", in, got, err)
			}
		}
		h.parked("once", "at most once", `"step"`)
		if count["once"] != 1 {
			t.Errorf("the step ran %d times", count["once"])
		}
	})
}

func TestDeferredFunctionsRunAtTheEndOfEachRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deferred, recovered atomic.Int64
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			defer deferred.Add(1)
			defer func() {
				if recover() != nil {
					recovered.Add(1)
				}
			}()
			err := chttp.Sleep(ctx, time.Hour)
			return "", err
		})
		h.start("one")
		time.Sleep(time.Minute)
		h.restart()
		time.Sleep(time.Minute)
		h.crash()
		if _, err := h.outcome("one"); err != nil {
			t.Fatal(err)
		}
		if deferred.Load() != 3 || recovered.Load() != 0 {
			t.Errorf("deferred functions ran %d times, recover caught %d", deferred.Load(), recovered.Load())
		}
	})
}

func TestStoppingReachesContextsWithoutCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			ctx = context.WithoutCancel(ctx)
			if i, _ := chttp.From(ctx); i.ID == "asleep" {
				return "", chttp.Sleep(ctx, 100*time.Hour)
			}
			return post(ctx, peerURL)
		})
		h.start("asleep")
		h.start("calling")
		time.Sleep(time.Minute)
		begin := time.Now()
		h.stop()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Run took %v to return", took)
		}
	})
}

func TestWaitIsNotEndedByTheNodesStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			e, err := sleeper.Start(ctx, theNode.Load(), "", time.Hour)
			if err != nil {
				return "", err
			}
			return e.Wait(ctx)
		}, func(h *home) { h.more = append(h.more, sleeper) })
		theNode.Store(h.node)
		for i := range 20 {
			h.start(fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		h.stop()
		h.make()
		theNode.Store(h.node)
		h.run()
		for i := range 20 {
			if got, err := h.outcome(fmt.Sprint(i)); got != "slept" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		}
	})
}

// oddCodec is a codec that panics.
type oddCodec struct{}

func (oddCodec) Marshal(v any) ([]byte, error) {
	if v == "panic" {
		panic("the codec's own")
	}
	return json.Marshal(v)
}
func (oddCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

func TestACodecThatPanicsParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			return chttp.Persist(ctx, "v", func() string { return "panic" }), nil
		}, func(h *home) { h.opt.Codec = oddCodec{} })
		h.start("one")
		h.parked("one", "the codec's own")
	})
}

// twin is a node that calls another like it.
type twin struct {
	node *chttp.Node
	f    *chttp.Function[int, string]
}

func TestSmallMemoryLocksNothingUp(t *testing.T) {
	// Two nodes of four places each. Each has functions that call the other, whose handlers call back.
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(nil)
		handler := func(other string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/deep" {
					io.WriteString(w, "deep")
					return
				}
				b, _ := io.ReadAll(r.Body)
				res, err := chttp.Post(r.Context(), "http://"+other+"/deep", "text/plain", strings.NewReader(string(b)))
				if err != nil {
					http.Error(w, err.Error(), 500)
					return
				}
				b, _ = io.ReadAll(res.Body)
				w.Write(b)
			}
		}
		open := func(name, other string) *twin {
			n := newNode(t, memstore.New(), &chttp.Options{Logger: quiet, Transport: l, MaxResident: 4})
			f := chttp.Resumable("f", func(ctx context.Context, i int) (string, error) {
				if err := chttp.Sleep(ctx, time.Duration(i%7)*time.Second); err != nil {
					return "", err
				}
				return post(ctx, fmt.Sprintf("http://%s/%d", other, i))
			})
			n.Register(f)
			l.hosts[name] = n.Handler("app", handler(other), &chttp.HandlerOptions{Principal: func(*http.Request) (string, error) { return "ann", nil }})
			return &twin{n, f}
		}
		a, b := open("a.example", "b.example"), open("b.example", "a.example")
		run(t, a.node)
		run(t, b.node)
		const many = 100
		for i := range many {
			for _, n := range []*twin{a, b} {
				if _, err := n.f.Start(t.Context(), n.node, fmt.Sprint(i), i); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range many {
			for _, n := range []*twin{a, b} {
				e, err := n.f.Attach(t.Context(), n.node, fmt.Sprint(i))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				got, err := e.Wait(ctx)
				cancel()
				if got != "200 deep" || err != nil {
					t.Fatalf("execution %d: %q, %v", i, got, err)
				}
			}
		}
	})
}

func TestTwoThousandPutsWithSmallMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		peer := newHost(t, nil, func(w http.ResponseWriter, r *http.Request) { n.Add(1) }, nil)
		h := newHome(t, newLAN(peer.ServeHTTP), nil, func(h *home) { h.opt.MaxResident = 4 })
		var ids []string
		for i := range 2000 {
			ids = append(ids, h.put(fmt.Sprintf("%s/%d", peerURL, i), "x", chttp.Policy{}))
		}
		for _, id := range ids {
			if i, err := h.node.Lookup(t.Context(), id); errors.Is(err, chttp.ErrNotFound) {
				continue // delivered, and forgotten
			} else if i.State != "answered" {
				h.ends(id)
			}
		}
		if n.Load() != 2000 {
			t.Errorf("the handler ran %d times, want 2000", n.Load())
		}
		unfinished, err := h.store.List(t.Context(), store.Query{States: []store.State{store.Running, store.Waiting, store.Parked}})
		if err != nil || len(unfinished) > 0 {
			t.Errorf("%d unfinished, %v", len(unfinished), err)
		}
	})
}

func TestAnotherNodesOperationsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newHome(t, newLAN(nil), nil, func(h *home) { h.more = append(h.more, double) })
		there, err := double.Start(t.Context(), other.node, "there", 1)
		if err != nil {
			t.Fatal(err)
		}
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			_, put := other.node.Put(ctx, peerURL, "", nil)
			_, start := double.Start(ctx, other.node, "x", 1)
			_, wait := there.Wait(ctx)
			_, lookup := other.node.Lookup(ctx, "there")
			for _, err := range []error{put, start, wait, lookup} {
				if !errors.Is(err, chttp.ErrNotDone) || !strings.Contains(err.Error(), "another node") {
					return "", fmt.Errorf("got %w", err)
				}
			}
			return "", nil
		})
		if _, err := h.do("one"); err != nil {
			t.Error(err)
		}
	})
}

func TestLookupFindsWhatTheExecutionHasJustBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, in string) (string, error) {
			e, err := sleeper.Start(ctx, theNode.Load(), "", time.Hour)
			if err != nil {
				return "", err
			}
			i, err := theNode.Load().Lookup(ctx, e.ID())
			return i.State, err
		}, func(h *home) { h.more = append(h.more, sleeper) })
		theNode.Store(h.node)
		if got, err := h.do("one"); got != "running" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestCredentialsOnASentMessageAreRefusedForTheyWouldBeStored(t *testing.T) {
	n := newNode(t, memstore.New(), nil)
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://peer.example/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(name, "secret")
		_, err = n.Send(t.Context(), req)
		if !errors.Is(err, chttp.ErrNotDone) || !strings.Contains(err.Error(), "Destination.Authorize") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want nothing done, and where credentials go", name, err)
		}
	}
}

func TestAMessageThatDidNotArriveSaysWhatTheLastAttemptMetWith(t *testing.T) {
	n := newNode(t, memstore.New(), nil)
	run(t, n)
	ctx := chttp.With(t.Context(), chttp.Policy{Until: time.Second})
	id, err := n.Put(ctx, "http://127.0.0.1:1/", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if i := waitState(t, n, id, "undelivered"); !strings.Contains(i.Err.Error(), "connection refused") || !errors.Is(i.Err, chttp.ErrNotDone) {
		t.Errorf("got %v, want that the connection was refused, and nothing done", i.Err)
	}
}
