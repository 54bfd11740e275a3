package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

func TestS7NotNowIsPassedOnAndForgotten(t *testing.T) {
	for _, status := range []int{429, 502, 503, 504} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var runs atomic.Int64
			s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
				n := runs.Add(1)
				chttp.Persist(r.Context(), "value", func() int { return 1 })
				if n > 2 {
					fmt.Fprint(w, "now")
					return
				}
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(status)
				fmt.Fprint(w, "not now")
			}, nil)
			r := s.certified("a", "x").want(t, status, "none")
			if r.body != "not now" || r.header.Get("Retry-After") != "7" {
				t.Errorf("got %q, %v", r.body, r.header)
			}
			if n := s.records(); n != 0 {
				t.Errorf("%d records, want none", n)
			}
			s.post("a", "another body").want(t, status, "none") // the id is as new as before
			s.certified("a", "x").done(t, 200, "now", false)
		})
	}
}

func TestS7NotNowAfterAnAcceptanceIsForgottenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{})
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			<-busy
			w.WriteHeader(http.StatusServiceUnavailable)
		}, nil)
		s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		close(busy)
		synctest.Wait()
		if n := s.records(); n != 0 {
			t.Errorf("%d records, want none", n)
		}
	})
}

func TestS7NotNowIsAnsweredAtOnceToWhoeverAsksAsync(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, nil)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			r := s.certified(fmt.Sprint("id-", i%50), "x", "Prefer", []string{"respond-async", "wait=0"}[i%2])
			if state := r.member("state"); r.status != 202 && r.status != 503 || r.status == 503 && state != "none" || r.status == 202 && state != "running" {
				t.Errorf("got %d %s", r.status, r.header.Get("Certified"))
			}
		})
	}
	wg.Wait()
}

func TestS7AfterAnEffectWhateverTheHandlerAnswersIsTheOutcome(t *testing.T) {
	var node *chttp.Node
	effects := map[string]func(ctx context.Context) error{
		"step": func(ctx context.Context) error {
			return chttp.Run(ctx, "effect", func(context.Context) error { return nil })
		},
		"message": func(ctx context.Context) error {
			_, err := node.Put(ctx, "http://127.0.0.1:1/", "text/plain", strings.NewReader("x"))
			return err
		},
	}
	for name, effect := range effects {
		for _, status := range []int{429, 500, 502, 503, 504} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				var runs atomic.Int64
				s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
					runs.Add(1)
					if err := effect(r.Context()); err != nil {
						t.Error(err)
					}
					w.WriteHeader(status)
				}, nil)
				node = s.node
				s.certified("a", "x").done(t, status, "", false)
				s.certified("a", "x").done(t, status, "", true)
				if runs.Load() != 1 {
					t.Errorf("the handler ran %d times, want once", runs.Load())
				}
			})
		}
	}
}

func TestS7A500WithoutAnyEffectIsAnOutcome(t *testing.T) {
	var runs atomic.Int64
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		http.Error(w, "sorry", http.StatusInternalServerError)
	}, nil)
	s.certified("a", "x").done(t, 500, "sorry\n", false)
	s.certified("a", "x").done(t, 500, "sorry\n", true)
	if runs.Load() != 1 {
		t.Errorf("the handler ran %d times, want once", runs.Load())
	}
}

func TestS7APanicIsTriedAgainByTheServerItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusCreated)
			if runs.Add(1) < 3 {
				panic("a bug, or a database that is away")
			}
		}, nil)
		r := s.certified("a", "x").problem(t, 500, "crashed", "running")
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if strings.Contains(r.body, "database") {
			t.Errorf("the answer tells what the panic said: %s", r.body)
		}
		pass(10 * time.Minute)
		if runs.Load() != 3 {
			t.Errorf("the handler ran %d times, want 3", runs.Load())
		}
		s.certified("a", "x").done(t, 201, "", true)
	})
}

func TestS7AfterAttemptsPanicsItIsParkedAndCountedAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		crash := func(w http.ResponseWriter, r *http.Request) { runs.Add(1); panic("always") }
		s := newSite(t, nil, crash, &chttp.HandlerOptions{Attempts: 3})
		s.certified("a", "x").problem(t, 500, "crashed", "running")
		s = s.crash()
		pass(10 * time.Minute)
		r := s.certified("a", "x").problem(t, 503, "parked", "running")
		if runs.Load() != 3 {
			t.Errorf("the handler ran %d times, want 3", runs.Load())
		}
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		s.post("a", "x").problem(t, 503, "parked", "running")
		s.post("a", "y").problem(t, 422, "key-reused", "refused")
		s = s.crash()
		pass(10 * time.Minute)
		s.certified("a", "x").problem(t, 503, "parked", "running")
		if runs.Load() != 3 {
			t.Errorf("the handler ran %d times after a restart, want 3", runs.Load())
		}
	})
}

func TestS7WhoeverWaitsWhenTheLastAttemptPanicsIsToldThatItIsParked(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) { panic("always") }, &chttp.HandlerOptions{Attempts: 1})
	s.certified("a", "x").problem(t, 503, "parked", "running")
}

func TestS7GoexitInAHandlerIsACrash(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		new(testing.T).FailNow()
	}, &chttp.HandlerOptions{Attempts: 2})
	s.certified("a", "x").problem(t, 500, "crashed", "running")
	if r := s.record("ann", "a"); r == nil || r.State != store.Waiting && r.State != store.Running && r.State != store.Parked {
		t.Errorf("the record is %+v, want it unfinished", r)
	}
}

func TestS7AContextThatCannotBeMadeIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := new(counter)
		calls := 0
		s := newSite(t, nil, app.ServeHTTP, &chttp.HandlerOptions{Context: func(ctx context.Context, principal string) (context.Context, error) {
			if calls++; calls < 3 {
				return nil, errors.New("the users' database does not answer")
			}
			return ctx, nil
		}})
		s.certified("a", "x").problem(t, 500, "crashed", "running")
		pass(10 * time.Minute)
		s.certified("a", "x").done(t, 201, "run 1", true)
	})
}
