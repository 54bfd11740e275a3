package main

import (
	"fmt"
	"testing"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// shelf is a store into which a test puts records as a node would.
type shelf struct {
	*testing.T
	store.Store
	token   store.Token
	version map[string]int
}

func newShelf(t *testing.T) *shelf {
	st := memstore.New()
	id, err := st.Join(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return &shelf{t, st, id.Token, map[string]int{}}
}

func (s *shelf) put(id string, state store.State, tail *record.Tail) {
	s.Helper()
	s.version[id]++
	c := store.Change{Key: store.Key{ID: id}, Run: 1, Version: s.version[id], Function: "chttp.send", State: state}
	if tail != nil {
		c.Tail = tail.Append(nil)
	}
	r, err := s.Commit(s.Context(), &store.Batch{Token: s.token, Changes: []store.Change{c}})
	if err != nil || r.Results[0].Status != store.Done {
		s.Fatalf("put %s: %v %+v", id, err, r)
	}
}

func TestTrackerCountsEachMessageOnceInAnyOrder(t *testing.T) {
	s, b := newShelf(t), &batch{name: "b"}
	const n = 1700
	s.put("a", store.Answered, nil)
	s.put("b", store.Answered, nil)
	s.put("c", store.Answered, nil)
	tr := newTracker(s, b)
	for i := range n {
		s.put(b.id(i), store.Running, nil)
	}
	look := func() {
		t.Helper()
		for range n / trackPage * 2 {
			if err := tr.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	look()
	if tr.finished() != 0 {
		t.Fatalf("%d finished, want 0", tr.finished())
	}
	end := func(i int) {
		t.Helper()
		switch {
		case i%100 == 7:
			s.put(b.id(i), store.Rejected, &record.Tail{Response: &record.Response{Status: 400, Body: []byte("no")}})
		case i%100 == 8:
			s.put(b.id(i), store.Parked, &record.Tail{Why: "an operator must look"})
		default:
			s.put(b.id(i), store.Answered, &record.Tail{Response: &record.Response{Status: 201}})
		}
	}
	for i := n - 1; i >= n/2; i-- { // the last first
		end(i)
	}
	look()
	if got, want := tr.finished(), n/2; got != want {
		t.Errorf("%d finished, want %d", got, want)
	}
	for i := range n / 2 {
		end(i)
		if i%50 == 0 {
			look()
		}
	}
	look()
	want := map[store.State]int{store.Answered: n - 34, store.Rejected: 17, store.Parked: 17}
	if fmt.Sprint(tr.ended) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", tr.ended, want)
	}
	if tr.status[201] != n-34 || tr.status[400] != 17 {
		t.Errorf("statuses are %v", tr.status)
	}
	if len(tr.failed) != trackFailed || tr.bad() != 34 {
		t.Errorf("%d of %d failures are told", len(tr.failed), tr.bad())
	}
}

func TestTrackerTellsWhyAMessageFailed(t *testing.T) {
	for _, c := range []struct {
		state store.State
		tail  *record.Tail
		want  string
	}{
		{store.Rejected, &record.Tail{Response: &record.Response{Status: 422, Body: []byte("bad\nlamp")}}, "rejected 422: bad lamp"},
		{store.Rejected, &record.Tail{Response: &record.Response{Status: 404}}, "rejected 404: Not Found"},
		{store.Undelivered, &record.Tail{Err: &record.Error{Text: "nobody answered"}}, "undelivered: nobody answered"},
		{store.Unknown, nil, "unknown"},
		{store.Parked, &record.Tail{Why: "paused"}, "parked: paused"},
	} {
		s, b := newShelf(t), &batch{name: "b"}
		s.put(b.id(12), c.state, c.tail)
		tr := newTracker(s, b)
		if err := tr.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(tr.failed) != 1 || tr.failed[0].String() != c.want || tr.failed[0].Line != 12 {
			t.Errorf("got %+v, want %q of line 12", tr.failed, c.want)
		}
	}
}
