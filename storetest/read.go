package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/certifiedhttp/chttp/store"
)

// ids returns what a query found, as scope/id.
func ids(records []*store.Record) []string {
	var got []string
	for _, r := range records {
		got = append(got, r.Scope+"/"+r.ID)
	}
	return got
}

func (f *fixture) lists(q store.Query, want ...string) {
	f.Helper()
	records, err := f.s.List(ctx, q)
	if err != nil {
		f.Fatalf("list %+v: %v", q, err)
	}
	if got := ids(records); !slices.Equal(got, want) {
		f.Errorf("list %+v: got %q, want %q", q, got, want)
	}
}

func (f *fixture) dues(after store.Cursor, limit int, want ...string) []*store.Record {
	f.Helper()
	records, err := f.s.Due(ctx, after, limit)
	if err != nil {
		f.Fatalf("due: %v", err)
	}
	if got := ids(records); !slices.Equal(got, want) {
		f.Errorf("due after %+v: got %q, want %q", after, got, want)
	}
	return records
}

// add inserts a record of the state and time.
func (f *fixture) add(scope, id string, state store.State, due int64, function string) store.Change {
	f.Helper()
	c := begin(id)
	c.Key.Scope, c.State, c.Due, c.Function = scope, state, due, function
	f.do(c)
	return c
}

var readClaims = []claim{
	{"a missing record is not found and has no chunks", func(f *fixture) {
		_, err := f.s.Read(ctx, store.Key{ID: "a"})
		if !errors.Is(err, store.ErrNotFound) {
			f.Errorf("got %v, want %v", err, store.ErrNotFound)
		}
		f.oplog(store.Key{ID: "a"})
	}},
	{"due lists what is running or waiting in the order of time, id and scope", func(f *fixture) {
		f.add("", "c", store.Running, 20, "f")
		f.add("y", "b", store.Waiting, 20, "f")
		f.add("x", "b", store.Running, 20, "f")
		f.add("", "z", store.Waiting, 10, "f")
		f.add("", "p", store.Parked, 1, "f")
		for _, state := range finished {
			f.add("", state.String(), state, 1, "f")
		}
		got := f.dues(store.Cursor{}, 100, "/z", "x/b", "y/b", "/c")
		c := begin("b")
		c.Key.Scope, c.Due, c.Function = "x", 20, "f"
		f.equal("due record", got[1], made(c))
	}},
	{"due begins behind the cursor and keeps to the limit", func(f *fixture) {
		f.add("", "a", store.Running, 0, "f")
		f.add("s", "a", store.Running, 0, "f")
		f.add("", "b", store.Running, 0, "f")
		f.add("", "a2", store.Waiting, 7, "f")
		want := []string{"/a", "s/a", "/b", "/a2"}
		var cursor store.Cursor
		for i := range want {
			r := f.dues(cursor, 1, want[i])
			f.dues(cursor, 3, want[i:min(i+3, len(want))]...)
			cursor = store.Cursor{Due: r[0].Due, Key: r[0].Key}
		}
		f.dues(cursor, 10)
		f.dues(store.Cursor{Due: 6, Key: store.Key{ID: "zzz"}}, 10, "/a2")
		f.dues(store.Cursor{}, 0)
	}},
	{"due follows every change", func(f *fixture) {
		a := f.add("", "a", store.Running, 10, "f")
		b := next(a, store.Waiting)
		b.Due = 30
		f.add("", "m", store.Running, 20, "f")
		f.do(b)
		f.dues(store.Cursor{}, 10, "/m", "/a")
		c := next(b, store.Parked)
		f.do(c)
		f.dues(store.Cursor{}, 10, "/m")
		d := next(c, store.Running)
		f.do(d)
		f.dues(store.Cursor{}, 10, "/m", "/a")
		f.do(next(d, store.Answered))
		f.dues(store.Cursor{}, 10, "/m")
	}},
	{"list is in the order of id and scope, and whole", func(f *fixture) {
		f.add("y", "b", store.Answered, 1, "f")
		f.add("x", "b", store.Running, 1, "f")
		f.add("z", "a", store.Parked, 1, "f")
		c := f.add("", "c", store.Unknown, 1, "f")
		f.lists(store.Query{}, "z/a", "x/b", "y/b", "/c")
		records, _ := f.s.List(ctx, store.Query{ID: "c"})
		f.equal("listed record", records[0], made(c))
	}},
	{"keys are ordered by their bytes", func(f *fixture) {
		for _, id := range []string{"b", "B", "a\x00", "a", "\xff", "é", "ab"} {
			f.add("", id, store.Running, 1, "f")
		}
		f.lists(store.Query{}, "/B", "/a", "/a\x00", "/ab", "/b", "/é", "/\xff")
		f.dues(store.Cursor{}, 10, "/B", "/a", "/a\x00", "/ab", "/b", "/é", "/\xff")
	}},
	{"list selects by id, states and function, all of them together", func(f *fixture) {
		f.add("x", "a", store.Running, 1, "f")
		f.add("y", "a", store.Parked, 1, "g")
		f.add("", "aa", store.Parked, 1, "f")
		f.add("", "b", store.Answered, 1, "g")
		f.lists(store.Query{ID: "a"}, "x/a", "y/a")
		f.lists(store.Query{ID: "%"})
		f.lists(store.Query{States: []store.State{store.Parked}}, "y/a", "/aa")
		f.lists(store.Query{States: []store.State{store.Parked, store.Answered}}, "y/a", "/aa", "/b")
		f.lists(store.Query{Function: "g"}, "y/a", "/b")
		f.lists(store.Query{Function: "G"})
		f.lists(store.Query{Function: "g", States: []store.State{store.Answered}}, "/b")
		f.lists(store.Query{ID: "a", Function: "g", States: []store.State{store.Running}})
	}},
	{"list goes on behind a key and keeps to the limit", func(f *fixture) {
		f.add("x", "a", store.Running, 1, "f")
		f.add("y", "a", store.Running, 1, "f")
		f.add("", "b", store.Parked, 1, "f")
		f.add("", "c", store.Running, 1, "f")
		f.lists(store.Query{Limit: 2}, "x/a", "y/a")
		f.lists(store.Query{After: store.Key{Scope: "y", ID: "a"}, Limit: 2}, "/b", "/c")
		f.lists(store.Query{After: store.Key{ID: "a"}, Limit: 1}, "x/a")
		f.lists(store.Query{After: store.Key{Scope: "x", ID: "a"}, States: []store.State{store.Running}}, "y/a", "/c")
		f.lists(store.Query{After: store.Key{ID: "c"}})
	}},
	{"list returns 100 records when it is not told how many", func(f *fixture) {
		var b store.Batch
		for i := range 120 {
			b.Changes = append(b.Changes, begin(fmt.Sprint(i)))
		}
		f.commit(b)
		records, err := f.s.List(ctx, store.Query{})
		if err != nil || len(records) != 100 {
			f.Errorf("%d records, %v", len(records), err)
		}
	}},
	{"what a call returns is the caller's own", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		f.do(a, b)
		f.commit(store.Batch{Facts: []store.Fact{{Name: "f", Value: []byte("value")}}})
		spoil := func(r *store.Record) {
			for _, p := range [][]byte{r.Print, r.Head, r.Oplog, r.Tail} {
				clear(p)
			}
			r.State = store.Canceled
		}
		listed, _ := f.s.List(ctx, store.Query{})
		due, _ := f.s.Due(ctx, store.Cursor{}, 1)
		chunks, _ := f.s.Chunks(ctx, a.Key)
		facts, _ := f.s.Facts(ctx)
		other := begin("a")
		other.Run = 8
		spoil(f.try(other).Stored)
		spoil(f.read(a.Key))
		spoil(listed[0])
		spoil(due[0])
		for _, c := range chunks {
			clear(c.Data)
		}
		clear(facts[0].Value)
		clear(f.id.Secret)
		f.holds(made(a, b))
		f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
		f.factsAre("f=value")
		f.join(0)
		if slices.Equal(f.id.Secret, make([]byte, len(f.id.Secret))) {
			f.Errorf("the secret was the store's own")
		}
	}},
}

