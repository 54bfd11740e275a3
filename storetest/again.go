package storetest

import "github.com/certifiedhttp/chttp/store"

// twice commits b two times, as a caller does whose first Commit answered ErrUnknown; what was done the first time must be done the second
// time, without effect. It returns the first report.
func (f *fixture) twice(b store.Batch) *store.Report {
	f.Helper()
	first := f.commit(b)
	before := f.everything()
	again := f.commit(b)
	for i, r := range first.Results {
		if r.Status == store.Done && again.Results[i].Status != store.Done {
			f.Errorf("change %d: done at first, status %d when committed again", i, again.Results[i].Status)
		}
	}
	if again.Floor != first.Floor {
		f.Errorf("floor %d at first, %d when committed again", first.Floor, again.Floor)
	}
	f.compare(f.everything(), before)
	return first
}

// everything is what the store holds.
type everything struct {
	records []*store.Record
	chunks  [][]store.Chunk
	facts   []store.Fact
}

func (f *fixture) everything() everything {
	f.Helper()
	var all everything
	var err error
	if all.records, err = f.s.List(ctx, store.Query{Limit: 1 << 20}); err != nil {
		f.Fatalf("list: %v", err)
	}
	for _, r := range all.records {
		chunks, err := f.s.Chunks(ctx, r.Key)
		if err != nil {
			f.Fatalf("chunks of %v: %v", r.Key, err)
		}
		all.chunks = append(all.chunks, chunks)
	}
	if all.facts, err = f.s.Facts(ctx); err != nil {
		f.Fatalf("facts: %v", err)
	}
	sortFacts(all.facts)
	return all
}

func (f *fixture) compare(got, want everything) {
	f.Helper()
	if len(got.records) != len(want.records) {
		f.Fatalf("%d records, want %d", len(got.records), len(want.records))
	}
	for i, r := range got.records {
		f.equal("record", r, want.records[i])
		if !sameChunks(got.chunks[i], want.chunks[i]) {
			f.Errorf("chunks of %v: got %v, want %v", r.Key, got.chunks[i], want.chunks[i])
		}
	}
	if !sameFacts(got.facts, want.facts) {
		f.Errorf("facts: got %v, want %v", got.facts, want.facts)
	}
}

var againClaims = []claim{
	{"an insert committed again is done", func(f *fixture) {
		f.twice(store.Batch{Changes: []store.Change{begin("a"), begin("b")}})
	}},
	{"an update committed again is done", func(f *fixture) {
		for _, state := range append(unfinished, finished...) {
			a := begin(state.String())
			b := next(a, state)
			b.DropHead = true
			f.do(a)
			f.twice(store.Batch{Changes: []store.Change{b}})
		}
	}},
	{"a change committed again after later versions is done, without effect", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		c := next(b, store.Answered)
		f.do(a, b, c)
		f.do(a, b, c, a)
		f.holds(made(a, b, c))
		f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2", 3, "chunk 3")
	}},
	{"a chunk once written is never written again", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		f.do(a, b)
		other, more := a, b
		other.Chunk, more.Chunk = []byte("other"), []byte("other")
		f.do(other, more)
		f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
	}},
	{"a forget committed again is done", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		b.Forget = true
		f.do(a)
		f.twice(store.Batch{Changes: []store.Change{b}})
		f.gone(a.Key)
	}},
	{"children committed again are done", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("b"), child("c")}
		f.twice(store.Batch{Changes: []store.Change{a}})
		b := next(a, store.Running)
		b.Children = []store.Child{child("d")}
		f.twice(store.Batch{Changes: []store.Change{b}})
	}},
	{"a change committed again does not bring back its children", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("b")}
		f.do(a)
		forget := store.Change{Key: a.Children[0].Key, Run: 9, Version: 2, Forget: true}
		f.do(forget, a)
		f.gone(forget.Key)
	}},
	{"a change committed again does not mind that a child's key has gone to another", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("b")}
		f.do(a)
		f.do(store.Change{Key: a.Children[0].Key, Run: 9, Version: 2, Forget: true})
		other := begin("b")
		other.Key = a.Children[0].Key
		f.do(other, a)
		f.holds(made(other))
	}},
	{"a change of an acknowledged record committed again is done, and the outcome stays dropped", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Answered)
		f.do(a)
		f.twice(store.Batch{Changes: []store.Change{b}, Acks: []store.Ack{{Key: a.Key, At: 50}}})
		f.do(a, b)
		if got := f.read(a.Key); got.State != store.Acknowledged || len(got.Tail) > 0 {
			f.Errorf("got %s, want it acknowledged", show(got))
		}
		f.oplog(a.Key)
	}},
	{"an insert committed again is done when the floor has risen above its At", func(f *fixture) {
		a := begin("a")
		a.At, a.Certified = 100, true
		f.do(a)
		f.commit(store.Batch{Floor: 200})
		f.do(a)
		f.holds(made(a))
	}},
	{"a stale insert committed again is stale", func(f *fixture) {
		a := begin("a")
		a.At = 100
		if got := f.twice(store.Batch{Floor: 100, Changes: []store.Change{a}}).Results[0].Status; got != store.Stale {
			f.Errorf("status %d, want stale", got)
		}
	}},
	{"facts, acks and the floor committed again have no further effect", func(f *fixture) {
		a := begin("a")
		a.State, a.Certified = store.Answered, true
		f.do(a)
		f.twice(store.Batch{
			Floor: 10, Acks: []store.Ack{{Key: a.Key, At: 20}},
			Facts: []store.Fact{{Name: "a", Value: []byte("1")}, {Name: "b"}},
		})
	}},
	{"a sweep passes over what its batch changed, so that the batch can be committed again", func(f *fixture) {
		clock, floor, acked, inserted := begin("clock"), begin("floor"), begin("acked"), begin("inserted")
		floor.Certified, acked.Certified = true, true
		f.do(clock, floor, acked)
		b := store.Batch{Now: 9000, Floor: 9000, Sweep: 100, Acks: []store.Ack{{Key: acked.Key, At: 1}}}
		for _, c := range []store.Change{clock, floor, acked} {
			b.Changes = append(b.Changes, next(c, store.Answered))
		}
		inserted.State = store.Answered
		b.Changes = append(b.Changes, inserted)
		if report := f.twice(b); report.Swept != 0 {
			f.Errorf("swept %d", report.Swept)
		}
		if got := f.commit(store.Batch{Now: 9000, Sweep: 100}).Swept; got != 4 {
			f.Errorf("the next sweep deleted %d, want 4", got)
		}
	}},
	{"a sweep that passes over changes still finds the rest", func(f *fixture) {
		f.do(ended("c"), ended("d"))
		a, b := ended("a"), ended("b")
		a.Bound, b.Bound = 1, 1
		if got := f.commit(store.Batch{Now: 9000, Sweep: 2, Changes: []store.Change{a, b}}).Swept; got != 2 {
			f.Errorf("swept %d, want 2", got)
		}
		f.gone(store.Key{Scope: "scope", ID: "c"})
	}},
	{"a batch committed again after a crash is done", func(f *fixture) {
		a, b := begin("a"), begin("b")
		a.Children = []store.Child{child("c")}
		f.do(b)
		batch := store.Batch{Changes: []store.Change{a, next(b, store.Answered)}, Facts: []store.Fact{{Name: "f", Value: []byte("v")}}}
		f.commit(batch)
		f.crash()
		f.twice(batch)
	}},
}
