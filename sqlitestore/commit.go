package sqlitestore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"

	"github.com/certifiedhttp/chttp/store"
)

// commitChecked is commit, which looks more closely where it must.
func (w *writer) commitChecked(b *store.Batch) (*store.Report, error) {
	report, err := w.commit(b, false)
	if errors.Is(err, errTaken) {
		report, err = w.commit(b, true)
	}
	return report, err
}

// commit does b in one transaction. A change is written before its children are looked at, since they are hardly ever taken;
// when one is, commit fails with errTaken, and the caller calls it again to be careful, with a savepoint around such a change.
func (w *writer) commit(b *store.Batch, careful bool) (*store.Report, error) {
	report := &store.Report{Results: make([]store.Result, len(b.Changes))}
	err := w.transact(func() error {
		n, err := readNode(w.node)
		if err != nil {
			return err
		}
		// The lock keeps others from the file. This holds even if somebody removed it.
		if b.Token != n.token() || !n.floored {
			return store.ErrFenced
		}
		if b.Floor > n.floor {
			n.floor = b.Floor
			if err := w.writeNode(n); err != nil {
				return err
			}
		}
		report.Floor = n.floor
		for i := range b.Changes {
			c := &b.Changes[i]
			if report.Results[i], err = w.change(c, report.Floor, careful); err != nil {
				return err
			}
		}
		if err := w.acknowledge(b.Acks); err != nil {
			return err
		}
		if err := w.setFacts(b.Facts); err != nil {
			return err
		}
		report.Swept, err = w.sweep(b, report.Floor)
		return err
	})
	if err != nil {
		return nil, err
	}
	return report, nil
}

// change does c with its children, or refuses it whole.
func (w *writer) change(c *store.Change, floor int64, careful bool) (store.Result, error) {
	if len(c.Children) == 0 || c.Forget {
		wrote, err := w.write(c, floor)
		if wrote || err != nil {
			return store.Result{Status: store.Done}, err
		}
		return w.refuse(c, floor)
	}
	if careful {
		if _, err := w.savepoint.exec(); err != nil {
			return store.Result{}, err
		}
	}
	wrote, err := w.write(c, floor)
	if err != nil {
		return store.Result{}, err
	}
	if !wrote {
		return w.refuse(c, floor) // an open savepoint ends with the transaction
	}
	taken, err := w.adopt(c.Children)
	switch {
	case err != nil:
		return store.Result{}, err
	case taken == nil:
		return store.Result{Status: store.Done}, nil
	case !careful:
		return store.Result{}, errTaken
	}
	if _, err := w.undo.exec(); err != nil {
		return store.Result{}, err
	}
	return w.conflict(*taken)
}

// write inserts, updates or forgets the record of c, or tells that it did not.
func (w *writer) write(c *store.Change, floor int64) (wrote bool, err error) {
	switch {
	case c.Forget:
		return w.forgetRecord(c)
	case c.Version != 1:
		return w.updateRecord(c)
	case stale(c, floor):
		return false, nil
	}
	n, err := w.insert.exec(c.Key.ID, c.Key.Scope, int64(c.Run), int64(c.State), bit(c.Certified), c.Created, c.Due, c.Bound,
		fixedSum(c.Key, c.Run, c.Function, c.Created, c.Certified, c.Print), movedSum(1, c.State, c.Due, c.Bound, c.Tail),
		blobsSum(c.Head, c.Chunk), c.Function, null(c.Print), null(c.Tail), null(c.Head), null(c.Chunk))
	return n > 0, err
}

func stale(c *store.Change, floor int64) bool { return c.Version == 1 && c.At != 0 && c.At <= floor }

func (w *writer) updateRecord(c *store.Change) (bool, error) {
	st := w.update
	if c.DropHead {
		st = w.updateDrop
	}
	n, err := st.exec(int64(c.Version), int64(c.State), c.Due, c.Bound, movedSum(c.Version, c.State, c.Due, c.Bound, c.Tail),
		null(c.Tail), bit(len(c.Chunk) > 0), c.Key.ID, c.Key.Scope, int64(c.Run), int64(c.Version-1))
	if err == nil && n > 0 && len(c.Chunk) > 0 {
		// I6: the version was next, so there is no chunk of this number yet.
		_, err = w.insertChunk.exec(c.Key.ID, c.Key.Scope, int64(c.Version), chunkSum(c.Key, int64(c.Version), c.Chunk), c.Chunk)
	}
	return n > 0, err
}

