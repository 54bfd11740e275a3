package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/certifiedhttp/chttp/store"
)

// Due implements store.Store. It walks the index alone and reads each record for itself, so that a damaged row, a page that cannot be
// read and an entry whose record is not there cost no more than themselves. All of it is of one instant: that of the walk.
func (s *Store) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	found := findings{limit: limit}
	err := s.withReader(ctx, func(r *reader) error {
		return r.due.query(ctx, func(row []driver.Value) error {
			return found.add(r.dueRecord(row))
		}, after.Due, after.Key.ID, after.Key.Scope)
	})
	records, err := found.result(err)
	return records, s.explain("read what is due", err)
}

// dueRecord reads the record that a row of the index says is due.
func (r *reader) dueRecord(row []driver.Value) (*store.Record, error) {
	due, _ := row[0].(int64)
	key := keyOf(row[1], row[2])
	rec, err := r.read.record(key)
	if err == nil && (rec == nil || rec.Due != due || rec.State > store.Waiting) {
		err = fmt.Errorf("%w: the index of what is due names record %q in scope %q, which is not there or not due then; "+
			"restore the store from a copy", ErrCorrupt, key.ID, key.Scope)
		err = &store.DamagedError{Keys: []store.Key{key}, Err: err}
	}
	return rec, err
}

// record reads the record of key, nil if there is none; the statement selects columns by key.
func (s *stmt) record(key store.Key) (rec *store.Record, err error) {
	err = s.query(context.Background(), func(row []driver.Value) error {
		rec, err = scanRecord(row)
		if err == nil && rec.Key != key { // where a damaged key has broken the order, a search ends anywhere
			err = damaged("record %q in scope %q, or one beside it,", key.ID, key.Scope)
		}
		return err
	}, key.ID, key.Scope)
	switch {
	case err == nil:
		return rec, nil
	case errors.Is(err, ErrCorrupt):
	case unreadable(err):
		err = fmt.Errorf("record %q in scope %q cannot be read; mend the disk, or restore the store from a copy: %w", key.ID, key.Scope, err)
	default:
		return nil, err
	}
	return nil, &store.DamagedError{Keys: []store.Key{key}, Err: err}
}

// unreadable tells whether err is about the pages that were read, and says nothing of others.
func unreadable(err error) bool {
	switch c := code(err); c {
	case sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS:
		return true
	default:
		return c&0xff == sqlite3.SQLITE_CORRUPT
	}
}

// findings are what a query for many records has found so far.
type findings struct {
	limit   int
	records []*store.Record // sound, at most limit of them
	damaged store.DamagedError
}

// errEnough ends a query.
var errEnough = errors.New("enough was found")

// add takes what became of one record. An error ends the query.
func (f *findings) add(r *store.Record, err error) error {
	var d *store.DamagedError
	switch {
	case errors.As(err, &d):
		f.damaged.Keys = append(f.damaged.Keys, d.Keys...)
		f.damaged.Err = cmp.Or(f.damaged.Err, d.Err)
		return nil
	case err != nil:
		return err
	}
	if f.records = append(f.records, r); len(f.records) == f.limit {
		return errEnough
	}
	return nil
}

// result is what the query returns that ended with err.
func (f *findings) result(err error) ([]*store.Record, error) {
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return nil, err
	case len(f.damaged.Keys) > 0:
		return f.records, &f.damaged
	}
	return f.records, nil
}
