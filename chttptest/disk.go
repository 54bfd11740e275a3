package chttptest

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// disk is the memory that outlives processes, as one life sees it. When that life is over every call answers that the store is closed, and
// does nothing: the dead write no more.
type disk struct{ *life }

var _ store.Store = disk{}

// secret is that of every memory, so that ids are the same in every run.
var secret = sha256.Sum256([]byte("chttptest"))

func call[T any](d disk, do func(*memstore.Store) (T, error)) (T, error) {
	tr := d.trial
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if d.over {
		var none T
		return none, store.ErrClosed
	}
	return do(tr.memory)
}

// Join implements store.Store.
func (d disk) Join(ctx context.Context, floor int64) (store.Identity, error) {
	id, err := call(d, func(s *memstore.Store) (store.Identity, error) {
		d.trial.keep(event{Floor: floor})
		return s.Join(ctx, floor)
	})
	id.Store, id.Secret = "chttptest", secret[:]
	return id, err
}

// Commit implements store.Store. The process may die before and after one that has an outcome.
func (d disk) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	return call(d, func(s *memstore.Store) (*store.Report, error) {
		if d.trial.ends(b, momentEnded) {
			d.kill()
			return nil, store.ErrClosed
		}
		r, err := s.Commit(ctx, b)
		if err != nil {
			return r, err
		}
		d.trial.keep(event{Batch: b})
		d.trial.committed(b, r)
		if d.trial.ends(b, momentEndedDurable) {
			d.kill()
			return nil, store.ErrClosed
		}
		return r, nil
	})
}

// ends tells whether the process is to die at an outcome that b has; called with mu held.
func (tr *trial) ends(b *store.Batch, m moment) bool {
	for i := range b.Changes {
		if b.Changes[i].State.Finished() && tr.dies(point{site{key: b.Changes[i].Key, seq: none}, m}) {
			return true
		}
	}
	return false
}

// committed keeps what b brought; called with mu held.
func (tr *trial) committed(b *store.Batch, r *store.Report) {
	for i := range b.Changes {
		c := &b.Changes[i]
		switch {
		case r.Results[i].Status != store.Done:
			continue
		case c.Forget:
			delete(tr.histories, c.Key)
			continue
		}
		h := tr.history(c.Key)
		if err := h.note(c); err != nil {
			tr.fail(&finding{what: foundBroken, text: fmt.Sprintf("what was stored of %q cannot be read: %v", c.Key.ID, err)})
		}
		for _, child := range c.Children {
			x := tr.history(child.Key)
			x.function, x.created, x.print, x.head = child.Function, child.Created, child.Print, child.Head
		}
	}
	select {
	case tr.changed <- struct{}{}:
	default:
	}
}

// history returns what is known of the execution of key; called with mu held.
func (tr *trial) history(key store.Key) *stored {
	h := tr.histories[key]
	if h == nil {
		h = &stored{key: key, state: store.Running}
		tr.histories[key] = h
	}
	return h
}

// Read implements store.Store.
func (d disk) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	return call(d, func(s *memstore.Store) (*store.Record, error) { return s.Read(ctx, key) })
}

// Chunks implements store.Store.
func (d disk) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	return call(d, func(s *memstore.Store) ([]store.Chunk, error) { return s.Chunks(ctx, key) })
}

// Due implements store.Store.
func (d disk) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	return call(d, func(s *memstore.Store) ([]*store.Record, error) { return s.Due(ctx, after, limit) })
}

// List implements store.Store.
func (d disk) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	return call(d, func(s *memstore.Store) ([]*store.Record, error) { return s.List(ctx, q) })
}

// Facts implements store.Store.
func (d disk) Facts(ctx context.Context) ([]store.Fact, error) {
	return call(d, func(s *memstore.Store) ([]store.Fact, error) { return s.Facts(ctx) })
}

// Close implements store.Store. A memory outlives its processes.
func (d disk) Close() error { return nil }

// Born implements probe.Registrar: an execution that is made again is the one that it was, so that its messages have the same ids.
func (d disk) Born(realm, id string, run uint64, created int64) (uint64, int64) {
	tr := d.trial
	tr.mu.Lock()
	defer tr.mu.Unlock()
	key := store.Key{Scope: realm, ID: id}
	if w := tr.proof.world; w != nil {
		if b, ok := w.born[key]; ok && w.executions[key] != nil && w.executions[key].function != sendFunction {
			return b.run, b.created
		}
	}
	tr.born[key] = birth{run, created}
	if realm != "" && id == rootID {
		tr.root = key
	}
	return run, created
}
