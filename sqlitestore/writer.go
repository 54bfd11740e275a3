package sqlitestore

import (
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/certifiedhttp/chttp/store"
)

// writer is the one connection that writes, with its statements prepared. Its user holds Store.mu.
type writer struct {
	*conn
	begin, commitStmt, rollback        *stmt
	savepoint, undo                    *stmt
	node, setNode                      *stmt
	insert, update, updateDrop, forget *stmt
	insertChunk, forgetChunks          *stmt
	read                               *stmt
	ack, ackChunked                    *stmt
	sweepKeys, sweepOne                *stmt
	setFact, dropFact                  *stmt
	logged, checkpoint                 *stmt

	limit   int64 // frames in the log from which on it is written back
	starved bool  // the last commit found no room
	failed  error // why nothing may be written any more
}

const ackSQL = `UPDATE chttp_record SET state = 9, bound = iif(certified, ?3, bound), moved = 0, blobs = 0, chunked = 0,
		tail = NULL, head = NULL, oplog = NULL
	WHERE id = ?1 AND scope = ?2 AND chunked = %d AND state >= 4 AND (state <> 9 OR certified AND bound < ?3)`

func newWriter(c *conn) (*writer, error) {
	w := &writer{conn: c, limit: logLimit}
	for _, p := range []struct {
		st  **stmt
		sql string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commitStmt, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.savepoint, "SAVEPOINT change"},
		{&w.undo, "ROLLBACK TO change"},
		{&w.node, nodeSQL},
		{&w.setNode, "UPDATE chttp_node SET incarnation = ?, floor = ?, sum = ?"},
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
		{&w.ack, fmt.Sprintf(ackSQL, 0)},
		{&w.ackChunked, fmt.Sprintf(ackSQL, 1)},
		{&w.sweepKeys, `SELECT id, scope, chunked FROM (
				SELECT bound, id, scope, chunked FROM chttp_record WHERE state >= 4 AND certified = 1 AND bound <= ?1
				UNION ALL
				SELECT bound, id, scope, chunked FROM chttp_record WHERE state >= 4 AND certified = 0 AND bound <= ?2
			) ORDER BY bound LIMIT ?3`},
		{&w.sweepOne, "DELETE FROM chttp_record WHERE id = ? AND scope = ?"},
		{&w.logged, "PRAGMA wal_checkpoint(NOOP)"},
		{&w.checkpoint, "PRAGMA wal_checkpoint(PASSIVE)"},
	} {
		var err error
		if *p.st, err = c.keep(p.sql); err != nil {
			return nil, err
		}
	}
	_, err := readNode(w.node)
	return w, err
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
	var n node
	err := w.transact(func() (err error) {
		if n, err = readNode(w.node); err != nil {
			return err
		}
		n.incarnation++
		if !n.floored {
			n.floor, n.floored = floor, true
		}
		return w.writeNode(n)
	})
	if err != nil {
		return store.Identity{}, err
	}
	return store.Identity{Token: n.token(), Store: n.name, Secret: n.secret, Floor: n.floor}, nil
}

// errTaken ends an attempt at a batch in which a child's key turned out to be taken after some of its change was written.
var errTaken = errors.New("a child's key is taken")
