package chttp_test

import (
	"context"
	"errors"
	"fmt"
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

// The tests of this file play counterexamples of docs/model against real nodes, and are named for their rows there. Rows that
// another test had already are in the table of docs/model/README.md.

// clocked is a store whose node reads a clock that can be off.
type clocked struct {
	*memstore.Store
	off atomic.Int64
}

func (c *clocked) Now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }

// behind is a store of which so many reads to come know nothing yet.
type behind struct {
	*memstore.Store
	reads atomic.Int64
}

func (b *behind) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	if b.reads.Add(-1) >= 0 {
		return nil, store.ErrNotFound
	}
	return b.Store.Read(ctx, key)
}

// joint is a store that several nodes keep at once, as a cluster's is: the last to join fences nobody.
type joint struct {
	*memstore.Store

	mu    sync.Mutex // guards token
	token store.Token
}

func (j *joint) Join(ctx context.Context, floor int64) (store.Identity, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	id, err := j.Store.Join(ctx, floor)
	j.token = id.Token
	return id, err
}

func (j *joint) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	mine := *b
	mine.Token = j.token
	return j.Store.Commit(ctx, &mine)
}

// leave sends a copy of a message whose client goes away before anything is stored.
func (s *site) leave(key, body, stamps string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "http://shop.example/orders", strings.NewReader(body))
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("Certified", stamps)
	s.ServeHTTP(httptest.NewRecorder(), r)
}

// forgets waits until a message with until in a minute is forgotten.
func (s *site) forgets() {
	s.t.Helper()
	pass(time.Minute + linger + 2*tick)
	if n := s.records(); n != 0 {
		s.t.Fatalf("%d records, want the message forgotten", n)
	}
}

func TestModelN1TheFloorOutlivesACrashAndAClockThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := new(counter)
		first := &clocked{Store: memstore.New()}
		s := newSite(t, first, app.ServeHTTP, nil)
		late := stamped(0, 0, time.Minute)
		s.post("a", "x", "Certified", late).done(t, 201, "run 1", false)
		s.forgets()

		second := &clocked{Store: first.Crash()}
		second.off.Store(int64(-linger - 2*tick))
		s.stop()
		s = newSite(t, second, app.ServeHTTP, nil)
		s.post("a", "x", "Certified", late).problem(t, 412, "stale-attempt", "none")
		app.ran(t, 1)
	})
}

func TestModelN2ARunThatBeganOnAnOldLookUpIsRefusedByTheFloorWhenItCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var app counter
		open := make(chan struct{})
		b := &behind{Store: memstore.New()}
		s := newSite(t, b, func(w http.ResponseWriter, r *http.Request) {
			if app.runs.Load() > 0 {
				<-open
			}
			app.ServeHTTP(w, r)
		}, nil)
		late := stamped(0, 0, time.Minute)
		s.post("a", "x", "Certified", late).done(t, 201, "run 1", false)
		b.reads.Store(1)
		s.leave("a", "x", late)
		s.forgets()
		close(open)
		synctest.Wait()
		app.ran(t, 2)
		if n := s.records(); n != 0 {
			t.Errorf("%d records, want none: the id was used up", n)
		}
		s.post("a", "x", "Certified", late).problem(t, 412, "stale-attempt", "none")
	})
}

func TestModelN2bASlowRunAtAnotherNodeIsRefusedByTheFloorWhenItCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := new(counter), newGate()
		j := &joint{Store: memstore.New()}
		one := newSite(t, j, fast.ServeHTTP, nil)
		two := newSite(t, j, slow.ServeHTTP, nil)
		late := stamped(0, 0, time.Minute)
		two.leave("a", "x", late)
		one.post("a", "x", "Certified", late).done(t, 201, "run 1", false)
		one.forgets()
		close(slow.open)
		synctest.Wait()
		slow.ran(t, 1)
		if n := one.records(); n != 0 {
			t.Errorf("%d records, want none: the id was used up", n)
		}
		for _, s := range []*site{one, two} {
			s.post("a", "x", "Certified", late).problem(t, 412, "stale-attempt", "none")
		}
	})
}

