package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

func TestI7AReplayOfWhatHasEndedEndsAlike(t *testing.T) {
	was := func(ctx context.Context, in string) (string, error) {
		s, err := post(ctx, "http://peer.example/")
		return fmt.Sprint(in, s, value(ctx, "a")), err
	}
	// then is was with another end.
	then := func(end func(ctx context.Context, out string) (string, error)) function {
		return func(ctx context.Context, in string) (string, error) {
			out, err := was(ctx, in)
			if err != nil {
				return "", err
			}
			return end(ctx, out)
		}
	}
	fails := func(text string) function {
		return then(func(context.Context, string) (string, error) { return "", errors.New(text) })
	}
	sentinel := then(func(context.Context, string) (string, error) { return "", fmt.Errorf("because: %w", errStory) })
	for _, s := range []story{
		{name: "the same value", was: was},
		{name: "the same error", was: fails("no")},
		{
			name: "another value", was: was, now: then(func(_ context.Context, out string) (string, error) { return out + "!", nil }),
			want: []string{"ends otherwise", `recorded: answered with "in200 ok1"`, `now: answered with "in200 ok1!"`},
		},
		{
			name: "another value far behind", was: then(func(_ context.Context, out string) (string, error) { return strings.Repeat("x", 5000) + out, nil }),
			now: then(func(_ context.Context, out string) (string, error) {
				return strings.Repeat("x", 5000) + "not " + out, nil
			}),
			want: []string{"xxin200 ok1\"\n", `xxnot in200 ok1"`, "recorded: …"},
		},
		{name: "another error", was: fails("no"), now: fails("not so"), want: []string{`recorded: answered with the error "no"`, `now: answered with the error "not so"`}},
		{name: "an error in place of a value", was: was, now: fails("no"), want: []string{`recorded: answered with "in200 ok1"`, `now: answered with the error "no"`}},
		{
			name: "another sentinel", was: sentinel, edit: func(was, _ *chttp.Options) { was.Errors = []error{errStory} },
			want: []string{"ends otherwise", `for errors.Is also ["the story's own error"]`},
		},
		{
			name: "more operations", was: was, now: then(func(ctx context.Context, out string) (string, error) {
				value(ctx, "b")
				return out, nil
			}),
			want: []string{"operation 2", "recorded: the function has returned", `now: persist "b"`, "at: ", "replay_user_test.go"},
		},
		{
			name: "another part", was: was, now: then(func(ctx context.Context, out string) (string, error) {
				part := chttp.Resumable("part", func(context.Context, int) (int, error) { return 0, nil })
				_, err := part.Call(ctx, 0)
				return out, err
			}),
			want: []string{"operation 2", "recorded: the function has returned", `now: function "part"`, "replay_whole_test.go"},
		},
		{
			name: "fewer operations", was: then(func(ctx context.Context, out string) (string, error) {
				value(ctx, "b")
				return out, nil
			}), now: was,
			want: []string{"operation 2", `recorded: persist "b"`, "now: the function has returned"},
		},
		{
			name: "a panic behind the last operation", was: was, now: then(func(context.Context, string) (string, error) { panic("at last") }),
			want: []string{"the run crashed", "at last"},
		},
		{
			name: "a function that had no operations", was: func(_ context.Context, in string) (string, error) { return in, nil },
			now:  func(context.Context, string) (string, error) { return "out", nil },
			want: []string{"ends otherwise"},
		},
		{
			name: "an outcome that cannot be recorded any more", was: was, edit: func(_, now *chttp.Options) { now.MaxValue = 4 },
			want: []string{"cannot be recorded", "Options.MaxValue"},
		},
	} {
		t.Run(s.name, s.tell)
	}
}

