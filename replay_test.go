package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// inFlight returns a memory with one execution of "trip" that has recorded a value, a branch with a call, a step and a part, and sleeps.
func inFlight(t *testing.T) *memstore.Store {
	t.Helper()
	st := memstore.New()
	n := newNode(t, st, &chttp.Options{Transport: newLAN(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })})
	f := trip(nil)
	n.Register(f)
	stop := run(t, n)
	if _, err := f.Start(t.Context(), n, "t", "in"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	stop()
	return st
}

// trip is the function of inFlight; change may make it another one.
func trip(change func(ctx context.Context, at string)) *chttp.Function[string, string] {
	at := func(ctx context.Context, place string) {
		if change != nil {
			change(ctx, place)
		}
	}
	part := chttp.Resumable("part", func(ctx context.Context, in int) (int, error) {
		at(ctx, "part")
		return chttp.Persist(ctx, "double", func() int { return 2 * in }), nil
	})
	return chttp.Resumable("trip", func(ctx context.Context, in string) (string, error) {
		at(ctx, "start")
		n := chttp.Persist(ctx, "n", func() int { return 7 })
		f := chttp.Go(ctx, "side", func(ctx context.Context) (string, error) {
			at(ctx, "side")
			return post(ctx, "http://peer/side/"+fmt.Sprint(n))
		})
		if err := chttp.Run(ctx, "step", func(context.Context) error { return nil }); err != nil {
			return "", err
		}
		m, err := part.Call(ctx, n)
		if err != nil {
			return "", err
		}
		at(ctx, "sleep")
		if err := chttp.Sleep(ctx, time.Hour); err != nil {
			return "", err
		}
		s, err := f.Wait(ctx)
		return fmt.Sprint(s, m), err
	})
}

func TestI7CheckReplaySaysWhetherAProgramBreaksWhatIsInFlight(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(ctx context.Context, at string)
		want   []string // in the error; none: no error
	}{
		{name: "the same program"},
		{
			name: "a new operation before what is recorded",
			change: func(ctx context.Context, at string) {
				if at == "start" {
					chttp.Now(ctx)
				}
			},
			want: []string{"trip", "operation 0", `recorded: persist "n"`, `now: persist "now"`, "replay_test.go"},
		},
		{
			name: "a new operation behind what is recorded",
			change: func(ctx context.Context, at string) {
				if at == "sleep" {
					chttp.Now(ctx)
				}
			},
			want: []string{"operation 4", `recorded: sleep`},
		},
		{
			name: "a panic",
			change: func(_ context.Context, at string) {
				if at == "sleep" {
					panic("too late")
				}
			},
			want: []string{"crashed", "too late"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := inFlight(t)
				before := dumpOf(t, st)
				n := newNode(t, st, &chttp.Options{Transport: newLAN(func(http.ResponseWriter, *http.Request) { t.Error("a rehearsal sent something") })})
				n.Register(trip(c.change))
				err := n.CheckReplay(t.Context())
				if (err != nil) != (len(c.want) > 0) {
					t.Fatalf("got %v", err)
				}
				for _, s := range c.want {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("got %v, want %q in it", err, s)
					}
				}
				if err != nil {
					var e *chttp.Error
					if !errors.As(err, &e) || e.ID != "t" {
						t.Errorf("got %v, want a *chttp.Error that names the execution", err)
					}
				}
				if after := dumpOf(t, st); fmt.Sprint(after) != fmt.Sprint(before) {
					t.Errorf("the check changed the store:\n got %v\nwant %v", after, before)
				}
			})
		})
	}
}

func TestCheckReplayNamesAFunctionThatNobodyRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, inFlight(t), nil)
		err := n.CheckReplay(t.Context())
		if !errors.Is(err, chttp.ErrNotRegistered) {
			t.Errorf("got %v, want ErrNotRegistered", err)
		}
	})
}
