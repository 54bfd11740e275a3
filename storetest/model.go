package storetest

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/certifiedhttp/chttp/store"
)

// model says what a store does in as few words as possible: a change is tried on a copy, and the copy is kept if it was done.
type model struct {
	floor   int64
	records map[store.Key]*store.Record
	chunks  map[store.Key][]store.Chunk // the whole oplog, number 1 included
	facts   map[string][]byte
}

func (m *model) clone() *model {
	return &model{m.floor, maps.Clone(m.records), maps.Clone(m.chunks), maps.Clone(m.facts)}
}

// commit does everything in b but its sweep.
func (m *model) commit(b *store.Batch) []store.Result {
	m.floor = max(m.floor, b.Floor)
	var results []store.Result
	for _, c := range b.Changes {
		trial := m.clone()
		status, key := trial.change(c)
		result := store.Result{Status: status}
		switch status {
		case store.Done:
			*m = *trial
		case store.Conflict:
			result.Key, result.Stored = key, m.records[key]
		}
		results = append(results, result)
	}
	for _, a := range b.Acks {
		m.ack(a)
	}
	for _, f := range b.Facts {
		if f.Value == nil {
			delete(m.facts, f.Name)
		} else {
			m.facts[f.Name] = f.Value
		}
	}
	return results
}

func (m *model) change(c store.Change) (store.Status, store.Key) {
	old := m.records[c.Key]
	isNext := old != nil && old.Run == c.Run && old.Version == c.Version-1 && !old.State.Finished()
	switch {
	case c.Forget && old == nil:
		return store.Done, c.Key
	case c.Forget && isNext:
		delete(m.records, c.Key)
		delete(m.chunks, c.Key)
		return store.Done, c.Key
	case c.Forget:
		return store.Conflict, c.Key
	case old != nil && old.Run == c.Run && old.Version >= c.Version:
		return store.Done, c.Key
	case c.Version == 1 && c.At != 0 && c.At <= m.floor:
		return store.Stale, c.Key
	case c.Version == 1 && old == nil:
		m.records[c.Key] = made(c)
	case isNext:
		r := made(c)
		r.Function, r.Created, r.Certified, r.Print, r.Oplog = old.Function, old.Created, old.Certified, old.Print, old.Oplog
		r.Head = nil
		if !c.DropHead {
			r.Head = old.Head
		}
		m.records[c.Key] = r
	default:
		return store.Conflict, c.Key
	}
	if len(c.Chunk) > 0 {
		m.chunks[c.Key] = append(slices.Clip(m.chunks[c.Key]), store.Chunk{Number: c.Version, Data: c.Chunk})
	}
	for _, child := range c.Children {
		taken := m.records[child.Key]
		if taken != nil && !bytes.Equal(taken.Print, child.Print) {
			return store.Conflict, child.Key
		}
		if taken == nil {
			m.records[child.Key] = born(child)
		}
	}
	return store.Done, c.Key
}

func (m *model) ack(a store.Ack) {
	old := m.records[a.Key]
	if old == nil || !old.State.Finished() {
		return
	}
	r := *old
	if r.Certified && (r.State != store.Acknowledged || a.At > r.Bound) {
		r.Bound = a.At
	}
	r.State, r.Head, r.Tail, r.Oplog = store.Acknowledged, nil, nil, nil
	m.records[a.Key] = &r
	delete(m.chunks, a.Key)
}

// reached are the keys that a sweep of b may delete.
func (m *model) reached(b *store.Batch) []store.Key {
	var keys []store.Key
	for key, r := range m.records {
		limit := b.Now
		if r.Certified {
			limit = m.floor
		}
		changed := slices.ContainsFunc(b.Changes, func(c store.Change) bool { return c.Key == key })
		if r.State.Finished() && r.Bound <= limit && !changed {
			keys = append(keys, key)
		}
	}
	return keys
}

// everything is what the store should hold.
func (m *model) everything() everything {
	var all everything
	all.records = slices.SortedFunc(maps.Values(m.records), func(a, b *store.Record) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Scope, b.Scope))
	})
	for _, r := range all.records {
		all.chunks = append(all.chunks, m.chunks[r.Key])
	}
	for name, value := range m.facts {
		all.facts = append(all.facts, store.Fact{Name: name, Value: value})
	}
	sortFacts(all.facts)
	return all
}

// due is what the store should find due.
func (m *model) due() []string {
	var records []*store.Record
	for _, r := range m.records {
		if r.State == store.Running || r.State == store.Waiting {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b *store.Record) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Scope, b.Scope))
	})
	return ids(records)
}

// checkModel drives a store and the model with the same batches and compares everything after every other.
func checkModel(t *testing.T, open func(t *testing.T) store.Store, reopen func(t *testing.T, s store.Store) store.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		f := &fixture{tb: rt, t: t, s: open(t), reopen: reopen}
		defer func() { f.end() }()
		f.join(0)
		m := &model{records: map[store.Key]*store.Record{}, chunks: map[store.Key][]store.Chunk{}, facts: map[string][]byte{}}
		var last store.Batch
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				last = drawBatch(rt, m)
				f.both(m, last)
			},
			"commit again": func(rt *rapid.T) {
				if rapid.IntRange(0, 5).Draw(rt, "crash before") == 0 { // rarely: to open a store can take long
					f.crash()
				}
				f.both(m, last)
				f.compare(f.everything(), m.everything())
			},
			"": func(*rapid.T) {
				f.dues(store.Cursor{}, 1000, m.due()...)
			},
		})
		f.compare(f.everything(), m.everything())
	})
}

