package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// disk is a process's memory, and its clock, as one of its lives sees them. When that life ends, every call answers that the store is
// closed, and does nothing: the dead write no more.
type disk struct{ l *Life }

var _ store.Store = (*disk)(nil)

// Now implements probe.Clock.
func (d *disk) Now() time.Time {
	w := d.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	return d.l.p.clock.now()
}

// maxCalls is how often a life may call its store within a second: more is a loop.
const maxCalls = 20_000

var (
	errRead    = errors.New("sim: the disk cannot be read just now")
	errRefused = errors.New("sim: the store refuses the batch")
)

// enter begins a call of the store, of which it returns the number; called with mu held.
func (d *disk) enter() (int, error) {
	p := d.l.p
	if d.l.dead {
		return 0, store.ErrClosed
	}
	p.calls++
	if time.Since(d.l.second) > time.Second {
		d.l.second, d.l.calls = time.Now(), 0
	}
	if d.l.calls++; d.l.calls > maxCalls {
		p.w.violate("I8", "%s calls its store without end", p.name)
		d.l.kill("calls its store without end")
		return 0, store.ErrClosed
	}
	return p.calls, nil
}

// read is a call that changes nothing, at which the process may die, or the disk fail.
func read[T any](d *disk, what string, do func(*memstore.Store) (T, error)) (T, error) {
	var none T
	p, w := d.l.p, d.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := d.enter()
	switch {
	case err != nil:
		return none, err
	case d.l.dies(DieRead, 0.002, "", n, "at a read"):
		return none, store.ErrClosed
	case w.strikes(Unread, 0.01, p.name, n):
		w.event("%s: %s fails", p.name, what)
		return none, errRead
	}
	return do(p.disk)
}

// Join implements store.Store.
func (d *disk) Join(ctx context.Context, floor int64) (store.Identity, error) {
	return read(d, "join", func(s *memstore.Store) (store.Identity, error) {
		id, err := s.Join(ctx, floor)
		if err == nil {
			d.l.p.life = d.l // Whoever was it before is fenced.
			d.l.p.memory.found(d.l.p, id.Floor)
		}
		return id, err
	})
}

// Read implements store.Store.
func (d *disk) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	return read(d, "read", func(s *memstore.Store) (*store.Record, error) { return s.Read(ctx, key) })
}

// Chunks implements store.Store.
func (d *disk) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	return read(d, "chunks", func(s *memstore.Store) ([]store.Chunk, error) { return s.Chunks(ctx, key) })
}

// Due implements store.Store.
func (d *disk) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	return read(d, "due", func(s *memstore.Store) ([]*store.Record, error) { return s.Due(ctx, after, limit) })
}

// List implements store.Store.
func (d *disk) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	return read(d, "list", func(s *memstore.Store) ([]*store.Record, error) { return s.List(ctx, q) })
}

// Facts implements store.Store.
func (d *disk) Facts(ctx context.Context) ([]store.Fact, error) {
	return read(d, "facts", func(s *memstore.Store) ([]store.Fact, error) { return s.Facts(ctx) })
}

// Close implements store.Store. Only the world ends a memory.
func (d *disk) Close() error { return nil }

// Commit implements store.Store.
func (d *disk) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	d.takeTime("before")
	defer d.takeTime("after")
	p, w := d.l.p, d.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := d.enter()
	if err != nil {
		return nil, err
	}
	again := d.l.unsure != nil
	if again && d.l.unsure != b {
		w.violate("I5", "%s commits another batch while it is unknown what became of the last one", p.name)
	}
	kind := kindOf(b)
	if d.l.dies(DieCommit, 0.01, "", n, "before a commit: "+kind) {
		return nil, store.ErrClosed
	}
	if err := d.refusal(b, n); err != nil {
		return nil, err
	}
	unsure := d.unsure(again, n)
	if unsure && w.luck.chance(0.5, "unsure is not done", p.name, n) {
		d.l.unsure = b
		w.hit("unknown, and not done")
		w.event("%s: commit %d is not done, and not known to be not", p.name, n)
		return nil, store.ErrUnknown
	}
	report, err := p.disk.Commit(ctx, b)
	if err == nil {
		p.memory.committed(d.l, b, report)
	}
	switch {
	case d.l.dies(DieCommit, 0.01, "after", n, "after a commit: "+kind):
		return nil, store.ErrClosed
	case unsure && err == nil:
		d.l.unsure = b
		w.hit("unknown, and done")
		w.event("%s: commit %d is done, and not known to be", p.name, n)
		return nil, store.ErrUnknown
	}
	d.l.unsure = nil
	return report, err
}

// unsure tells whether a commit is to answer that it is unknown what became of it; called with mu held.
func (d *disk) unsure(again bool, n int) bool {
	rate := 0.01
	if again {
		rate = 0.4
	}
	return d.l.p.w.strikes(Unsure, rate, d.l.p.name, n)
}

// refusal is why a batch is not taken: no room, or something that has nothing to do with what is in it. Called with mu held.
func (d *disk) refusal(b *store.Batch, n int) error {
	p, w := d.l.p, d.l.p.w
	if w.calm {
		p.fullTill = time.Time{}
	}
	if w.strikes(Full, 0.003, p.name, n) {
		p.fullTill = time.Now().Add(w.luck.span(10*time.Millisecond, 30*time.Second, "full", p.name, n))
		w.event("%s: its store is full until %v", p.name, p.fullTill.Sub(w.begin))
	}
	switch {
	case d.l.unsure != nil: // It may have been done: who refuses it now would say that it was not.
		return nil
	case time.Now().Before(p.fullTill):
		w.hit("refused for want of room")
		return store.ErrFull
	case len(b.Changes) > 1 && w.strikes(Fail, 0.02, p.name, n):
		w.event("%s: commit %d is refused", p.name, n)
		return fmt.Errorf("%w of %d changes", errRefused, len(b.Changes))
	case w.strikes(Fail, 0.004, p.name, n):
		w.event("%s: commit %d is refused", p.name, n)
		return errRefused
	}
	return nil
}

// takeTime lets a commit take its time.
func (d *disk) takeTime(when string) {
	p, w := d.l.p, d.l.p.w
	w.mu.Lock()
	var pause time.Duration
	if w.strikes(Lag, 0.1, p.name+when, p.calls) {
		pause = w.luck.span(time.Millisecond, 3*time.Second, "lag", p.name+when, p.calls)
	}
	w.mu.Unlock()
	time.Sleep(pause)
}

// kindOf says what is most telling of a batch.
func kindOf(b *store.Batch) string {
	kind := "nothing but facts"
	better := func(is bool, name string) {
		if is {
			kind = name
		}
	}
	better(b.Sweep > 0, "sweep")
	better(b.Floor > 0, "the floor's raise")
	better(len(b.Acks) > 0, "acknowledgement")
	for i := range b.Changes {
		c := &b.Changes[i]
		better(c.Version > 1, "update")
		better(c.Version == 1, "insert")
	}
	for i := range b.Changes {
		c := &b.Changes[i]
		better(len(c.Children) > 0, "children")
		better(c.State == store.Parked, "parking")
		better(c.State.Finished(), "outcome")
	}
	for i := range b.Changes {
		better(b.Changes[i].Forget, "not now")
	}
	return kind
}
