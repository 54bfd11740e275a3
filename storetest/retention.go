package storetest

import (
	"fmt"

	"github.com/certifiedhttp/chttp/store"
)

// ended is an insert of a finished record whose Bound is 3000.
func ended(id string) store.Change {
	c := begin(id)
	c.State = store.Answered
	return c
}

// sweep commits a sweep and checks how many records it deleted.
func (f *fixture) sweep(now int64, limit, want int) {
	f.Helper()
	if got := f.commit(store.Batch{Now: now, Sweep: limit}).Swept; got != want {
		f.Errorf("swept %d, want %d", got, want)
	}
}

var floorClaims = []claim{
	{"an insert with At at or below the floor is stale, above it is done", func(f *fixture) {
		f.commit(store.Batch{Floor: 100})
		for _, at := range []int64{1, 99, 100, 101} {
			c := begin(fmt.Sprint(at))
			c.At = at
			got := f.try(c)
			want := store.Stale
			if at > 100 {
				want = store.Done
			}
			if got.Status != want {
				f.Errorf("at %d: status %d, want %d", at, got.Status, want)
			}
			if want == store.Stale {
				f.gone(c.Key)
			}
		}
	}},
	{"an insert without At is never stale", func(f *fixture) {
		f.commit(store.Batch{Floor: 100})
		f.do(begin("a"))
	}},
	{"an update is never stale", func(f *fixture) {
		a := begin("a")
		a.At = 50
		b := next(a, store.Answered)
		b.At = 50
		f.do(a)
		f.commit(store.Batch{Floor: 100})
		f.do(b)
		f.holds(made(a, b))
	}},
	{"the floor that counts is the one that the same commit raises", func(f *fixture) {
		c := begin("a")
		c.At = 100
		if got := f.commit(store.Batch{Floor: 100, Changes: []store.Change{c}}).Results[0].Status; got != store.Stale {
			f.Errorf("status %d, want stale", got)
		}
		f.gone(c.Key)
	}},
	{"a stale insert is stale even if its key is taken", func(f *fixture) {
		f.do(begin("a"))
		f.commit(store.Batch{Floor: 100})
		c := begin("a")
		c.Run, c.At = 8, 100
		if got := f.try(c).Status; got != store.Stale {
			f.Errorf("status %d, want stale", got)
		}
		f.holds(made(begin("a")))
	}},
	{"the floor never falls", func(f *fixture) {
		for _, step := range []struct{ floor, want int64 }{{0, 0}, {100, 100}, {50, 100}, {0, 100}, {101, 101}, {-1, 101}} {
			if got := f.commit(store.Batch{Floor: step.floor}).Floor; got != step.want {
				f.Errorf("after %d the floor is %d, want %d", step.floor, got, step.want)
			}
		}
		f.crash()
		if f.id.Floor != 101 {
			f.Errorf("after a crash the floor is %d, want 101", f.id.Floor)
		}
		f.join(500)
		if f.id.Floor != 101 {
			f.Errorf("a later join found floor %d, want 101", f.id.Floor)
		}
		if got := f.commit(store.Batch{}).Floor; got != 101 {
			f.Errorf("after joins the floor is %d, want 101", got)
		}
	}},
}