// both commits b to the store and the model and compares the reports.
func (f *fixture) both(m *model, b store.Batch) {
	f.Helper()
	report := f.commit(b)
	for i, want := range m.commit(&b) {
		got := report.Results[i]
		if got.Status != want.Status || want.Status == store.Conflict && (got.Key != want.Key || !same(got.Stored, want.Stored)) {
			f.Fatalf("change %d: got %d %v %s, want %d %v %s", i, got.Status, got.Key, show(got.Stored), want.Status, want.Key, show(want.Stored))
		}
	}
	if report.Floor != m.floor {
		f.Fatalf("floor %d, want %d", report.Floor, m.floor)
	}
	reached := m.reached(&b)
	if want := min(len(reached), b.Sweep); report.Swept != want {
		f.Fatalf("swept %d, want %d", report.Swept, want)
	}
	for _, key := range reached {
		if f.read(key) == nil && report.Swept > 0 { // the store's choice
			report.Swept--
			delete(m.records, key)
			delete(m.chunks, key)
		}
	}
}

// drawBatch draws a batch in which much is possible: few keys, runs and times, and often the next version of what is there.
func drawBatch(rt *rapid.T, m *model) store.Batch {
	times := rapid.Int64Range(0, 12)
	b := store.Batch{
		Now:   times.Draw(rt, "now"),
		Floor: m.floor + rapid.Int64Range(-2, 1).Draw(rt, "rise"),
		Sweep: rapid.IntRange(0, 3).Draw(rt, "sweep"),
	}
	forgotten := map[store.Key]bool{}
	for _, key := range rapid.SliceOfNDistinct(drawKey, 0, 4, rapid.ID).Draw(rt, "changed") {
		c := drawChange(rt, m, key)
		forgotten[key] = c.Forget
		b.Changes = append(b.Changes, c)
	}
	for i := range b.Changes {
		b.Changes[i].Children = slices.DeleteFunc(b.Changes[i].Children, func(c store.Child) bool { return forgotten[c.Key] })
	}
	for _, key := range rapid.SliceOfN(drawKey, 0, 2).Draw(rt, "acked") {
		b.Acks = append(b.Acks, store.Ack{Key: key, At: times.Draw(rt, "ack at")})
	}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(rt, "facts") {
		b.Facts = append(b.Facts, store.Fact{Name: name, Value: rapid.SampledFrom([][]byte{nil, {}, {1}}).Draw(rt, "value")})
	}
	return b
}

var drawKey = rapid.Custom(func(rt *rapid.T) store.Key {
	return store.Key{
		Scope: rapid.SampledFrom([]string{"", "s"}).Draw(rt, "scope"),
		ID:    rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "id"),
	}
})

func drawChange(rt *rapid.T, m *model, key store.Key) store.Change {
	times := rapid.Int64Range(0, 12)
	bytesOf := rapid.SampledFrom([][]byte{nil, {}, []byte("p"), []byte("\x00q")})
	c := store.Change{
		Key: key, Run: rapid.Uint64Range(1, 2).Draw(rt, "run"), Version: rapid.IntRange(1, 4).Draw(rt, "version"),
		Forget: rapid.IntRange(0, 7).Draw(rt, "forget") == 0, Function: rapid.SampledFrom([]string{"f", "g"}).Draw(rt, "function"),
		Created: times.Draw(rt, "created"), Certified: rapid.Bool().Draw(rt, "certified"),
		Print: bytesOf.Draw(rt, "print"), Head: bytesOf.Draw(rt, "head"),
		State: store.State(rapid.Uint8Range(uint8(store.Running), uint8(store.Canceled)).Draw(rt, "state")),
		Due:   times.Draw(rt, "due"), Bound: times.Draw(rt, "bound"), Tail: bytesOf.Draw(rt, "tail"),
		DropHead: rapid.Bool().Draw(rt, "drop"), Chunk: bytesOf.Draw(rt, "chunk"),
	}
	if rapid.Bool().Draw(rt, "young") {
		c.At = m.floor + rapid.Int64Range(-1, 2).Draw(rt, "at")
	}
	if old := m.records[key]; rapid.IntRange(0, 3).Draw(rt, "fitting") > 0 {
		if c.Version = 1; old != nil {
			c.Run, c.Version = old.Run, old.Version+1
		}
	}
	c.Forget = c.Forget && c.Version > 1
	for _, key := range rapid.SliceOfN(drawKey, 0, 2).Draw(rt, "children") {
		c.Children = append(c.Children, store.Child{
			Key: key, Run: 3, Function: "f", State: store.State(rapid.Uint8Range(1, 4).Draw(rt, "child's state")),
			Created: 1, Due: times.Draw(rt, "child's due"), Bound: times.Draw(rt, "child's bound"),
			Print: bytesOf.Draw(rt, "child's print"), Head: []byte("h"),
		})
	}
	return c
}