func (w *writer) forgetRecord(c *store.Change) (bool, error) {
	n, err := w.forget.exec(c.Key.ID, c.Key.Scope, int64(c.Run), int64(c.Version-1))
	if err == nil && n > 0 && c.Version > 2 {
		_, err = w.forgetChunks.exec(c.Key.ID, c.Key.Scope)
	}
	return n > 0, err
}

// refuse tells what became of c, which wrote nothing: it was done before, it is stale, or it is in conflict.
func (w *writer) refuse(c *store.Change, floor int64) (store.Result, error) {
	res, err := w.conflict(c.Key)
	if err != nil {
		return res, err
	}
	r := res.Stored
	switch {
	case c.Forget && r == nil:
		return store.Result{Status: store.Done}, nil
	case !c.Forget && r != nil && r.Run == c.Run && r.Version >= c.Version:
		// Whoever makes the versions of a run makes each of them once, so this one is among those that made the record.
		return store.Result{Status: store.Done}, nil
	case !c.Forget && stale(c, floor):
		return store.Result{Status: store.Stale}, nil
	}
	return res, nil
}

// conflict returns a Conflict about key, with what is stored there.
func (w *writer) conflict(key store.Key) (store.Result, error) {
	stored, err := w.read.record(key)
	return store.Result{Status: store.Conflict, Key: key, Stored: stored}, err
}

// adopt inserts children. It stops at a key that is taken by a record with another Print, and returns that key.
func (w *writer) adopt(children []store.Child) (taken *store.Key, err error) {
	for i := range children {
		c := &children[i]
		n, err := w.insert.exec(c.Key.ID, c.Key.Scope, int64(c.Run), int64(c.State), int64(0), c.Created, c.Due, c.Bound,
			fixedSum(c.Key, c.Run, c.Function, c.Created, false, c.Print), movedSum(1, c.State, c.Due, c.Bound, nil),
			blobsSum(c.Head, nil), c.Function, null(c.Print), nil, null(c.Head), nil)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			continue
		}
		res, err := w.conflict(c.Key)
		if err != nil {
			return nil, err
		}
		if res.Stored == nil || !bytes.Equal(res.Stored.Print, c.Print) {
			return &c.Key, nil
		}
	}
	return nil, nil
}

// acknowledge does the acks. Most records have no chunks, which spares a look for them.
func (w *writer) acknowledge(acks []store.Ack) error {
	for i := range acks {
		a := &acks[i]
		n, err := w.ack.exec(a.Key.ID, a.Key.Scope, a.At)
		if err == nil && n == 0 {
			n, err = w.ackChunked.exec(a.Key.ID, a.Key.Scope, a.At)
			if err == nil && n > 0 {
				_, err = w.forgetChunks.exec(a.Key.ID, a.Key.Scope)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) setFacts(facts []store.Fact) error {
	for i := range facts {
		f := &facts[i]
		var err error
		if f.Value == nil {
			_, err = w.dropFact.exec(f.Name)
		} else {
			_, err = w.setFact.exec(f.Name, factSum(f.Name, f.Value), f.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes finished records whose Bound has been reached, but none that b changed: b committed again must find what it did.
func (w *writer) sweep(b *store.Batch, floor int64) (int, error) {
	if b.Sweep <= 0 {
		return 0, nil
	}
	type reached struct {
		key     store.Key
		chunked bool
	}
	var found []reached
	err := w.sweepKeys.query(context.Background(), func(row []driver.Value) error {
		found = append(found, reached{store.Key{ID: row[0].(string), Scope: row[1].(string)}, row[2].(int64) != 0})
		return nil
	}, floor, b.Now, int64(b.Sweep+len(b.Changes)))
	if err != nil || len(found) == 0 {
		return 0, err
	}
	changed := make(map[store.Key]bool, len(b.Changes))
	for i := range b.Changes {
		changed[b.Changes[i].Key] = true
	}
	swept := 0
	for _, r := range found {
		if changed[r.key] || swept == b.Sweep {
			continue
		}
		swept++
		if _, err := w.sweepOne.exec(r.key.ID, r.key.Scope); err != nil {
			return 0, err
		}
		if r.chunked {
			if _, err := w.forgetChunks.exec(r.key.ID, r.key.Scope); err != nil {
				return 0, err
			}
		}
	}
	return swept, nil
}

// null returns b for binding, NULL if it is empty.
func null(b []byte) driver.Value {
	if len(b) == 0 {
		return nil
	}
	return b
}