var sweepClaims = []claim{
	{"the clock rules the deletion of records that are not certified", func(f *fixture) {
		for _, state := range finished {
			c := begin(state.String())
			c.State = state
			f.do(c)
		}
		f.commit(store.Batch{Floor: 9000})
		f.sweep(2999, 100, 0)
		f.sweep(3000, 100, len(finished))
		f.gone(store.Key{Scope: "scope", ID: "answered"})
	}},
	{"the floor rules the deletion of certified records", func(f *fixture) {
		for _, state := range finished {
			c := begin(state.String())
			c.State, c.Certified = state, true
			f.do(c)
		}
		f.sweep(9000, 100, 0)
		if got := f.commit(store.Batch{Floor: 2999, Now: 9000, Sweep: 100}).Swept; got != 0 {
			f.Errorf("swept %d below the bound", got)
		}
		if got := f.commit(store.Batch{Floor: 3000, Now: 0, Sweep: 100}).Swept; got != len(finished) {
			f.Errorf("swept %d at the bound, want %d", got, len(finished))
		}
		f.gone(store.Key{Scope: "scope", ID: "answered"})
	}},
	{"an unfinished record is never swept", func(f *fixture) {
		for i, state := range append(unfinished, unfinished...) {
			c := begin(fmt.Sprint(i))
			c.State, c.Bound, c.Certified = state, 1, i%2 == 0
			f.do(c)
		}
		if got := f.commit(store.Batch{Floor: 9000, Now: 9000, Sweep: 100}).Swept; got != 0 {
			f.Errorf("swept %d", got)
		}
	}},
	{"an acknowledged record is swept too", func(f *fixture) {
		f.do(ended("a"))
		f.commit(store.Batch{Acks: []store.Ack{{Key: begin("a").Key, At: 3000}}})
		f.sweep(3000, 1, 1)
		f.gone(begin("a").Key)
	}},
	{"a sweep deletes no more than its limit, and sweeps end", func(f *fixture) {
		for i := range 10 {
			c := ended(fmt.Sprint(i))
			c.Certified = i%2 == 0
			f.do(c)
		}
		f.commit(store.Batch{Floor: 3000})
		for _, want := range []int{4, 4, 2, 0} {
			f.sweep(3000, 4, want)
		}
		f.sweep(3000, 0, 0)
	}},
	{"without a sweep nothing is deleted", func(f *fixture) {
		f.do(ended("a"))
		f.sweep(9000, 0, 0)
		f.holds(made(ended("a")))
	}},
	{"the chunks of a swept record go with it", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		f.do(a, b, next(b, store.Answered))
		f.sweep(3000, 1, 1)
		f.gone(a.Key)
		a.Chunk = nil
		a.Run = 8
		f.do(a)
		f.oplog(a.Key)
	}},
	{"what a batch acknowledges it may sweep", func(f *fixture) {
		c := ended("a")
		c.Certified, c.Bound = true, 1<<60
		f.do(c)
		f.commit(store.Batch{Floor: 50, Acks: []store.Ack{{Key: c.Key, At: 50}}, Sweep: 1})
		f.gone(c.Key)
	}},
}

var ackClaims = []claim{
	{"an ack drops the outcome of any finished record and keeps the rest", func(f *fixture) {
		for i, state := range append(finished, finished...) {
			a := begin(fmt.Sprint(i))
			a.Certified = i >= len(finished)
			b := next(a, store.Running)
			c := next(b, state)
			f.do(a, b, c)
			f.commit(store.Batch{Acks: []store.Ack{{Key: a.Key, At: 50}}})
			want := made(a, b, c)
			want.State, want.Head, want.Tail, want.Oplog = store.Acknowledged, nil, nil, nil
			if a.Certified {
				want.Bound = 50
			}
			f.holds(want)
			f.oplog(a.Key)
		}
	}},
	{"a later ack raises the bound of a certified record and never lowers it", func(f *fixture) {
		a := ended("a")
		a.Certified = true
		f.do(a)
		for _, step := range []struct{ at, want int64 }{{50, 50}, {40, 50}, {60, 60}, {60, 60}, {0, 60}} {
			f.commit(store.Batch{Acks: []store.Ack{{Key: a.Key, At: step.at}}})
			if got := f.read(a.Key).Bound; got != step.want {
				f.Errorf("after an ack at %d the bound is %d, want %d", step.at, got, step.want)
			}
		}
	}},
	{"no ack moves the bound of a record that is not certified", func(f *fixture) {
		a := ended("a")
		f.do(a)
		for _, at := range []int64{50, 9000} {
			f.commit(store.Batch{Acks: []store.Ack{{Key: a.Key, At: at}}})
			if got := f.read(a.Key).Bound; got != a.Bound {
				f.Errorf("after an ack at %d the bound is %d, want %d", at, got, a.Bound)
			}
		}
	}},
	{"an ack of an unfinished or missing record does nothing", func(f *fixture) {
		for _, state := range unfinished {
			a := begin(state.String())
			a.State, a.Certified = state, true
			b := next(a, state)
			f.do(a, b)
			f.commit(store.Batch{Acks: []store.Ack{{Key: a.Key, At: 9000}, {Key: store.Key{ID: a.Key.ID}, At: 1}}})
			f.holds(made(a, b))
			f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
		}
	}},
	{"an ack counts for what its batch has finished", func(f *fixture) {
		a := begin("a")
		f.do(a)
		f.commit(store.Batch{Changes: []store.Change{next(a, store.Answered)}, Acks: []store.Ack{{Key: a.Key, At: 50}}})
		if got := f.read(a.Key); got.State != store.Acknowledged {
			f.Errorf("state %v", got.State)
		}
		f.oplog(a.Key)
	}},
	{"an acknowledged record keeps its key", func(f *fixture) {
		a := ended("a")
		f.do(a)
		f.commit(store.Batch{Acks: []store.Ack{{Key: a.Key, At: 50}}})
		b := begin("a")
		b.Run = 8
		f.refused(b, a.Key, f.read(a.Key))
		f.refused(next(a, store.Running), a.Key, f.read(a.Key))
	}},
}