func TestModelN5AnAttemptIsNeverStampedBelowAnEarlierOneAndTheAcknowledgementNamesTheLargest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
			past := fmt.Sprintf("@%d", time.Now().Add(-time.Hour).Unix()) // what the peer's clock says
			switch {
			case r.Method == "DELETE":
				w.WriteHeader(204)
			case n < 4: // by a gateway: that the peer is certified, and its clock, is not known yet
				w.Header().Set("Retry-After", "5")
				w.WriteHeader(502)
			case n < 7:
				certify(w, r, "none", 412, "", "now", past)
			default:
				certify(w, r, "done", 200, "", "now", past)
			}
		}))
		h := newHome(t, l, nil)
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		pass(10 * time.Second)
		var largest int64
		for _, s := range l.requests("PUT") {
			if at := s.stamp("at"); at < largest {
				t.Errorf("at fell from %d to %d", largest, at)
			}
			largest = max(largest, s.stamp("at"))
		}
		del := l.requests("DELETE")
		if len(del) != 1 || del[0].stamp("at") != largest || largest == l.requests("PUT")[0].stamp("at") {
			t.Errorf("%d acknowledgements, want one that names %d, the largest at", len(del), largest)
		}
	})
}

func TestModelN6ARunThatAnotherNodeHasTakenOverHasNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		m := memstore.New()
		first := newSite(t, m, func(w http.ResponseWriter, r *http.Request) {
			<-open
			fmt.Fprint(w, "first")
		}, nil)
		first.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		waiting := make(chan reply, 1)
		go func() { waiting <- first.certified("a", "x") }()
		synctest.Wait()
		second := newSite(t, m, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "second") }, nil)
		second.certified("a", "x").done(t, 200, "second", true)
		close(open)
		if r := <-waiting; r.member("state") == "done" && r.body != "second" {
			t.Errorf("the node that was fenced answers %d %q", r.status, r.body)
		}
		second.certified("a", "x").done(t, 200, "second", true)
	})
}

func TestModelN6bARunWhoseIDIsAnothersBeginsNoStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var token store.Token
		st := newFaulty()
		st.fails(func(b *store.Batch) (error, bool) { token = b.Token; return nil, false })
		open := make(chan struct{})
		effects := 0
		s := newSite(t, st, func(w http.ResponseWriter, r *http.Request) {
			<-open
			_ = chttp.Run(r.Context(), "charge", func(context.Context) error { effects++; return nil })
		}, nil)
		s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		was := s.record("ann", "a")
		for _, c := range []store.Change{
			{Key: was.Key, Run: was.Run, Version: was.Version + 1, Forget: true},
			{
				Key: was.Key, Run: was.Run + 1000, Version: 1, Function: was.Function, Certified: true, Print: was.Print, Head: was.Head,
				State: store.Waiting, Due: time.Now().Add(time.Hour).UnixMilli(),
			},
		} {
			r, err := st.Store.Commit(t.Context(), &store.Batch{Token: token, Changes: []store.Change{c}})
			if err != nil || r.Results[0].Status != store.Done {
				t.Fatal(r, err)
			}
		}
		another := s.record("ann", "a")
		close(open)
		synctest.Wait()
		if now := s.record("ann", "a"); effects != 0 || now.Run != another.Run || now.Version != another.Version {
			t.Errorf("%d effects, and the record is %+v, want none, and %+v", effects, now, another)
		}
	})
}

