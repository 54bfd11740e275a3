package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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

// faulty is a store whose commits and reads a test can make fail.
type faulty struct {
	*memstore.Store
	commit atomic.Pointer[func(b *store.Batch) (fail error, done bool)] // done: the batch is committed all the same
	read   atomic.Pointer[error]
	oplog  atomic.Pointer[error]
}

func newFaulty() *faulty { return &faulty{Store: memstore.New()} }

// fails has commits answer what f says, until it is called with nil.
func (s *faulty) fails(f func(b *store.Batch) (fail error, done bool)) {
	if f == nil {
		s.commit.Store(nil)
		return
	}
	s.commit.Store(&f)
}

func (s *faulty) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	if f := s.commit.Load(); f != nil {
		if err, done := (*f)(b); err != nil {
			if done {
				if _, err := s.Store.Commit(ctx, b); err != nil {
					return nil, err
				}
			}
			return nil, err
		}
	}
	return s.Store.Commit(ctx, b)
}

func (s *faulty) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	if err := s.read.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Read(ctx, key)
}

func (s *faulty) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	if err := s.oplog.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Chunks(ctx, key)
}

// full answers every commit that brings something with store.ErrFull.
func full(b *store.Batch) (error, bool) {
	if len(b.Changes)+len(b.Facts) == 0 {
		return nil, false
	}
	return store.ErrFull, false
}

func TestS10AFullStoreRefusesNewWorkAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		st := newFaulty()
		s := newSite(t, st, app.ServeHTTP, nil)
		s.certified("accepted", "x", "Prefer", "respond-async").want(t, 202, "running")
		<-app.entered
		st.fails(full)
		for _, header := range [][]string{{"Prefer", "respond-async"}, {"Prefer", "wait=0"}} {
			r := s.certified("new", "x", header...).problem(t, 507, "storage-full", "none")
			if r.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			<-app.entered
		}
		waiting := make(chan reply, 2)
		go func() { waiting <- s.certified("accepted", "x") }()
		synctest.Wait()
		close(app.open)
		go func() { waiting <- s.certified("new", "x") }() // the handler is done at once, and its outcome has no room
		synctest.Wait()
		pass(9 * time.Second)
		(<-waiting).problem(t, 507, "storage-full", "none")
		(<-waiting).want(t, 202, "running")
		s.ask("GET", s.certified("accepted", "x", "Prefer", "wait=0").member("message"), "").want(t, 202, "running")
		st.fails(nil)
		pass(5 * time.Second)
		if r := s.record("ann", "accepted"); r == nil || r.State != store.Answered {
			t.Errorf("with room again the record is %+v", r)
		}
		if r := s.record("ann", "new"); r != nil {
			t.Errorf("of what was refused there is %+v", r)
		}
		s.certified("accepted", "x").want(t, 201, "done")
		s.certified("new", "x").want(t, 201, "done")
	})
}

func TestS10AFullStoreStillAnswersWhatIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := new(counter)
		st := newFaulty()
		s := newSite(t, st, app.ServeHTTP, nil)
		url := s.certified("a", "x").done(t, 201, "run 1", false).member("message")
		st.fails(full)
		s.certified("a", "x").done(t, 201, "run 1", true)
		s.certified("a", "y").problem(t, 422, "key-reused", "refused")
		s.ask("GET", url, "").done(t, 201, "run 1", true)
		s.ask("DELETE", url, "").want(t, 204, "gone") // makes room
		st.fails(nil)
	})
}

func TestS10ANotNowNeedsNoRoom(t *testing.T) {
	st := newFaulty()
	s := newSite(t, st, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, nil)
	st.fails(full)
	s.certified("a", "x").want(t, 503, "none")
	st.fails(nil)
}

func TestS10WhatTheStoreRefusesAloneIsRefusedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		st := newFaulty()
		s := newSite(t, st, app.ServeHTTP, nil)
		st.fails(func(b *store.Batch) (error, bool) {
			for _, c := range b.Changes {
				if c.Key.ID == "id-5" {
					return errors.New("this row cannot be written"), false
				}
			}
			return nil, false
		})
		replies := make([]reply, 16)
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() { replies[i] = s.certified(fmt.Sprint("id-", i), "x") })
		}
		synctest.Wait()
		close(app.open)
		wg.Wait()
		for i, r := range replies {
			if i == 5 {
				r.problem(t, 503, "overloaded", "none")
				if strings.Contains(r.body, "row") {
					t.Errorf("the answer tells what the store said: %s", r.body)
				}
				continue
			}
			r.want(t, 201, "done")
		}
		st.fails(nil)
	})
}