func sortFacts(facts []store.Fact) {
	slices.SortFunc(facts, func(a, b store.Fact) int { return strings.Compare(a.Name, b.Name) })
}

func sameFacts(a, b []store.Fact) bool {
	return slices.EqualFunc(a, b, func(x, y store.Fact) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

func sameChunks(a, b []store.Chunk) bool {
	return slices.EqualFunc(a, b, func(x, y store.Chunk) bool { return x.Number == y.Number && bytes.Equal(x.Data, y.Data) })
}

// factsAre checks all facts, given as name=value.
func (f *fixture) factsAre(want ...string) {
	f.Helper()
	facts, err := f.s.Facts(ctx)
	if err != nil {
		f.Fatalf("facts: %v", err)
	}
	sortFacts(facts)
	var got []string
	for _, fact := range facts {
		got = append(got, fact.Name+"="+string(fact.Value))
	}
	if !slices.Equal(got, want) {
		f.Errorf("facts: got %q, want %q", got, want)
	}
}

var factClaims = []claim{
	{"facts are set, replaced and deleted", func(f *fixture) {
		f.factsAre()
		f.commit(store.Batch{Facts: []store.Fact{{Name: "a", Value: []byte("1")}, {Name: "b", Value: []byte("2")}}})
		f.commit(store.Batch{Facts: []store.Fact{{Name: "b", Value: []byte("3")}, {Name: "c", Value: []byte("4")}, {Name: "missing"}}})
		f.factsAre("a=1", "b=3", "c=4")
		f.commit(store.Batch{Facts: []store.Fact{{Name: "a"}}})
		f.factsAre("b=3", "c=4")
		f.crash()
		f.factsAre("b=3", "c=4")
	}},
	{"the last of a batch's facts of one name counts", func(f *fixture) {
		f.commit(store.Batch{Facts: []store.Fact{{Name: "a", Value: []byte("1")}, {Name: "a"}, {Name: "a", Value: []byte("2")}}})
		f.factsAre("a=2")
	}},
	{"a fact may be empty, and comes back as a value that sets it again", func(f *fixture) {
		f.commit(store.Batch{Facts: []store.Fact{{Name: "", Value: []byte{}}, {Name: "a\x00\xff", Value: []byte("\x00")}}})
		f.factsAre("=", "a\x00\xff=\x00")
		facts, err := f.s.Facts(ctx)
		if err != nil {
			f.Fatalf("facts: %v", err)
		}
		f.commit(store.Batch{Facts: facts})
		f.factsAre("=", "a\x00\xff=\x00")
	}},
}
