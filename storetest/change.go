package storetest

import (
	"bytes"
	"fmt"

	"github.com/certifiedhttp/chttp/store"
)

var changeClaims = []claim{
	{"an insert stores every field", func(f *fixture) {
		c := begin("a")
		c.Certified = true
		f.do(c)
		f.holds(made(c))
		f.oplog(c.Key, 1, "chunk 1")
	}},
	{"a record may begin in any state", func(f *fixture) {
		for _, state := range append(unfinished, finished...) {
			c := begin(state.String())
			c.State = state
			f.do(c)
			f.holds(made(c))
		}
	}},
	{"an update stores the new values and keeps what an insert set", func(f *fixture) {
		a := begin("a")
		b := store.Change{
			Key: a.Key, Run: a.Run, Version: 2, State: store.Waiting, Due: 5, Bound: 6, Tail: []byte("new"),
			Function: "ignored", Created: 1, Certified: true, Print: []byte("ignored"), Head: []byte("ignored"),
		}
		f.do(a, b)
		f.holds(made(a, b))
	}},
	{"an update takes values away", func(f *fixture) {
		a := begin("a")
		b := store.Change{Key: a.Key, Run: a.Run, Version: 2, State: store.Waiting}
		f.do(a, b)
		f.holds(made(a, b))
	}},
	{"an update may drop the head and an insert may not", func(f *fixture) {
		a := begin("a")
		a.DropHead = true
		f.do(a)
		want := begin("a")
		f.holds(made(want))
		b := next(a, store.Answered)
		b.DropHead = true
		f.do(b)
		f.holds(made(want, b))
	}},
	{"a chunk has the number of the version that brought it", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		b.Chunk = nil
		c := next(b, store.Running)
		d := next(c, store.Answered)
		f.do(a, b, c, d)
		f.oplog(a.Key, 1, "chunk 1", 3, "chunk 3", 4, "chunk 4")
		if got := f.read(a.Key); string(got.Oplog) != "chunk 1" {
			f.Errorf("the record holds %q, want chunk number 1", got.Oplog)
		}
	}},
	{"an oplog may begin later than its record", func(f *fixture) {
		a := begin("a")
		a.Chunk = nil
		f.do(a)
		f.oplog(a.Key)
		f.do(next(a, store.Running))
		f.oplog(a.Key, 2, "chunk 2")
	}},
	{"an insert of a taken key is a conflict with what is stored", func(f *fixture) {
		a, b := begin("a"), begin("a")
		b.Run = 8
		f.do(a)
		f.refused(b, a.Key, made(a))
		f.holds(made(a))
	}},
	{"an update of a missing record is a conflict and makes none", func(f *fixture) {
		a := next(begin("a"), store.Running)
		f.refused(a, a.Key, nil)
		f.gone(a.Key)
	}},
	{"an update of another run is a conflict", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Answered)
		b.Run = 8
		f.do(a)
		f.refused(b, a.Key, made(a))
		f.holds(made(a))
		f.oplog(a.Key, 1, "chunk 1")
	}},
	{"an update that skips a version is a conflict", func(f *fixture) {
		a := begin("a")
		c := next(next(a, store.Running), store.Running)
		f.do(a)
		f.refused(c, a.Key, made(a))
		f.holds(made(a))
		f.oplog(a.Key, 1, "chunk 1")
	}},
	{"an update of a finished record is a conflict", func(f *fixture) {
		for _, state := range finished {
			a := begin(state.String())
			a.State = state
			f.do(a)
			f.refused(next(a, store.Running), a.Key, made(a))
			f.holds(made(a))
		}
	}},
	{"an update of a parked or waiting record is done", func(f *fixture) {
		for _, state := range unfinished {
			a := begin(state.String())
			a.State = state
			b := next(a, store.Running)
			f.do(a, b)
			f.holds(made(a, b))
		}
	}},
	{"runs are compared in all their bits", func(f *fixture) {
		a := begin("a")
		a.Run = 1<<63 + 1
		b := next(a, store.Running)
		b.Run = 1
		f.do(a)
		f.refused(b, a.Key, made(a))
		b.Run = a.Run
		f.do(b)
		f.holds(made(a, b))
	}},
	{"the same id in two scopes is two records", func(f *fixture) {
		a, b := begin("a"), begin("a")
		b.Key.Scope, b.Run = "", 8
		f.do(a, b, next(a, store.Answered))
		f.holds(made(b))
		f.oplog(b.Key, 1, "chunk 1")
		f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
	}},
	{"a forgotten record and its chunks are gone", func(f *fixture) {
		for _, state := range unfinished {
			a := begin(state.String())
			b := next(a, state)
			c := next(b, store.Running)
			c.Forget = true
			f.do(a, b, c)
			f.gone(a.Key)
			a.Run = 8
			a.Chunk = nil
			f.do(a)
			f.oplog(a.Key) // none of the old ones
		}
	}},
	{"a forgotten record may have had one version", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		b.Forget = true
		f.do(a, b)
		f.gone(a.Key)
	}},
	{"forgetting another run, another version or a finished record is a conflict", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Running)
		f.do(a, b)
		forget := next(b, store.Running)
		forget.Forget = true
		other, early, late := forget, forget, forget
		other.Run, early.Version, late.Version = 8, 2, 4
		for _, c := range []store.Change{other, early, late} {
			f.refused(c, a.Key, made(a, b))
		}
		f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
		c := next(b, store.Answered)
		f.do(c)
		forget.Version = 4
		f.refused(forget, a.Key, made(a, b, c))
	}},
	{"nothing else counts in a change that forgets", func(f *fixture) {
		a := begin("a")
		f.do(a)
		b := next(a, store.Answered)
		b.Forget, b.Children = true, []store.Child{child("c")}
		f.do(b)
		f.gone(a.Key)
		f.gone(store.Key{ID: "c"})
	}},
	{"a run cannot touch what came in its place", func(f *fixture) {
		a := begin("a")
		forget := next(a, store.Running)
		forget.Forget = true
		f.do(a, forget)
		b := begin("a")
		b.Run = 8
		f.do(b)
		f.refused(next(a, store.Answered), a.Key, made(b))
		f.refused(forget, a.Key, made(b))
		f.holds(made(b))
	}},
	{"a refused change leaves the others of its batch alone, and results are in the order of the changes", func(f *fixture) {
		f.do(begin("taken"))
		var b store.Batch
		for i := range 40 {
			c := begin(fmt.Sprint(40 - i))
			switch i % 4 {
			case 1:
				c.Version = 2 // missing
			case 2:
				c.Key.ID, c.Run = "taken", uint64(100+i)
			case 3:
				c.At = 1 // stale
			}
			b.Changes = append(b.Changes, c)
		}
		b.Floor = 5
		report := f.commit(b)
		for i, got := range report.Results {
			c := b.Changes[i]
			want := [...]store.Status{store.Done, store.Conflict, store.Conflict, store.Stale}[i%4]
			if got.Status != want || want == store.Conflict && got.Key != c.Key || (got.Stored != nil) != (i%4 == 2) {
				f.Errorf("result %d: got status %d about %v with %v, want status %d", i, got.Status, got.Key, got.Stored, want)
			}
			if want == store.Done {
				f.holds(made(c))
			}
			if i%4%2 == 1 {
				f.gone(c.Key)
			}
		}
	}},
	{"keys and values are bytes of any kind", func(f *fixture) {
		odd := []string{"\x00", "a\x00b", "\xff\xfe", "é", "e\u0301", "'; DROP TABLE", "a/b?c#d%20", "\u2028", "A", " ", "\n", "%", "_"}
		for _, id := range odd {
			for _, scope := range append([]string{""}, odd...) {
				c := begin("x")
				c.Key, c.Function = store.Key{Scope: scope, ID: id}, id+scope
				c.Print, c.Head, c.Tail, c.Chunk = []byte(id), []byte(scope), []byte(id+scope), []byte(scope+id)
				if got := f.try(c); got.Status != store.Done {
					f.Fatalf("%q in %q: status %d", id, scope, got.Status)
				}
				f.holds(made(c))
				f.oplog(c.Key, 1, scope+id)
			}
		}
	}},
	{"values may be empty and are not the values of others", func(f *fixture) {
		a := store.Change{
			Key: store.Key{ID: "a"}, Run: 1, Version: 1, State: store.Running,
			Print: []byte{}, Head: []byte{}, Tail: []byte{}, Chunk: []byte{},
		}
		f.do(a)
		f.holds(made(a))
		f.oplog(a.Key)
	}},
	{"values may be a mebibyte", func(f *fixture) {
		big := bytes.Repeat([]byte("0123456789abcde\x00"), 1<<16)
		a := begin("a")
		a.Head, a.Chunk, a.Tail = big, big, big
		b := next(a, store.Answered)
		b.Chunk = big
		f.do(a, b)
		f.holds(made(a, b))
		f.oplog(a.Key, 1, string(big), 2, string(big))
	}},
	{"times may be of any size", func(f *fixture) {
		a := begin("a")
		a.Created, a.Due, a.Bound = 0, 1<<62, 1<<63-1
		f.do(a)
		f.holds(made(a))
	}},
}
