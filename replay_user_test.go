package chttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/certifiedhttp/chttp/store"
)

// inHistory is a memory that lists what has ended among what is in flight, so that CheckReplay replays that too.
type inHistory struct{ *memstore.Store }

func (s inHistory) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	q.States = nil
	return s.Store.List(ctx, q)
}

// function is the user's of a story.
type function = func(ctx context.Context, in string) (string, error)

// story is a function that runs for a while, and what CheckReplay then says of another one.
type story struct {
	name  string
	was   function
	now   function // nil: was
	edit  func(was, now *chttp.Options)
	after func(t *testing.T, e *chttp.Execution[string]) // once was has run for a minute
	want  []string                                       // in the error; none: no error
}

// tell runs the story in a bubble, whose clock lets nobody wait in vain, and which nothing may outlive.
func (s *story) tell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := [2]chttp.Options{}
		for i := range opts {
			opts[i] = chttp.Options{Logger: quiet, Transport: newLAN(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })}
		}
		if s.edit != nil {
			s.edit(&opts[0], &opts[1])
		}
		st := memstore.New()
		n := newNode(t, st, &opts[0])
		f := chttp.Resumable("f", s.was)
		n.Register(f)
		stop := run(t, n)
		e, err := f.Start(t.Context(), n, "x", "in")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s.after != nil {
			s.after(t, e)
		}
		stop()

		opts[1].Transport = newLAN(func(http.ResponseWriter, *http.Request) { t.Error("a rehearsal sent something") })
		before := fmt.Sprint(dumpOf(t, st))
		check := newNode(t, inHistory{st}, &opts[1])
		if s.now == nil {
			s.now = s.was
		}
		check.Register(chttp.Resumable("f", s.now))
		expect(t, check.CheckReplay(t.Context()), s.want...)
		if after := fmt.Sprint(dumpOf(t, st)); after != before {
			t.Errorf("the check changed the store:\n got %v\nwant %v", after, before)
		}
	})
}

// expect checks that err is nil where nothing is wanted in it, and otherwise a *chttp.Error with all that is wanted in its text.
func expect(t *testing.T, err error, want ...string) {
	t.Helper()
	if (err != nil) != (len(want) > 0) {
		t.Fatalf("got %v, want an error with %q", err, want)
	}
	for _, s := range want {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("got %v, want %q in it", err, s)
		}
	}
	if e := (*chttp.Error)(nil); err != nil && (!errors.As(err, &e) || e.Op != "replay" || e.ID == "") {
		t.Errorf("got %v, want a *chttp.Error that names the execution", err)
	}
}

// value records a value; every other name is another operation.
func value(ctx context.Context, name string) int {
	return chttp.Persist(ctx, name, func() int { return 1 })
}

// long is an operation that is never over.
func long(ctx context.Context) error { return chttp.Sleep(ctx, 1000*time.Hour) }

func TestI7CheckReplayJudgesOnlyTheWayThatIsRecorded(t *testing.T) {
	inFlight := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		return "", long(ctx)
	}
	for _, s := range []story{
		{name: "in flight", was: inFlight},
		{name: "other code behind what is recorded", was: func(ctx context.Context, in string) (string, error) {
			value(ctx, "a")
			<-ctx.Done()
			return "", context.Cause(ctx)
		}, now: func(ctx context.Context, in string) (string, error) {
			value(ctx, "a")
			value(ctx, "b")
			panic("not come to")
		}},
		{name: "the function returns before what is recorded", was: inFlight, now: func(ctx context.Context, _ string) (string, error) {
			value(ctx, "a")
			return "", nil
		}, want: []string{"operation 1", `recorded: sleep "sleep"`, "now: the function has returned"}},
		{name: "another kind under the same name", was: inFlight, now: func(ctx context.Context, _ string) (string, error) {
			if err := chttp.Run(ctx, "a", func(context.Context) error { return nil }); err != nil {
				return "", err
			}
			return "", long(ctx)
		}, want: []string{"operation 0", `recorded: persist "a"`, `now: step "a"`, "replay_user_test.go"}},
		{name: "another request", was: func(ctx context.Context, _ string) (string, error) {
			s, err := post(ctx, "http://peer.example/")
			return s, errors.Join(err, long(ctx))
		}, now: func(ctx context.Context, _ string) (string, error) {
			ctx = chttp.With(ctx, chttp.Policy{Name: "POST http://peer.example/"})
			s, err := post(ctx, "http://peer.example/?more")
			return s, errors.Join(err, long(ctx))
		}, want: []string{"operation 0", "the request's method, URL, content type or body is another", "home_test.go"}},
		{name: "a recorded value that does not fit", was: func(ctx context.Context, _ string) (string, error) {
			chttp.Persist(ctx, "a", func() string { return "text" })
			return "", long(ctx)
		}, now: inFlight, want: []string{`the recorded value of persist "a" does not fit its type`, "replay_user_test.go"}},
		{name: "a deferred operation", was: func(ctx context.Context, _ string) (string, error) {
			defer value(ctx, "deferred")
			return "", long(ctx)
		}},
		{name: "a deferred function that cannot do without a result", was: func(ctx context.Context, _ string) (string, error) {
			var m map[string]int
			defer func() { m["a"]++ }()
			err := long(ctx)
			m = map[string]int{}
			return "", err
		}},
		{name: "a deferred function that ends the goroutine", was: func(ctx context.Context, _ string) (string, error) {
			defer runtime.Goexit()
			return "", long(ctx)
		}},
		{name: "a deferred function that recovers", was: func(ctx context.Context, _ string) (_ string, err error) {
			defer func() {
				if p := recover(); p != nil {
					value(ctx, "recovered")
				}
			}()
			return "", long(ctx)
		}},
		{name: "a panic", was: inFlight, now: func(ctx context.Context, _ string) (string, error) {
			defer func() { _ = 0 }()
			value(ctx, "a")
			panic("too late")
		}, want: []string{"the run crashed", "too late", "replay_user_test.go"}},
		{name: "Goexit", was: inFlight, now: func(ctx context.Context, _ string) (string, error) {
			value(ctx, "a")
			runtime.Goexit()
			return "", nil
		}, want: []string{"the run crashed", "runtime.Goexit"}},
		{name: "Goexit, and a deferred operation behind what is recorded", was: inFlight, now: func(ctx context.Context, _ string) (string, error) {
			defer long(ctx)
			defer long(ctx)
			value(ctx, "a")
			runtime.Goexit()
			return "", nil
		}, want: []string{"the run crashed", "runtime.Goexit"}},
		{
			name: "Options.Errors that the function decides by", was: func(ctx context.Context, _ string) (string, error) {
				err := chttp.Run(ctx, "step", func(context.Context) error { return errStory })
				if errors.Is(err, errStory) {
					value(ctx, "is")
				}
				return "", long(ctx)
			},
			edit: func(was, _ *chttp.Options) { was.Errors = []error{errStory} },
			want: []string{"operation 1", `recorded: persist "is"`, `now: sleep`},
		},
	} {
		t.Run(s.name, s.tell)
	}
}

