package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/certifiedhttp/chttp/store"
)

// writer is the one connection that writes, with its statements prepared. Its user holds Store.mu.
type writer struct {
	*conn
	name   string
	secret []byte

	begin, commitStmt, rollback        *stmt
	savepoint, undo                    *stmt
	node, setFloor, setIncarnation     *stmt
	insert, update, updateDrop, forget *stmt
	insertChunk, forgetChunks          *stmt
	read                               *stmt
	ack, sweepKeys, sweepOne           *stmt
	setFact, dropFact                  *stmt
}

func newWriter(c *conn) (*writer, error) {
	w := &writer{conn: c}
	row, err := c.ask("SELECT name, secret FROM chttp_node")
	if err != nil {
		return nil, fmt.Errorf("read the node: %w", err)
	}
	w.name, _ = row[0].(string)
	w.secret, _ = row[1].([]byte)
	if w.name == "" || len(w.secret) != 32 {
		return nil, damaged("the node's row")
	}
	for _, p := range []struct {
		st  **stmt
		sql string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commitStmt, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.savepoint, "SAVEPOINT change"},
		{&w.undo, "ROLLBACK TO change"},
		{&w.node, "SELECT incarnation, floor FROM chttp_node"},
		{&w.setFloor, "UPDATE chttp_node SET floor = ?"},
		{&w.setIncarnation, "UPDATE chttp_node SET incarnation = ?, floor = ?"},
		{&w.insert, `INSERT INTO chttp_record (id, scope, run, version, state, certified, chunked, created, due, bound,
			fixed, moved, blobs, function, print, tail, head, oplog)
			VALUES (?, ?, ?, 1, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`},
		{&w.update, `UPDATE chttp_record SET version = ?, state = ?, due = ?, bound = ?, moved = ?, tail = ?, chunked = max(chunked, ?)
			WHERE id = ? AND scope = ? AND run = ? AND version = ? AND state <= 3`},
		{&w.updateDrop, `UPDATE chttp_record SET version = ?, state = ?, due = ?, bound = ?, moved = ?, tail = ?, chunked = max(chunked, ?),
			head = NULL, blobs = blobs & 0xffffffff
			WHERE id = ? AND scope = ? AND run = ? AND version = ? AND state <= 3`},
		{&w.forget, "DELETE FROM chttp_record WHERE id = ? AND scope = ? AND run = ? AND version = ? AND state <= 3"},
		{&w.insertChunk, "INSERT INTO chttp_chunk (id, scope, n, sum, data) VALUES (?, ?, ?, ?, ?)"},
		{&w.forgetChunks, "DELETE FROM chttp_chunk WHERE id = ? AND scope = ?"},
		{&w.read, "SELECT " + columns + " FROM chttp_record WHERE id = ? AND scope = ?"},
		{&w.setFact, "INSERT OR REPLACE INTO chttp_fact (name, sum, value) VALUES (?, ?, ?)"},
		{&w.dropFact, "DELETE FROM chttp_fact WHERE name = ?"},
		{&w.ack, `UPDATE chttp_record SET state = 9, bound = iif(certified, ?3, bound), moved = 0, blobs = 0, chunked = 0,
				tail = NULL, head = NULL, oplog = NULL
			WHERE id = ?1 AND scope = ?2 AND state >= 4 AND (state <> 9 OR certified AND bound < ?3)`},
		{&w.sweepKeys, `SELECT id, scope, chunked FROM (
				SELECT bound, id, scope, chunked FROM chttp_record WHERE state >= 4 AND certified = 1 AND bound <= ?1
				UNION ALL
				SELECT bound, id, scope, chunked FROM chttp_record WHERE state >= 4 AND certified = 0 AND bound <= ?2
			) ORDER BY bound LIMIT ?3`},
		{&w.sweepOne, "DELETE FROM chttp_record WHERE id = ? AND scope = ?"},
	} {
		if *p.st, err = c.keep(p.sql); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// transact runs do in a write transaction and commits. What do refuses is rolled back: its error means that nothing was done.
func (w *writer) transact(do func() error) error {
	if _, err := w.begin.exec(); err != nil {
		return err
	}
	if err := do(); err != nil {
		w.rollback.exec() // SQLite may have rolled back by itself, which makes this an error
		return err
	}
	_, err := w.commitStmt.exec()
	if err == nil {
		return nil
	}
	w.rollback.exec()
	if code(err)&0xff == sqlite3.SQLITE_FULL {
		// Certain, although it is COMMIT's: the frame that makes the transaction valid is written last, and what ran out of room was a
		// write, not the sync after it. A frame that is not there whole fails its checksum.
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

func (w *writer) join(floor int64) (store.Identity, error) {
	var id store.Identity
	err := w.transact(func() error {
		incarnation, f, err := w.readNode()
		if err != nil {
			return err
		}
		if f != nil {
			floor = *f
		}
		if _, err := w.setIncarnation.exec(incarnation+1, floor); err != nil {
			return err
		}
		id = store.Identity{
			Token:  store.Token{Node: w.name, Incarnation: uint64(incarnation + 1)},
			Store:  w.name,
			Secret: append([]byte(nil), w.secret...),
			Floor:  floor,
		}
		return nil
	})
	if err != nil {
		return store.Identity{}, err
	}
	return id, nil
}

// readNode returns the incarnation and the floor, nil if there is none yet.
func (w *writer) readNode() (incarnation int64, floor *int64, err error) {
	n := 0
	err = w.node.query(context.Background(), func(row []driver.Value) error {
		n++
		incarnation, _ = row[0].(int64)
		if f, ok := row[1].(int64); ok {
			floor = &f
		}
		return nil
	})
	if err == nil && n != 1 {
		err = damaged("the node's row")
	}
	return incarnation, floor, err
}

// errTaken ends an attempt at a batch in which a child's key turned out to be taken after some of its change was written.
var errTaken = errors.New("a child's key is taken")