func TestI7AReplayMeetsTheCancellationWhereTheOplogEnds(t *testing.T) {
	cancel := func(t *testing.T, e *chttp.Execution[string]) {
		if err := e.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
	slept := func(ctx context.Context, _ string) (string, error) { return "", long(ctx) }
	waited := func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	idle := func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	polled := func(ctx context.Context, _ string) (string, error) {
		for ctx.Err() == nil {
			_ = chttp.Sleep(ctx, time.Hour)
		}
		return "", context.Cause(ctx)
	}
	undone := func(ctx context.Context, in string) (string, error) {
		_, err := slept(ctx, in)
		value(context.WithoutCancel(ctx), "undo")
		return "", err
	}
	undoing := func(ctx context.Context, in string) (string, error) {
		_, err := slept(ctx, in)
		value(context.WithoutCancel(ctx), "undo")
		return "", errors.Join(err, long(context.WithoutCancel(ctx)))
	}
	for _, s := range []story{
		{name: "asleep", was: slept, after: cancel},
		{name: "waiting for it", was: waited, after: cancel},
		{name: "waiting for it without an operation", was: idle, after: cancel},
		{name: "looking for it now and then", was: polled, after: cancel},
		{name: "ended after it", was: undone, after: cancel},
		{name: "going on after it", was: undoing, after: cancel},
		{name: "other code after it", was: undoing, after: cancel, now: slept, want: []string{"operation 1", `recorded: persist "undo"`, "has returned"}},
		{name: "deaf to it", was: slept, after: cancel, now: func(ctx context.Context, in string) (string, error) {
			slept(ctx, in)
			return "done", nil
		}, want: []string{"ends otherwise", "recorded: canceled with the error", `now: answered with "done"`}},
	} {
		t.Run(s.name, s.tell)
	}
}

func TestAReplayOfWhatWasParkedAndThenCanceledHasNoOutcomeToReach(t *testing.T) {
	s := story{was: func(ctx context.Context, _ string) (string, error) {
		value(ctx, "a")
		chttp.Persist(ctx, "b", func() func() { return nil })
		return "", nil
	}, after: func(t *testing.T, e *chttp.Execution[string]) {
		if _, err := e.Wait(t.Context()); !errors.Is(err, chttp.ErrParked) {
			t.Fatalf("got %v, want it parked", err)
		}
		if err := e.Cancel(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}}
	s.tell(t)
	s.now, s.want = func(ctx context.Context, _ string) (string, error) { return "", nil }, []string{"operation 0", `recorded: persist "a"`}
	s.tell(t)
}

// asked is a handler in the middle of its work; change may make it another one.
func asked(change func(ctx context.Context, w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		chttp.Persist(r.Context(), "seen "+r.Method+" "+r.URL.Path+" "+r.PathValue("rest")+" "+string(body), func() int { return 1 })
		if change != nil {
			change(r.Context(), w)
		}
		if strings.HasSuffix(r.URL.Path, "/slow") {
			_ = long(r.Context())
		}
		fmt.Fprint(w, "done")
	}
}

func TestI7CheckReplayGivesHandlersTheirStoredRequest(t *testing.T) {
	for _, c := range []struct {
		name, path string
		now        http.Handler
		opt        chttp.HandlerOptions
		want       []string
	}{
		{name: "in flight", path: "/in/slow", now: asked(nil)},
		{name: "ended", path: "/in/time", now: asked(nil)},
		{name: "other code", path: "/in/slow", now: asked(func(ctx context.Context, _ http.ResponseWriter) { value(ctx, "b") }), want: []string{`now: persist "b"`, "operation 1", "replay_user_test.go"}},
		{name: "a panic", path: "/in/slow", now: asked(func(context.Context, http.ResponseWriter) { panic("no") }), want: []string{"the run crashed"}},
		{
			name: "another answer", path: "/in/time", now: asked(func(_ context.Context, w http.ResponseWriter) { fmt.Fprint(w, "well ") }),
			want: []string{"recorded: 200 map[Content-Type:[text/plain; charset=utf-8]] done", "now: 200 map[Content-Type:[text/plain; charset=utf-8]] well done"},
		},
		{
			name: "an answer that would be forgotten", path: "/in/time", now: asked(func(_ context.Context, w http.ResponseWriter) { w.WriteHeader(503) }),
			want: []string{"ends otherwise", "recorded: 200", "now: 503"},
		},
		{name: "a context that cannot be had", path: "/in/slow", now: asked(nil), opt: chttp.HandlerOptions{
			Context: func(context.Context, string) (context.Context, error) { return nil, errStory },
		}, want: []string{"HandlerOptions.Context: the story's own error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				routed := func(h http.Handler) http.Handler {
					mux := http.NewServeMux()
					mux.Handle("/in/{rest}", h)
					return mux
				}
				c.opt.Principal = func(*http.Request) (string, error) { return "ann", nil }
				st := memstore.New()
				n := newNode(t, st, nil)
				h := n.Handler("h", routed(asked(nil)), &chttp.HandlerOptions{Principal: c.opt.Principal})
				stop := run(t, n)
				time.Sleep(time.Second)
				request(h, "POST", c.path, "m")
				stop()
				check := newNode(t, inHistory{st}, nil)
				check.Handler("h", routed(c.now), &c.opt)
				expect(t, check.CheckReplay(t.Context()), c.want...)
			})
		})
	}
}

