package sqlitestore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/certifiedhttp/chttp/store"
)

// Check reads the whole file and returns an error that wraps ErrCorrupt if anything in it is not as it should be: SQLite's own
// structures, the checksum of every row, chunks without a record, records without their chunks. Commits go on meanwhile; it checks
// the state at its beginning.
func (s *Store) Check(ctx context.Context) error {
	return s.explain("check", s.withReader(ctx, func(r *reader) error {
		// One transaction, so that all questions are about one state.
		if err := r.run("BEGIN"); err != nil {
			return err
		}
		defer r.run("COMMIT")
		for _, check := range []func(context.Context, *reader) error{
			checkStructure, checkNode, checkRecords, checkChunks, checkFacts,
		} {
			if err := check(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}))
}

// each calls do with every row of a query that is made once.
func (r *reader) each(ctx context.Context, sql string, do func(row []driver.Value) error) error {
	st, err := r.prepare(sql)
	if err != nil {
		return err
	}
	defer st.Close()
	return st.query(ctx, do)
}

func checkStructure(ctx context.Context, r *reader) error {
	return r.each(ctx, "PRAGMA integrity_check(1)", func(row []driver.Value) error {
		if row[0] != "ok" {
			return fmt.Errorf("%w: SQLite finds: %v; restore the store from a copy", ErrCorrupt, row[0])
		}
		return nil
	})
}

func checkNode(ctx context.Context, r *reader) error {
	n := 0
	err := r.each(ctx, nodeSQL, func(row []driver.Value) error {
		n++
		_, err := scanNode(row)
		return err
	})
	if err == nil && n != 1 {
		err = fmt.Errorf("%w: it has %d rows about the node; restore it from a copy", ErrCorrupt, n)
	}
	return err
}

func checkRecords(ctx context.Context, r *reader) error {
	err := r.each(ctx, "SELECT "+columns+" FROM chttp_record", func(row []driver.Value) error {
		rec, err := scanRecord(row)
		if err == nil && (rec.Run == 0 || rec.Version == 0 || rec.State == 0) {
			err = damaged("record %q in scope %q", rec.ID, rec.Scope)
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.each(ctx, `SELECT id, scope FROM chttp_record r
		WHERE chunked <> EXISTS (SELECT * FROM chttp_chunk c WHERE c.id = r.id AND c.scope = r.scope) LIMIT 1`,
		func(row []driver.Value) error {
			return fmt.Errorf("%w: record %q in scope %q has not the chunks that it names; restore the store from a copy", ErrCorrupt, row[0], row[1])
		})
}

func checkChunks(ctx context.Context, r *reader) error {
	err := r.each(ctx, "SELECT id, scope, n, sum, data FROM chttp_chunk", func(row []driver.Value) error {
		id, _ := row[0].(string)
		scope, _ := row[1].(string)
		n, _ := row[2].(int64)
		data, _ := row[4].([]byte)
		if row[3] != chunkSum(store.Key{Scope: scope, ID: id}, n, data) {
			return damaged("chunk %d of %q in scope %q", n, id, scope)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.each(ctx, `SELECT id, scope, n FROM chttp_chunk c
		WHERE n < 2 OR NOT EXISTS (SELECT * FROM chttp_record r WHERE r.id = c.id AND r.scope = c.scope AND r.version >= c.n) LIMIT 1`,
		func(row []driver.Value) error {
			return fmt.Errorf("%w: chunk %d of %q in scope %q has no record; restore the store from a copy", ErrCorrupt, row[2], row[0], row[1])
		})
}

func checkFacts(ctx context.Context, r *reader) error {
	return r.facts.query(ctx, func(row []driver.Value) error {
		_, err := scanFact(row)
		return err
	})
}