var errStory = errors.New("the story's own error")

func TestI7CheckReplayLooksIntoEveryScope(t *testing.T) {
	// both runs a and b in scopes of their own, a as a branch and b as a part.
	both := func(a, b function) function {
		part := chttp.Resumable("part", b)
		return func(ctx context.Context, in string) (string, error) {
			f := chttp.Go(ctx, "branch", func(ctx context.Context) (string, error) { return a(ctx, in) })
			if _, err := part.Call(ctx, in); err != nil {
				return "", err
			}
			return f.Wait(ctx)
		}
	}
	inFlight := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		return "", long(ctx)
	}
	other := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "b")
		return "", long(ctx)
	}
	done := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		return "", nil
	}
	crash := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		panic("within")
	}
	goexit := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		runtime.Goexit()
		return "", nil
	}
	none := func(context.Context, string) (string, error) { return "", nil }
	for _, s := range []story{
		{name: "in flight in both", was: both(inFlight, inFlight)},
		{name: "in flight in a branch", was: both(inFlight, done)},
		{name: "in flight in a part", was: both(done, inFlight)},
		{name: "other code in the branch", was: both(inFlight, inFlight), now: both(other, inFlight), want: []string{`operation 0 of scope "/0:branch"`, `now: persist "b"`}},
		{name: "other code in the part", was: both(inFlight, inFlight), now: both(inFlight, other), want: []string{`operation 0 of scope "/1:part"`, `now: persist "b"`}},
		{name: "the branch returns", was: both(inFlight, inFlight), now: both(done, inFlight), want: []string{`operation 1 of scope "/0:branch"`, "recorded: sleep", "has returned"}},
		{name: "the part returns", was: both(inFlight, inFlight), now: both(inFlight, done), want: []string{`operation 1 of scope "/1:part"`, "recorded: sleep", "has returned"}},
		{name: "the branch panics", was: both(inFlight, inFlight), now: both(crash, inFlight), want: []string{"the run crashed", "within"}},
		{name: "the part panics", was: both(inFlight, inFlight), now: both(inFlight, crash), want: []string{"the run crashed", "within"}},
		{name: "the branch ends its goroutine", was: both(inFlight, inFlight), now: both(goexit, inFlight), want: []string{"the run crashed", "Goexit"}},
		{name: "the part ends its goroutine", was: both(inFlight, inFlight), now: both(inFlight, goexit), want: []string{"the run crashed", "Goexit"}},
		{name: "other code in scopes that are done", was: both(done, done), now: both(none, none)},
		{
			name: "the function goes on where its branch has ended", was: func(ctx context.Context, _ string) (string, error) {
				chttp.Go(ctx, "branch", func(ctx context.Context) (string, error) {
					value(ctx, "a")
					<-ctx.Done()
					return "", nil
				})
				value(ctx, "b")
				return "", long(ctx)
			},
			now: func(ctx context.Context, _ string) (string, error) {
				chttp.Go(ctx, "branch", func(ctx context.Context) (string, error) {
					value(ctx, "a")
					return "", nil
				})
				time.Sleep(time.Second)
				value(ctx, "c")
				return "", long(ctx)
			},
			want: []string{"operation 1", `recorded: persist "b"`, `now: persist "c"`},
		},
	} {
		t.Run(s.name, s.tell)
	}
}