func TestS10ACommitOfWhichItIsUnknownWhetherItHappenedIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(1, 2))
		var runs sync.Map
		st := newFaulty()
		s := newSite(t, st, func(w http.ResponseWriter, r *http.Request) {
			n, _ := runs.LoadOrStore(r.Header.Get("Idempotency-Key"), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			fmt.Fprint(w, chttp.Persist(r.Context(), "value", rand.Int64))
		}, nil)
		st.fails(func(*store.Batch) (error, bool) {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(3) > 0 {
				return fmt.Errorf("the connection broke: %w", store.ErrUnknown), random.IntN(2) == 0
			}
			return nil, false
		})
		replies := make([][3]reply, 100)
		var wg sync.WaitGroup
		for i := range replies {
			for k := range replies[i] {
				wg.Go(func() { replies[i][k] = s.certified(fmt.Sprint("id-", i), "x") })
			}
		}
		wg.Wait()
		st.fails(nil)
		for i, rs := range replies {
			again := s.certified(fmt.Sprint("id-", i), "x").want(t, 200, "done")
			for _, r := range rs {
				r.want(t, 200, "done").same(t, again)
			}
		}
		runs.Range(func(id, n any) bool {
			if n.(*atomic.Int64).Load() != 1 {
				t.Errorf("the handler of %s ran %d times", id, n.(*atomic.Int64).Load())
			}
			return true
		})
	})
}

func TestS10WhileItIsUnknownWhetherACommitHappenedTheAnswerIsNeverNone(t *testing.T) {
	for _, done := range []bool{false, true} {
		t.Run(fmt.Sprint("it happened: ", done), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := new(counter)
				st := newFaulty()
				s := newSite(t, st, app.ServeHTTP, nil)
				st.fails(func(*store.Batch) (error, bool) { return store.ErrUnknown, done })
				for _, header := range [][]string{{"Prefer", "wait=3"}, {"Prefer", "respond-async"}, nil} {
					begin := time.Now()
					// Where it happened, the next copy may find the outcome.
					if r := s.certified("a", "x", header...); r.member("state") != "done" {
						r.problem(t, 503, "in-progress", "running")
					}
					if waited := time.Since(begin); waited > 20*time.Second {
						t.Errorf("%v: answered after %v", header, waited)
					}
				}
				st.fails(nil)
				pass(5 * time.Second)
				s.certified("a", "x").done(t, 201, "run 1", true)
				app.ran(t, 1)
			})
		})
	}
}

func TestS10ARecordThatCannotBeReadIsNotTakenForNone(t *testing.T) {
	app := new(counter)
	st := newFaulty()
	s := newSite(t, st, app.ServeHTTP, nil)
	url := s.certified("a", "x").want(t, 201, "done").member("message")
	broken := errors.New("an index is damaged at /var/lib/secret")
	st.read.Store(&broken)
	for _, r := range []reply{
		s.certified("a", "x").problem(t, 503, "overloaded", "none"), // this attempt did nothing
		s.ask("GET", url, "").problem(t, 503, "in-progress", "running"),
		s.ask("DELETE", url, "").problem(t, 503, "in-progress", "running"),
	} {
		if strings.Contains(r.body, "secret") {
			t.Errorf("the answer tells what the store said: %s", r.body)
		}
	}
	st.read.Store(nil)
	s.certified("a", "x").done(t, 201, "run 1", true)
	app.ran(t, 1)
}

func TestI8AnOplogThatCannotBeReadJustNowParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		app := func(w http.ResponseWriter, r *http.Request) {
			if err := chttp.Run(r.Context(), "step", func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
			if runs.Add(1) == 1 {
				panic("once")
			}
		}
		st := newFaulty()
		s := newSite(t, st, app, nil)
		s.certified("a", "x").problem(t, 500, "crashed", "running")
		broken := errors.New("the disk does not answer")
		st.oplog.Store(&broken)
		pass(time.Minute)
		if r := s.record("ann", "a"); r.State != store.Waiting {
			t.Errorf("the record is %+v, want it waiting", r)
		}
		st.oplog.Store(nil)
		pass(time.Minute)
		s.certified("a", "x").done(t, 200, "", true)
	})
}

func TestAClosedStoreIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		accepted := s.certified("accepted", "x", "Prefer", "respond-async").want(t, 202, "running")
		<-app.entered
		waiting := make(chan reply, 2)
		go func() { waiting <- s.certified("accepted", "x") }()
		go func() { waiting <- s.certified("new", "x") }()
		<-app.entered
		synctest.Wait()
		if err := s.store.Close(); err != nil {
			t.Fatal(err)
		}
		close(app.open)
		begin := time.Now()
		for range 2 {
			(<-waiting).problem(t, 503, "in-progress", "running")
		}
		if waited := time.Since(begin); waited > time.Second {
			t.Errorf("who waited was answered after %v", waited)
		}
		s.certified("later", "x").problem(t, 503, "overloaded", "none")
		s.ask("GET", accepted.member("message"), "").problem(t, 503, "in-progress", "running")
	})
}

