package crash

import (
	"bytes"
	"context"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// disk is a process's memory as one of its lives sees it. When that life ends, every call answers that the store is closed, and
// does nothing: the dead write no more.
type disk struct{ life *Life }

var _ store.Store = (*disk)(nil)

// maxCalls is how often a process may call its store: more is a loop.
const maxCalls = 20_000

// call is one call of the store, at which the process may die.
func call[T any](d *disk, do func(*memstore.Store) (T, error)) (T, error) {
	var none T
	p := d.life.process
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.life.dead {
		return none, store.ErrClosed
	}
	p.calls++
	if p.calls == maxCalls {
		w.mistake("%s calls its store %d times", p.name, p.calls)
		w.cancel()
	}
	if p.calls >= maxCalls {
		return none, store.ErrClosed
	}
	if w.dies(Point{Victim: p.name, N: p.calls}) {
		d.life.kill()
		return none, store.ErrClosed
	}
	v, err := do(p.disk)
	if w.dies(Point{Victim: p.name, N: p.calls, After: true}) {
		d.life.kill()
		return none, store.ErrClosed
	}
	return v, err
}

// Join implements store.Store.
func (d *disk) Join(ctx context.Context, floor int64) (store.Identity, error) {
	return call(d, func(s *memstore.Store) (store.Identity, error) { return s.Join(ctx, floor) })
}

// Commit implements store.Store.
func (d *disk) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	d.life.process.world.pass()
	defer d.life.process.world.pass()
	return call(d, func(s *memstore.Store) (*store.Report, error) {
		r, err := s.Commit(ctx, b)
		if err == nil {
			d.life.process.committed(b, r)
		}
		return r, err
	})
}

// Read implements store.Store.
func (d *disk) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	return call(d, func(s *memstore.Store) (*store.Record, error) { return s.Read(ctx, key) })
}

// Chunks implements store.Store.
func (d *disk) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	return call(d, func(s *memstore.Store) ([]store.Chunk, error) { return s.Chunks(ctx, key) })
}

// Due implements store.Store.
func (d *disk) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	return call(d, func(s *memstore.Store) ([]*store.Record, error) { return s.Due(ctx, after, limit) })
}

// List implements store.Store.
func (d *disk) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	return call(d, func(s *memstore.Store) ([]*store.Record, error) { return s.List(ctx, q) })
}

// Facts implements store.Store.
func (d *disk) Facts(ctx context.Context) ([]store.Fact, error) {
	return call(d, func(s *memstore.Store) ([]store.Fact, error) { return s.Facts(ctx) })
}

// Close implements store.Store. Only the world ends a memory.
func (d *disk) Close() error { return nil }

// outcome is how an execution ended, as first committed.
type outcome struct {
	run      uint64
	function string
	state    store.State
	tail     []byte
}

// committed keeps the outcomes that b brought and compares them with earlier ones; called with the world's mu held.
func (p *Process) committed(b *store.Batch, r *store.Report) {
	for i := range b.Changes {
		c := &b.Changes[i]
		if r.Results[i].Status != store.Done || c.Forget {
			continue
		}
		if err := p.history.note(c); err != nil {
			p.world.mistake("I6: %s stores of %q what it cannot read: %v", p.name, c.Key, err)
		}
		old, ended := p.history.outcomes[c.Key]
		switch {
		case ended && old.run != c.Run:
			p.world.mistake("I2: %s accepts %q again, which had ended %s", p.name, c.Key, old.state)
		case ended && (old.state != c.State || !bytes.Equal(old.tail, c.Tail)):
			p.world.mistake("I3: %s changes the outcome of %q", p.name, c.Key)
		case c.State.Finished():
			p.history.outcomes[c.Key] = outcome{c.Run, p.functionOf(c), c.State, c.Tail}
		}
	}
}

func (p *Process) functionOf(c *store.Change) string {
	if c.Function != "" {
		return c.Function
	}
	r, err := p.disk.Read(context.Background(), c.Key)
	if err != nil {
		return ""
	}
	return r.Function
}

// Outcome is how an execution ended.
type Outcome struct {
	ID    string
	State string
	Value string // of a function: as encoded; of a handler: its response's content
	Err   string
}

// Outcomes returns how executions of the function or handler ended in this process, whatever it has forgotten since.
func (p *Process) Outcomes(function string) (list []Outcome) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	for key, o := range p.history.outcomes {
		if o.function != function {
			continue
		}
		t, err := record.ParseTail(o.tail)
		if err != nil {
			p.world.mistake("%s stored an outcome of %q that cannot be read: %v", p.name, key, err)
			continue
		}
		out := Outcome{ID: key.ID, State: o.state.String(), Value: string(t.Value)}
		if t.Response != nil {
			out.Value = string(t.Response.Body)
		}
		if t.Err != nil {
			out.Err = t.Err.Text
		}
		list = append(list, out)
	}
	return list
}

// history is what was once durable in a process's memory, whatever it has forgotten since.
type history struct {
	stored   map[store.Key]bool
	outcomes map[store.Key]outcome
	begun    map[place]string // calls, by name
	called   map[string]bool  // the beginning of a call of this name is durable
	answered map[string]bool  // its result is
}

// place is that of an operation.
type place struct {
	key   store.Key
	run   uint64
	scope string
	seq   int
}

func newHistory() history {
	return history{
		stored: map[store.Key]bool{}, outcomes: map[store.Key]outcome{},
		begun: map[place]string{}, called: map[string]bool{}, answered: map[string]bool{},
	}
}

// note takes what a change adds to an oplog.
func (h *history) note(c *store.Change) error {
	h.stored[c.Key] = true
	for i := range c.Children {
		h.stored[c.Children[i].Key] = true
	}
	entries, err := record.ParseEntries(c.Chunk)
	for _, e := range entries {
		at := place{c.Key, c.Run, e.Scope, e.Seq}
		switch {
		case e.Kind == record.Call:
			h.begun[at] = e.Name
			h.called[e.Name] = true
		case e.Phase == record.End && h.begun[at] != "":
			h.answered[h.begun[at]] = true
		}
	}
	return err
}