func TestCheckReplayWaitsForNoFunctionForEver(t *testing.T) {
	waits := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	branch := func(ctx context.Context, in string) (string, error) {
		chttp.Go(ctx, "branch", func(ctx context.Context) (string, error) { return waits(ctx, in) })
		return "", long(ctx)
	}
	inFlight := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		return "", long(ctx)
	}
	partly := func(fn function) function {
		part := chttp.Resumable("part", fn)
		return func(ctx context.Context, in string) (string, error) {
			value(ctx, "a")
			return part.Call(ctx, in)
		}
	}
	for _, s := range []story{
		{name: "behind what is recorded", was: waits},
		{name: "behind what is recorded, in a branch", was: branch},
		{
			name: "before what is recorded", was: inFlight, now: waits,
			want: []string{"waits, outside of operations", `does not come to operation 1, recorded: sleep "sleep"`},
		},
		{
			name: "before what is recorded, in a branch", was: func(ctx context.Context, in string) (string, error) {
				chttp.Go(ctx, "branch", func(ctx context.Context) (string, error) {
					value(ctx, "a")
					return "", long(ctx)
				})
				return "", long(ctx)
			}, now: branch,
			want: []string{`does not come to operation 1 of scope "/0:branch", recorded: sleep`},
		},
		{name: "where the execution had ended", was: func(ctx context.Context, _ string) (string, error) {
			value(ctx, "a")
			return "", nil
		}, now: waits, want: []string{"waits, outside of operations, where the recorded execution had ended"}},
		{
			name: "slowly, between a part and its first operation", was: partly(inFlight), now: partly(func(ctx context.Context, _ string) (string, error) {
				value(ctx, "b")
				return "", nil
			}),
			edit: func(_, now *chttp.Options) { now.Codec = slowCodec{} },
			want: []string{`operation 0 of scope "/1:part"`, `now: persist "b"`},
		},
		{name: "slowly", was: func(ctx context.Context, in string) (string, error) {
			for range 10 {
				time.Sleep(5 * time.Second)
				value(ctx, "a")
			}
			return "", nil
		}},
	} {
		t.Run(s.name, s.tell)
	}
}

// slowCodec takes its time.
type slowCodec struct{}

func (slowCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

func (slowCodec) Unmarshal(b []byte, v any) error {
	time.Sleep(time.Second)
	return json.Unmarshal(b, v)
}

func TestI7CheckReplayKnowsGoroutinesThatAreNotItsOwn(t *testing.T) {
	// elsewhere makes operations on a goroutine of its own, and waits for it.
	elsewhere := func(do func(ctx context.Context) error, then func(ctx context.Context, err error)) function {
		return func(ctx context.Context, _ string) (string, error) {
			var wg sync.WaitGroup
			var err error
			wg.Go(func() {
				value(ctx, "a")
				err = do(ctx)
			})
			wg.Wait()
			if then != nil {
				then(ctx, err)
			}
			return "done", nil
		}
	}
	part := chttp.Resumable("part", func(ctx context.Context, _ int) (int, error) { return 1, long(ctx) })
	var misled atomic.Bool
	call := func(ctx context.Context) error {
		_, err := part.Call(ctx, 1)
		return err
	}
	insist := func(_ context.Context, err error) {
		misled.Store(misled.Load() || err == nil)
		runtime.Goexit()
	}
	for _, s := range []story{
		{name: "in flight", was: elsewhere(long, nil)},
		{name: "in flight, and going on regardless", was: elsewhere(long, func(ctx context.Context, _ error) { value(ctx, "b") })},
		{name: "in flight, and crashing for an error that is none", was: elsewhere(long, insist)},
		{name: "in a part", was: elsewhere(call, nil)},
		{name: "in a part, and crashing for an error that is none", was: elsewhere(call, insist)},
		{
			name: "other code", was: elsewhere(long, nil), now: elsewhere(func(ctx context.Context) error { value(ctx, "b"); return nil }, nil),
			want: []string{"operation 1", "recorded: sleep", `now: persist "b"`},
		},
		{
			name: "going on behind the end", was: elsewhere(func(context.Context) error { return nil }, nil), now: elsewhere(long, nil),
			want: []string{"operation 1", "recorded: the function has returned", "now: sleep", "replay_user_test.go"},
		},
		{
			name: "left behind", was: func(ctx context.Context, _ string) (string, error) {
				go func() {
					<-ctx.Done()
					value(ctx, "too late")
				}()
				return "", long(ctx)
			},
		},
	} {
		t.Run(s.name, s.tell)
	}
	if misled.Load() {
		t.Error("an operation that is not over had a result")
	}
}
