package storetest

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/certifiedhttp/chttp/store"
)

// RunReader proves that a store that is open for reading only lets others look, and changes nothing. open is Run's. reader opens what s
// holds for reading, while s stays in use. RunReader closes the stores.
func RunReader(t *testing.T, open func(t *testing.T) store.Store, reader func(t *testing.T, s store.Store) store.Store) {
	for _, c := range readerClaims {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			if c.unjoined {
				c.prove(&fixture{tb: t, t: t, s: s}, reader(t, s))
				return
			}
			f := newFixture(t, s, nil)
			f.commit(store.Batch{Floor: 12, Changes: []store.Change{begin("a")}, Facts: []store.Fact{{Name: "f", Value: []byte("v")}}})
			r := reader(t, s)
			defer r.Close()
			c.prove(f, r)
		})
	}
}

// readerClaims are proved with a store that is in use, and one that reads what it holds.
var readerClaims = []struct {
	name     string
	unjoined bool // nobody has joined the store yet
	prove    func(f *fixture, r store.Store)
}{
	{name: "a reader's join tells of the node and gives no token", prove: func(f *fixture, r store.Store) {
		for range 2 {
			id, err := r.Join(ctx, 99)
			if !errors.Is(err, store.ErrReadOnly) {
				f.Errorf("got %v, want %v", err, store.ErrReadOnly)
			}
			want := store.Identity{Store: f.id.Store, Secret: f.id.Secret, Floor: 12}
			if !reflect.DeepEqual(id, want) {
				f.Errorf("got %+v, want %+v", id, want)
			}
			clear(id.Secret)
		}
	}},
	{name: "a reader's join fences nobody", prove: func(f *fixture, r store.Store) {
		_, _ = r.Join(ctx, 99)
		f.do(next(begin("a"), store.Answered)) // under the token from before
		if got := f.commit(store.Batch{}).Floor; got != 12 {
			f.Errorf("the floor is %d", got)
		}
	}},
	{name: "a reader commits nothing", prove: func(f *fixture, r store.Store) {
		b := &store.Batch{
			Token: f.id.Token, Floor: 99, Sweep: 9, Now: 1 << 40, Changes: []store.Change{begin("b"), next(begin("a"), store.Answered)},
			Facts: []store.Fact{{Name: "f"}},
		}
		if _, err := r.Commit(ctx, b); !errors.Is(err, store.ErrReadOnly) {
			f.Errorf("got %v, want %v", err, store.ErrReadOnly)
		}
		f.holds(made(begin("a")))
		f.gone(begin("b").Key)
		f.factsAre("f=v")
		if got := f.commit(store.Batch{}).Floor; got != 12 {
			f.Errorf("the floor is %d", got)
		}
	}},
	{name: "a reader sees what is committed after it was opened", prove: func(f *fixture, r store.Store) {
		b := next(begin("a"), store.Parked)
		f.do(b, begin("b"))
		of := &fixture{tb: f.tb, t: f.t, s: r}
		of.holds(made(begin("a"), b))
		of.oplog(b.Key, 1, "chunk 1", 2, "chunk 2")
		of.lists(store.Query{}, "scope/a", "scope/b")
		of.dues(store.Cursor{}, 9, "scope/b")
		of.factsAre("f=v")
	}},
	{name: "a reader's join ends with its context, and with the reader", prove: func(f *fixture, r store.Store) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if id, err := r.Join(ended, 0); !errors.Is(err, context.Canceled) || id.Secret != nil {
			f.Errorf("got %v, %v, want %v", id, err, context.Canceled)
		}
		if err := r.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
		if id, err := r.Join(ctx, 0); !errors.Is(err, store.ErrClosed) || id.Secret != nil {
			f.Errorf("got %v, %v, want %v", id, err, store.ErrClosed)
		}
		f.do(next(begin("a"), store.Answered))
	}},
	{name: "a reader of a store that nobody has joined gives it no floor", unjoined: true, prove: func(f *fixture, r store.Store) {
		defer r.Close()
		id, err := r.Join(ctx, 99)
		if !errors.Is(err, store.ErrReadOnly) || len(id.Store) < 4 || len(id.Secret) != 32 || id.Floor != 0 {
			f.Errorf("got %+v, %v", id, err)
		}
		f.join(7)
		if f.id.Floor != 7 || !bytes.Equal(f.id.Secret, id.Secret) {
			f.Errorf("joined then: %+v, want the floor 7", f.id)
		}
	}},
}