func TestI7CheckReplayKnowsTheBuiltInFunctions(t *testing.T) {
	failed := func(ctx context.Context, m chttp.Info) error {
		value(ctx, "heard of "+m.ID)
		return long(ctx)
	}
	for _, c := range []struct {
		name   string
		failed func(context.Context, chttp.Info) error
		want   []string
	}{
		{name: "Failed in flight", failed: failed},
		{name: "Failed with other code", failed: func(ctx context.Context, _ chttp.Info) error { value(ctx, "b"); return nil }, want: []string{"chttp.failed", `now: persist "b"`}},
		{name: "Failed no more", want: []string{"chttp.failed", `recorded: persist "heard of late"`, "has returned"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memstore.New()
				n := newNode(t, st, &chttp.Options{Logger: quiet, Failed: failed, Transport: newLAN(nil)})
				stop := run(t, n)
				for id, until := range map[string]time.Duration{"late": time.Second, "due": 24 * time.Hour} {
					ctx := chttp.With(t.Context(), chttp.Policy{ID: id, Until: until})
					if _, err := n.Put(ctx, "http://nobody.example/", "text/plain", strings.NewReader("x")); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Minute)
				stop()
				check := newNode(t, inHistory{st}, &chttp.Options{Logger: quiet, Failed: c.failed, Transport: newLAN(nil)})
				expect(t, check.CheckReplay(t.Context()), c.want...)
			})
		})
	}
}

// meddling is a memory with a process of its own: it changes what is read.
type meddling struct {
	*memstore.Store
	chunks func(key store.Key, chunks []store.Chunk) []store.Chunk
	read   func(r *store.Record, err error) (*store.Record, error)
	lists  []int // limits
}

func (m *meddling) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	chunks, err := m.Store.Chunks(ctx, key)
	if m.chunks != nil {
		chunks = m.chunks(key, chunks)
	}
	return chunks, err
}

func (m *meddling) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	r, err := m.Store.Read(ctx, key)
	if m.read != nil {
		return m.read(r, err)
	}
	return r, err
}

func (m *meddling) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	m.lists = append(m.lists, q.Limit)
	return m.Store.List(ctx, q)
}

// entries returns a chunk with what is given.
func entries(list ...record.Entry) []store.Chunk {
	var b []byte
	for i := range list {
		b = record.AppendEntry(b, &list[i])
	}
	return []store.Chunk{{Number: 2, Data: b}}
}

func TestCheckReplayIsNotMisledByAProcessThatGoesOn(t *testing.T) {
	other := entries(record.Entry{Phase: record.Whole, Kind: record.Persist, Name: "another's"})
	for _, c := range []struct {
		name  string
		store meddling
		want  []string
	}{
		{name: "the execution ended and was acknowledged", store: meddling{chunks: func(store.Key, []store.Chunk) []store.Chunk { return nil }}},
		{
			name: "the execution was forgotten", store: meddling{
				chunks: func(store.Key, []store.Chunk) []store.Chunk { return other },
				read:   func(*store.Record, error) (*store.Record, error) { return nil, store.ErrNotFound },
			},
		},
		{
			name: "the execution was forgotten and its id began another", store: meddling{
				chunks: func(store.Key, []store.Chunk) []store.Chunk { return other },
				read: func(r *store.Record, err error) (*store.Record, error) {
					r.Run++
					return r, err
				},
			},
		},
		{
			name: "the execution is what it was", store: meddling{chunks: func(store.Key, []store.Chunk) []store.Chunk { return other }},
			want: []string{`recorded: persist "another's"`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.store.Store = inFlight(t)
				n := newNode(t, &c.store, nil)
				n.Register(trip(nil))
				expect(t, n.CheckReplay(t.Context()), c.want...)
			})
		})
	}
}

func TestCheckReplayNamesWhatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		chunks []store.Chunk
		want   string
	}{
		"another format": {[]store.Chunk{{Number: 2, Data: []byte{99, 1, 2, 3}}}, "version 99"},
		"cut short":      {[]store.Chunk{{Number: 2, Data: []byte{1, 0, 0, 0, 9, 1}}}, "cut short"},
		"a result of nothing": {
			entries(record.Entry{Phase: record.End, Seq: 0}), "has no beginning",
		},
		"a hole": {entries(record.Entry{Phase: record.Whole, Kind: record.Persist, Name: "n", Seq: 3}), "operation 3"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := &meddling{Store: inFlight(t), chunks: func(store.Key, []store.Chunk) []store.Chunk { return c.chunks }}
				n := newNode(t, st, nil)
				n.Register(trip(nil))
				expect(t, n.CheckReplay(t.Context()), `read the oplog of "t"`, c.want)
			})
		})
	}
}

func TestCheckReplayLooksAtEverythingPageByPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New()
		n := newNode(t, st, nil)
		wait := chttp.Resumable("wait", func(ctx context.Context, _ int) (int, error) {
			value(ctx, "a")
			return 0, long(ctx)
		})
		n.Register(wait)
		stop := run(t, n)
		const all = 600
		for i := range all {
			if _, err := wait.Start(t.Context(), n, fmt.Sprintf("%04d", i), i); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		stop()
		st.Damage(store.Key{ID: "0001"}, true)
		st.Damage(store.Key{ID: "0300"}, true)
		view := &meddling{Store: st}
		check := newNode(t, view, nil)
		check.Register(chttp.Resumable("wait", func(ctx context.Context, i int) (int, error) {
			if i%2 == 0 {
				value(ctx, "a")
			}
			return 0, long(ctx)
		}))
		joined, ok := check.CheckReplay(t.Context()).(interface{ Unwrap() []error })
		if !ok {
			t.Fatal("got no joined error")
		}
		seen := map[string]bool{}
		for _, err := range joined.Unwrap() {
			var e *chttp.Error
			if !errors.As(err, &e) || e.Op != "replay" {
				t.Fatalf("got %v, want a *chttp.Error", err)
			}
			if e.ID == "0001" || e.ID == "0300" {
				if d := (*store.DamagedError)(nil); !errors.As(err, &d) {
					t.Errorf("%s: got %v, want it named as damaged", e.ID, err)
				}
			}
			seen[e.ID] = true
		}
		for i := range all {
			if id := fmt.Sprintf("%04d", i); seen[id] != (i%2 == 1 || i == 300) {
				t.Errorf("%s: among the errors: %v", id, seen[id])
			}
		}
		if len(view.lists) < 3 || view.lists[0] > 256 {
			t.Errorf("lists with the limits %d, want pages", view.lists)
		}
	})
}

func TestCheckReplayEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := inFlight(t)
		n := newNode(t, st, nil)
		n.Register(trip(func(ctx context.Context, at string) {
			if at == "start" {
				<-ctx.Done()
			}
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := n.CheckReplay(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want the context's error when it ends", err, time.Since(began))
		}
		if e := (*chttp.Error)(nil); errors.As(err, &e) {
			t.Errorf("got %v, which says of %s what is not known", err, e.ID)
		}
	})
}

func TestCheckReplayNamesAFunctionThatIgnoresItsContextAndWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := inFlight(t)
		var log logbook
		n := newNode(t, st, &chttp.Options{Logger: log.logger()})
		release := make(chan struct{})
		n.Register(trip(func(_ context.Context, at string) {
			if at == "start" {
				<-release
			}
		}))
		over := make(chan error)
		go func() { over <- n.CheckReplay(t.Context()) }()
		time.Sleep(time.Minute)
		if log.count("ignores its context") != 1 || log.count("id=t") != 1 {
			t.Errorf("the log does not name the function once: %q", log.lines)
		}
		select {
		case err := <-over:
			t.Fatalf("CheckReplay left a goroutine behind: %v", err)
		default:
		}
		close(release)
		expect(t, <-over, "does not come to operation 0", `recorded: persist "n"`)
	})
}