func TestModelN8cAnEffectBeginsWhenItsBeginningIsDurable(t *testing.T) {
	var s *site
	effects := 0
	s = newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		err := chttp.Run(r.Context(), "charge", func(context.Context) error {
			effects++
			if x := s.record("ann", "a"); x == nil || x.State != store.Running || len(x.Oplog) == 0 {
				t.Errorf("the effect begins while the record is %+v", x)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}, nil)
	s.certified("a", "x").done(t, 200, "", false)
	if effects != 1 {
		t.Errorf("%d effects, want one", effects)
	}
}

func TestModelN10AMessageIsAcknowledgedWhenItsOutcomeIsDurableAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := new(counter)
		server := newSite(t, nil, app.ServeHTTP, nil)
		d := &dam{}
		l := newLAN(nil)
		l.hosts["peer.example"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			server.ServeHTTP(w, r)
			if r.Method == "PUT" && app.runs.Load() == 1 && len(l.requests("PUT")) == 1 {
				d.close() // The answer arrives at a disk that hangs.
			}
		})
		h := newHome(t, l, nil, func(h *home) {
			h.over = func(s store.Store) store.Store { d.Store = s; return d }
		})
		id := h.put(peerURL, "x", chttp.Policy{})
		pass(time.Minute)
		if all := l.requests(""); len(all) != 1 {
			t.Errorf("%d requests left while the disk hung, want the first alone", len(all))
		}
		survivor := h.store.Crash() // The outcome is lost, and the message with it at the peer if that was told.
		d.release()
		h.stop()
		h.store = survivor
		h.open()
		if i := h.ends(id); i.State != "answered" {
			t.Errorf("it is %+v", i)
		}
		app.ran(t, 1)
		pass(10 * time.Second)
		if r := server.record("ann", id); r == nil || r.State != store.Acknowledged {
			t.Errorf("the peer's record is %+v, want it acknowledged in the end", r)
		}
	})
}

func TestModelN12ARunThatBeganOnAnOldLookUpIsNoSecondExecution(t *testing.T) {
	app := new(counter)
	b := &behind{Store: memstore.New()}
	s := newSite(t, b, app.ServeHTTP, nil)
	first := s.certified("a", "x").done(t, 201, "run 1", false)
	b.reads.Store(1)
	s.certified("a", "x").done(t, 201, "run 1", true).same(t, first)
	app.ran(t, 2) // of which nothing counts but the first
	s.certified("a", "x").done(t, 201, "run 1", true).same(t, first)
}

func TestModelN12OfTwoNodesAtOnceOneOwnsTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		apps := [2]*gate{newGate(), newGate()}
		j := &joint{Store: memstore.New()}
		replies := make(chan reply, 2)
		var sites [2]*site
		for i, app := range apps {
			s := newSite(t, j, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "node %d: ", i)
				app.ServeHTTP(w, r)
			}, nil)
			sites[i] = s
			go func() { replies <- s.certified("a", "x") }()
			<-app.entered
		}
		for _, app := range apps {
			close(app.open)
		}
		one, other := <-replies, <-replies
		one.want(t, 200, "done").same(t, other.want(t, 200, "done"))
		if (one.member("replayed") == "") == (other.member("replayed") == "") {
			t.Error("both or none say that theirs is the first")
		}
		for _, s := range sites {
			s.certified("a", "x").done(t, 200, one.body, true)
		}
	})
}

func TestModelN13ARunThatBeganAStepIsNotForgottenAlsoAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var effects, lives atomic.Int64
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			life := lives.Add(1)
			err := chttp.Run(r.Context(), "charge", func(context.Context) error { effects.Add(1); return nil })
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if life == 1 {
				<-r.Context().Done() // The process dies.
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}, nil)
		s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running")
		pass(time.Second)
		s = s.crash()
		pass(2 * time.Minute)
		s.certified("a", "x").done(t, 503, "", true)
		if effects.Load() != 1 || lives.Load() < 2 {
			t.Errorf("%d effects in %d lives, want one in two", effects.Load(), lives.Load())
		}
	})
}

func TestModelN14AServersClockThatIsWrongForAMinuteRefusesNobodyAfterwards(t *testing.T) {
	for _, off := range []time.Duration{365 * 24 * time.Hour, time.Hour, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := new(counter)
				st := &clocked{Store: memstore.New()}
				s := newSite(t, st, app.ServeHTTP, nil)
				pass(time.Hour)
				st.off.Store(int64(off))
				pass(time.Minute)
				st.off.Store(0)
				s.certified("a", "x").done(t, 201, "run 1", false)
				// One that is on its way for most of the linger gets through as well.
				s.post("b", "x", "Certified", stamped(-linger, -linger+3*tick, time.Hour)).done(t, 201, "run 2", false)
			})
		})
	}
}
