package memstore

import (
	"bytes"
	"context"

	"github.com/certifiedhttp/chttp/store"
)

// Commit implements store.Store. Nothing in it can fail half-way.
func (s *Store) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	d, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if b.Token != d.token() {
		return nil, store.ErrFenced
	}
	if err := d.unreadable(b); err != nil {
		return nil, err
	}
	d.floor = max(d.floor, b.Floor)
	results := make([]store.Result, len(b.Changes))
	for i := range b.Changes {
		results[i] = d.change(&b.Changes[i])
	}
	for _, a := range b.Acks {
		d.acknowledge(a)
	}
	for _, f := range b.Facts {
		if f.Value == nil {
			delete(d.facts, f.Name)
		} else {
			d.facts[f.Name] = append([]byte{}, f.Value...)
		}
	}
	return &store.Report{Results: results, Swept: d.sweep(b), Floor: d.floor}, nil
}

// unreadable names a damaged record that b cannot be done without reading: one that is not what a change of b is the next version of, or
// that a child of b finds in its place.
func (d *data) unreadable(b *store.Batch) error {
	for i := range b.Changes {
		c := &b.Changes[i]
		if r := d.records[c.Key]; r != nil && d.damaged[c.Key] && (r.Run != c.Run || r.Version != c.Version-1) {
			return damaged(c.Key)
		}
		for j := range c.Children {
			if key := c.Children[j].Key; d.records[key] != nil && d.damaged[key] {
				return damaged(key)
			}
		}
	}
	return nil
}

func (d *data) change(c *store.Change) store.Result {
	r := d.records[c.Key]
	switch {
	case c.Forget && r == nil, !c.Forget && r != nil && r.Run == c.Run && r.Version >= c.Version:
		return store.Result{Status: store.Done} // it is there already
	case c.Version == 1 && c.At != 0 && c.At <= d.floor:
		return store.Result{Status: store.Stale}
	case c.Version == 1 && r != nil,
		c.Version != 1 && (r == nil || r.Run != c.Run || r.Version != c.Version-1 || r.State.Finished()):
		return conflict(c.Key, r)
	}
	if c.Forget {
		delete(d.records, c.Key)
		delete(d.chunks, c.Key)
		return store.Result{Status: store.Done}
	}
	if key, taken := d.taken(c, r); taken {
		return conflict(key, d.records[key])
	}
	switch c.Version {
	case 1:
		d.insert(c)
	default:
		d.update(r, c)
	}
	for i := range c.Children {
		d.adopt(&c.Children[i])
	}
	return store.Result{Status: store.Done}
}

// taken returns the key of a child of c that has a record with another Print, which may also be the record of c itself or of an
// earlier child of c.
func (d *data) taken(c *store.Change, r *store.Record) (store.Key, bool) {
	if len(c.Children) == 0 {
		return store.Key{}, false
	}
	begun := map[store.Key][]byte{c.Key: c.Print}
	if r != nil {
		begun[c.Key] = r.Print
	}
	for _, child := range c.Children {
		print, ok := begun[child.Key]
		if !ok {
			print = child.Print
			if old := d.records[child.Key]; old != nil {
				print = old.Print
			}
			begun[child.Key] = print
		}
		if !bytes.Equal(print, child.Print) {
			return child.Key, true
		}
	}
	return store.Key{}, false
}

func conflict(key store.Key, r *store.Record) store.Result {
	res := store.Result{Status: store.Conflict, Key: key}
	if r != nil {
		res.Stored = copyOf(r)
	}
	return res
}

func (d *data) insert(c *store.Change) {
	d.records[c.Key] = &store.Record{
		Key: c.Key, Run: c.Run, Version: 1, Function: c.Function, State: c.State,
		Created: c.Created, Due: c.Due, Bound: c.Bound, Certified: c.Certified,
		Print: bytesOf(c.Print), Head: bytesOf(c.Head), Oplog: bytesOf(c.Chunk), Tail: bytesOf(c.Tail),
	}
}

func (d *data) update(old *store.Record, c *store.Change) {
	r := *old
	r.Version, r.State, r.Due, r.Bound, r.Tail = c.Version, c.State, c.Due, c.Bound, bytesOf(c.Tail)
	if c.DropHead {
		r.Head = nil
	}
	d.records[c.Key] = &r
	if len(c.Chunk) > 0 {
		d.chunks[c.Key] = append(d.chunks[c.Key], store.Chunk{Number: c.Version, Data: bytesOf(c.Chunk)})
	}
}

// adopt inserts a child unless its key is taken.
func (d *data) adopt(c *store.Child) {
	if d.records[c.Key] != nil {
		return
	}
	d.records[c.Key] = &store.Record{
		Key: c.Key, Run: c.Run, Version: 1, Function: c.Function, State: c.State,
		Created: c.Created, Due: c.Due, Bound: c.Bound, Print: bytesOf(c.Print), Head: bytesOf(c.Head),
	}
}

func (d *data) acknowledge(a store.Ack) {
	old := d.records[a.Key]
	if old == nil || !old.State.Finished() {
		return
	}
	r := *old
	switch {
	case !r.Certified:
	case r.State == store.Acknowledged:
		r.Bound = max(r.Bound, a.At)
	default:
		r.Bound = a.At
	}
	r.State, r.Head, r.Tail, r.Oplog = store.Acknowledged, nil, nil, nil
	d.records[a.Key] = &r
	delete(d.chunks, a.Key)
}

// sweep deletes finished records whose Bound has been reached, but none that the same batch changed: the batch committed again
// must find what it did.
func (d *data) sweep(b *store.Batch) int {
	if b.Sweep <= 0 {
		return 0
	}
	changed := make(map[store.Key]bool, len(b.Changes))
	for i := range b.Changes {
		changed[b.Changes[i].Key] = true
	}
	swept := 0
	for key, r := range d.records {
		reached := b.Now
		if r.Certified {
			reached = d.floor
		}
		if swept == b.Sweep {
			break
		}
		if r.State.Finished() && r.Bound <= reached && !changed[key] {
			delete(d.records, key)
			delete(d.chunks, key)
			swept++
		}
	}
	return swept
}
