package chttp_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// rotting is a store that does not know what became of an outcome, whose record is damaged from then on: it can neither be compared nor
// replaced.
type rotting struct {
	*memstore.Store
	commits atomic.Int64
	rotten  store.Key
}

func (s *rotting) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	if s.commits.Add(1) > 10_000 {
		s.Damage(s.rotten, false)
	}
	r, err := s.Store.Commit(ctx, b)
	if err == nil && s.rotten.ID == "" && len(b.Changes) == 1 && b.Changes[0].State == store.Answered {
		s.rotten = b.Changes[0].Key
		s.Damage(s.rotten, true)
		return nil, store.ErrUnknown
	}
	return r, err
}

// TestI8AStoreThatTakesNothingOfAnExecutionIsNotAskedWithoutEnd has not even its parking taken.
func TestI8AStoreThatTakesNothingOfAnExecutionIsNotAskedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &rotting{Store: memstore.New()}
		n := newNode(t, st, &chttp.Options{Logger: quiet})
		f := chttp.Resumable("f", func(ctx context.Context, in string) (string, error) { return in, chttp.Sleep(ctx, time.Second) })
		n.Register(f)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- n.Run(ctx) }()
		synctest.Wait()
		if _, err := f.Start(ctx, n, "e", "x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := st.commits.Load(); got > 100 {
			t.Errorf("in ten seconds there were %d commits", got)
		}
		if _, err := f.Start(ctx, n, "another", "x"); err != nil {
			t.Errorf("another one: %v", err)
		}
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}