func TestANodeThatDoesNotRunTakesNothing(t *testing.T) {
	app := new(counter)
	st := memstore.New()
	n := newNode(t, st, nil)
	s := &site{t: t, store: st, node: n, Handler: n.Handler("app", app, &chttp.HandlerOptions{Principal: callers})}
	s.certified("a", "x").problem(t, 503, "overloaded", "none")
	s.run()
	url := s.certified("a", "x").done(t, 201, "run 1", false).member("message")
	s.stop()
	r := s.certified("b", "x").problem(t, 503, "overloaded", "none")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.ask("GET", url, "").done(t, 201, "run 1", true) // what is recorded can be had all the same
	s.ask("DELETE", url, "").want(t, 204, "gone")
	s.ask("GET", url, "").problem(t, 410, "acknowledged", "gone")
	app.ran(t, 1)
}

func TestS10MoreThanFitsIntoMemoryIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		n := newNode(t, memstore.New(), &chttp.Options{Logger: quiet, MaxResident: 3})
		s := &site{t: t, node: n, Handler: n.Handler("app", app, &chttp.HandlerOptions{Principal: callers})}
		s.run()
		for i := range 3 {
			s.certified(fmt.Sprint("id-", i), "x", "Prefer", "respond-async").want(t, 202, "running")
		}
		r := s.certified("id-3", "x").problem(t, 503, "overloaded", "none")
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		s.certified("id-0", "x", "Prefer", "wait=0").want(t, 202, "running") // known ones are answered
		close(app.open)
		synctest.Wait()
		s.certified("id-3", "x").done(t, 201, "run 4", false)
	})
}

// Every commit of a request with a step is one after which, or before which, the process can die.
func TestS6WhereverTheServerDiesARequestIsDoneOnceAndAnsweredTheSame(t *testing.T) {
	for die := 1; ; die++ {
		var commits int
		for _, before := range []bool{true, false} {
			commits = dieAtCommit(t, die, before)
		}
		if commits < die {
			if die < 3 {
				t.Errorf("only %d commits were met", die)
			}
			return
		}
	}
}

// dieAtCommit lets the process die at a commit, sends the request again to the next process, and returns how many commits there were.
func dieAtCommit(t *testing.T, die int, before bool) (commits int) {
	synctest.Test(t, func(t *testing.T) {
		var steps atomic.Int64
		app := func(w http.ResponseWriter, r *http.Request) {
			nonce := chttp.Persist(r.Context(), "nonce", rand.Int64)
			got, err := chttp.Do(r.Context(), "step", func(context.Context) (int64, error) { steps.Add(1); return nonce, nil })
			if err != nil || got != nonce {
				t.Errorf("the step gave %d, %v, want %d", got, err, nonce)
			}
			fmt.Fprint(w, nonce)
		}
		st := newFaulty()
		s := newSite(t, st, app, nil)
		var survivor *memstore.Store
		st.fails(func(b *store.Batch) (error, bool) {
			if len(b.Changes) == 0 || survivor != nil {
				return nil, false
			}
			if commits++; commits == die {
				if !before {
					if _, err := st.Store.Commit(context.Background(), b); err != nil {
						t.Error(err)
					}
				}
				survivor = st.Crash()
				return store.ErrClosed, false
			}
			return nil, false
		})
		first := s.certified("a", "x")
		synctest.Wait()
		if survivor == nil {
			first.want(t, 200, "done")
			return
		}
		if first.member("state") == "done" {
			t.Errorf("dead at commit %d (before: %v), and yet the answer is %q", die, before, first.body)
		}
		s.stop()
		s = newSite(t, survivor, app, nil)
		pass(time.Minute)
		found := s.record("ann", "a") != nil
		r := s.certified("a", "x").want(t, 200, "done")
		if got := r.member("replayed") == "?1"; got != found {
			t.Errorf("dead at commit %d (before: %v): replayed is %v, found %v", die, before, got, found)
		}
		s.certified("a", "x").done(t, 200, r.body, true)
		if n := steps.Load(); n > 2 {
			t.Errorf("dead at commit %d (before: %v): the step was done %d times", die, before, n)
		}
	})
	return commits
}

func TestAClientGoneOverTheWireLeavesNothingBehind(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "POST", srv.URL, strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Idempotency-Key", fmt.Sprint("id-", i))
			if res, err := srv.Client().Do(r); err == nil {
				res.Body.Close()
				t.Errorf("answered %d", res.StatusCode)
			}
		})
	}
	wg.Wait()
	close(app.open)
	for i := range 20 {
		s.ask("POST", "/", "x", "Idempotency-Key", fmt.Sprint("id-", i)).want(t, 201, "done")
	}
	app.ran(t, 20)
}
