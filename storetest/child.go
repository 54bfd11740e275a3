package storetest

import "github.com/certifiedhttp/chttp/store"

var childClaims = []claim{
	{"children begin with an insert and with an update", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("b"), child("c")}
		b := next(a, store.Waiting)
		b.Children = []store.Child{child("d")}
		f.do(a, b)
		for _, id := range []string{"b", "c", "d"} {
			f.holds(born(child(id)))
			f.oplog(store.Key{ID: id})
		}
		f.holds(made(a, b))
	}},
	{"a child goes on as a record of version 1", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("b")}
		f.do(a)
		c := store.Change{Key: a.Children[0].Key, Run: 9, Version: 2, State: store.Answered, Tail: []byte("t"), Chunk: []byte("chunk 2")}
		f.do(c)
		f.oplog(c.Key, 2, "chunk 2")
	}},
	{"a child's key that a record with an equal print has taken is left as it is and counts as done", func(f *fixture) {
		taken := begin("b")
		taken.Key, taken.Print = store.Key{ID: "b"}, child("b").Print
		f.do(taken)
		a := begin("a")
		a.Children = []store.Child{child("b"), child("c")}
		f.do(a)
		f.holds(made(a))
		f.holds(made(taken))
		f.holds(born(child("c")))
	}},
	{"empty prints are equal", func(f *fixture) {
		taken := begin("b")
		taken.Key, taken.Print = store.Key{ID: "b"}, nil
		c := child("b")
		c.Print = []byte{}
		a := begin("a")
		a.Children = []store.Child{c}
		f.do(taken, a)
	}},
	{"an acknowledged record keeps its print for children to compare", func(f *fixture) {
		taken := begin("b")
		taken.Key, taken.Print, taken.State = store.Key{ID: "b"}, child("b").Print, store.Answered
		f.do(taken)
		f.commit(store.Batch{Acks: []store.Ack{{Key: taken.Key}}})
		a := begin("a")
		a.Children = []store.Child{child("b")}
		f.do(a)
	}},
	{"a child's key that a record with another print has taken refuses the insert whole", func(f *fixture) {
		taken := begin("c")
		taken.Key = store.Key{ID: "c"}
		taken.Print = []byte("another")
		f.do(taken)
		a := begin("a")
		a.Children = []store.Child{child("b"), child("c"), child("d")}
		f.refused(a, taken.Key, made(taken))
		f.gone(a.Key)
		f.gone(store.Key{ID: "b"})
		f.gone(store.Key{ID: "d"})
		f.holds(made(taken))
	}},
	{"a child's key that a record with another print has taken refuses the update whole", func(f *fixture) {
		taken := begin("c")
		taken.Key = store.Key{ID: "c"}
		a := begin("a")
		f.do(taken, a)
		b := next(a, store.Answered)
		b.DropHead = true
		b.Children = []store.Child{child("b"), child("c")}
		b.Children[1].Print = nil
		f.refused(b, taken.Key, made(taken))
		f.holds(made(a))
		f.oplog(a.Key, 1, "chunk 1")
		f.gone(store.Key{ID: "b"})
	}},
	{"a change refused for a child leaves the others of its batch alone", func(f *fixture) {
		taken := begin("t")
		taken.Key, taken.Print = store.Key{ID: "t"}, []byte("another")
		old := begin("old")
		f.do(taken, old)
		good, bad, last, upd := begin("good"), begin("bad"), begin("last"), next(old, store.Running)
		good.Children = []store.Child{child("g")}
		bad.Children = []store.Child{child("b"), child("t")}
		upd.Children = []store.Child{child("u")}
		last.Children = []store.Child{child("b"), child("l")}
		report := f.commit(store.Batch{
			Floor: 7, Changes: []store.Change{good, bad, upd, last, bad},
			Facts: []store.Fact{{Name: "f", Value: []byte("v")}},
		})
		for i, want := range []store.Status{store.Done, store.Conflict, store.Done, store.Done, store.Conflict} {
			if got := report.Results[i].Status; got != want {
				f.Errorf("result %d: status %d, want %d", i, got, want)
			}
		}
		f.equal("stored", report.Results[1].Stored, made(taken))
		f.gone(bad.Key)
		for _, id := range []string{"g", "u", "b", "l"} {
			f.holds(born(child(id)))
		}
		f.holds(made(old, upd))
		if report.Floor != 7 {
			f.Errorf("floor %d, want 7", report.Floor)
		}
	}},
	{"children of a refused change do not begin", func(f *fixture) {
		a := begin("a")
		f.do(a)
		b, c, d := begin("a"), next(next(a, store.Running), store.Running), begin("d")
		b.Run, d.At = 8, 1
		f.commit(store.Batch{Floor: 5})
		for _, refused := range []store.Change{b, c, d} {
			refused.Children = []store.Child{child("x")}
			if got := f.try(refused).Status; got == store.Done {
				f.Errorf("version %d of %v is done", refused.Version, refused.Key)
			}
			f.gone(store.Key{ID: "x"})
		}
	}},
	{"a child that two changes of a batch begin is one record", func(f *fixture) {
		a, b := begin("a"), begin("b")
		a.Children, b.Children = []store.Child{child("c")}, []store.Child{child("c")}
		b.Children[0].Run = 10
		for i, r := range f.commit(store.Batch{Changes: []store.Change{a, b}}).Results {
			if r.Status != store.Done {
				f.Errorf("change %d: status %d", i, r.Status)
			}
		}
		f.holds(born(child("c")))
	}},
	{"children of one change with one key and two prints are a conflict", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("c"), child("c")}
		f.do(a)
		b := begin("b")
		b.Children = []store.Child{child("d"), child("d")}
		b.Children[1].Print = []byte("another")
		f.refused(b, store.Key{ID: "d"}, nil)
		f.gone(b.Key)
	}},
	{"a child with its parent's key is compared with its parent", func(f *fixture) {
		a := begin("a")
		a.Children = []store.Child{child("a")}
		a.Children[0].Key = a.Key
		f.do(a)
		f.holds(made(a))
		b := begin("b")
		b.Children = []store.Child{child("a")}
		b.Children[0].Key = b.Key
		f.refused(b, b.Key, nil)
		f.gone(b.Key)
	}},
}
