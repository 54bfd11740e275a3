// Package memstore keeps a node's durable memory in the memory of the process: a store for tests.
//
// It keeps the contract of package store in full, and what "durable" means there is up to the test: Crash ends one Store and
// gives the next one everything that was committed. It starts no goroutine, reads no clock and does no I/O, so it works inside
// a testing/synctest bubble.
package memstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/certifiedhttp/chttp/store"
)

// DefaultListLimit is how many records List returns when the query says nothing.
const DefaultListLimit = 100

// Store is a store.Store in memory. New makes one; the zero value is not usable. It is safe for concurrent use.
type Store struct {
	mu   sync.Mutex // guards data
	data *data      // nil once the store is closed or has crashed
}

// data is what survives a crash. What records, chunks and facts point to is never changed, only replaced.
type data struct {
	name        string
	secret      []byte
	incarnation uint64
	floor       int64
	floored     bool // a first Join has given the floor
	records     map[store.Key]*store.Record
	chunks      map[store.Key][]store.Chunk // numbers above 1
	facts       map[string][]byte
	damaged     map[store.Key]bool
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	secret := make([]byte, 32)
	rand.Read(secret)
	return &Store{data: &data{
		name:    rand.Text()[:8],
		secret:  secret,
		records: map[store.Key]*store.Record{},
		chunks:  map[store.Key][]store.Chunk{},
		facts:   map[string][]byte{},
		damaged: map[store.Key]bool{},
	}}
}

// Crash lets the process die now: it returns a new Store that holds what was committed, with the same name and secret, and
// every later call on the old one returns store.ErrClosed. Of a closed Store it makes an empty one.
func (s *Store) Crash() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.data
	if d == nil {
		return New()
	}
	s.data = nil
	return &Store{data: d}
}

// Damage lets the disk damage the record of key, or, with false, be as it was: a call that would return the record names it in a
// store.DamagedError. It makes no difference to what is committed over it.
func (s *Store) Damage(key store.Key, damaged bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data != nil {
		s.data.damaged[key] = damaged
	}
}

// enter locks the store for one call and returns its data; the caller unlocks s.mu unless there is an error.
func (s *Store) enter(ctx context.Context) (*data, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.data == nil {
		s.mu.Unlock()
		return nil, store.ErrClosed
	}
	return s.data, nil
}

// Join implements store.Store.
func (s *Store) Join(ctx context.Context, floor int64) (store.Identity, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return store.Identity{}, err
	}
	defer s.mu.Unlock()
	if !d.floored {
		d.floor, d.floored = floor, true
	}
	d.incarnation++
	return store.Identity{Token: d.token(), Store: d.name, Secret: slices.Clone(d.secret), Floor: d.floor}, nil
}

func (d *data) token() store.Token { return store.Token{Node: d.name, Incarnation: d.incarnation} }

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	r := d.records[key]
	switch {
	case r == nil:
		return nil, store.ErrNotFound
	case d.damaged[key]:
		return nil, damaged(key)
	}
	return copyOf(r), nil
}

// Chunks implements store.Store.
func (s *Store) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var chunks []store.Chunk
	if r := d.records[key]; r != nil && len(r.Oplog) > 0 {
		chunks = append(chunks, store.Chunk{Number: 1, Data: slices.Clone(r.Oplog)})
	}
	for _, c := range d.chunks[key] {
		chunks = append(chunks, store.Chunk{Number: c.Number, Data: slices.Clone(c.Data)})
	}
	return chunks, nil
}

// Due implements store.Store. It looks at every record.
func (s *Store) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	byDue := func(a, b *store.Record) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), compareKeys(a.Key, b.Key))
	}
	start := &store.Record{Key: after.Key, Due: after.Due}
	return d.collect(limit, byDue, func(r *store.Record) bool {
		return (r.State == store.Running || r.State == store.Waiting) && byDue(r, start) > 0
	})
}

// List implements store.Store. It looks at every record.
func (s *Store) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultListLimit
	}
	byKey := func(a, b *store.Record) int { return compareKeys(a.Key, b.Key) }
	return d.collect(limit, byKey, func(r *store.Record) bool {
		return (q.ID == "" || r.ID == q.ID) &&
			(len(q.States) == 0 || slices.Contains(q.States, r.State)) &&
			(q.Function == "" || r.Function == q.Function) &&
			compareKeys(r.Key, q.After) > 0
	})
}

// collect returns copies of the first limit of the wanted records in the given order, and names the damaged ones among them.
func (d *data) collect(limit int, order func(a, b *store.Record) int, want func(*store.Record) bool) ([]*store.Record, error) {
	var wanted, records []*store.Record
	var bad []store.Key
	for _, r := range d.records {
		if want(r) {
			wanted = append(wanted, r)
		}
	}
	slices.SortFunc(wanted, order)
	for _, r := range wanted {
		switch {
		case len(records) >= limit:
		case d.damaged[r.Key]:
			bad = append(bad, r.Key)
		default:
			records = append(records, copyOf(r))
		}
	}
	if len(bad) > 0 {
		return records, damaged(bad...)
	}
	return records, nil
}

func damaged(keys ...store.Key) error {
	return &store.DamagedError{Keys: keys, Err: fmt.Errorf("record %q in scope %q is damaged", keys[0].ID, keys[0].Scope)}
}

// Facts implements store.Store. They are in the order of their names.
func (s *Store) Facts(ctx context.Context) ([]store.Fact, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var facts []store.Fact
	for _, name := range slices.Sorted(maps.Keys(d.facts)) {
		facts = append(facts, store.Fact{Name: name, Value: append([]byte{}, d.facts[name]...)})
	}
	return facts, nil
}

// Close implements store.Store. What the store held is gone.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = nil
	return nil
}

func compareKeys(a, b store.Key) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Scope, b.Scope))
}

func copyOf(r *store.Record) *store.Record {
	c := *r
	c.Print, c.Head, c.Oplog, c.Tail = bytesOf(r.Print), bytesOf(r.Head), bytesOf(r.Oplog), bytesOf(r.Tail)
	return &c
}

// bytesOf returns a copy of b, nil if it is empty.
func bytesOf(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return slices.Clone(b)
}
