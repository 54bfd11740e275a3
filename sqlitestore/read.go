package sqlitestore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"strings"

	"github.com/certifiedhttp/chttp/store"
)

// columns are those of a record, in the order of scanRecord.
const columns = "id, scope, run, version, state, certified, created, due, bound, fixed, moved, blobs, function, print, tail, head, oplog"

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	var record *store.Record
	err := s.withReader(ctx, func(r *reader) (err error) {
		record, err = r.read.record(key)
		return err
	})
	if err != nil {
		return nil, s.explain("read record", err)
	}
	if record == nil {
		return nil, store.ErrNotFound
	}
	return record, nil
}

// Chunks implements store.Store.
func (s *Store) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	var chunks []store.Chunk
	err := s.withReader(ctx, func(r *reader) error {
		return r.chunks.query(context.Background(), func(row []driver.Value) error {
			n, _ := row[0].(int64)
			data, _ := row[2].([]byte)
			if n == 1 && row[1] != blobsSum(nil, data) || n != 1 && row[1] != chunkSum(key, n, data) {
				err := damaged("chunk %d of %q in scope %q", n, key.ID, key.Scope)
				return &store.DamagedError{Keys: []store.Key{key}, Err: err}
			}
			chunks = append(chunks, store.Chunk{Number: int(n), Data: data})
			return nil
		}, key.ID, key.Scope)
	})
	return chunks, s.explain("read chunks", err)
}

// List implements store.Store. Without an ID it may look at every record.
func (s *Store) List(ctx context.Context, q store.Query) ([]*store.Record, error) {
	where := []string{"(id, scope) > (?, ?)"}
	args := []driver.Value{q.After.ID, q.After.Scope}
	if q.ID != "" {
		where, args = append(where, "id = ?"), append(args, q.ID)
	}
	if len(q.States) > 0 {
		where = append(where, "state IN (?"+strings.Repeat(", ?", len(q.States)-1)+")")
		for _, state := range q.States {
			args = append(args, int64(state))
		}
	}
	if q.Function != "" {
		where, args = append(where, "function = ?"), append(args, q.Function)
	}
	if q.Limit <= 0 {
		q.Limit = DefaultListLimit
	}
	found, before := findings{limit: q.Limit}, q.After
	err := s.withReader(ctx, func(r *reader) error {
		st, err := r.prepare("SELECT " + columns + " FROM chttp_record WHERE " + strings.Join(where, " AND ") + " ORDER BY id, scope")
		if err != nil {
			return err
		}
		defer st.Close()
		return st.query(ctx, func(row []driver.Value) error {
			key := keyOf(row[0], row[1])
			if cmp.Or(cmp.Compare(key.ID, before.ID), cmp.Compare(key.Scope, before.Scope)) <= 0 {
				return fmt.Errorf("%w: record %q in scope %q is out of order; restore the store from a copy", ErrCorrupt, key.ID, key.Scope)
			}
			before = key
			rec, err := scanRecord(row)
			if err != nil {
				err = &store.DamagedError{Keys: []store.Key{key}, Err: err}
			}
			return found.add(rec, err)
		}, args...)
	})
	records, err := found.result(err)
	return records, s.explain("list records", err)
}

// Facts implements store.Store.
func (s *Store) Facts(ctx context.Context) ([]store.Fact, error) {
	var facts []store.Fact
	err := s.withReader(ctx, func(r *reader) error {
		return r.facts.query(context.Background(), func(row []driver.Value) error {
			fact, err := scanFact(row)
			facts = append(facts, fact)
			return err
		})
	})
	return facts, s.explain("read facts", err)
}

func scanFact(row []driver.Value) (store.Fact, error) {
	name, _ := row[0].(string)
	value, _ := row[2].([]byte)
	if row[1] != factSum(name, value) {
		return store.Fact{}, damaged("fact %q", name)
	}
	return store.Fact{Name: name, Value: append([]byte{}, value...)}, nil
}

// scanRecord makes a record of a row of columns, or finds it damaged.
func scanRecord(row []driver.Value) (*store.Record, error) {
	var ints [10]int64 // run, version, state, certified, created, due, bound, fixed, moved, blobs
	for i := range ints {
		ints[i], _ = row[i+2].(int64)
	}
	r := &store.Record{Run: uint64(ints[0]), Created: ints[4], Due: ints[5], Bound: ints[6], Certified: ints[3] != 0}
	r.Key = keyOf(row[0], row[1])
	r.Function, _ = row[12].(string)
	r.Print, _ = row[13].([]byte)
	r.Tail, _ = row[14].([]byte)
	r.Head, _ = row[15].([]byte)
	r.Oplog, _ = row[16].([]byte)
	if v := ints[1]; v > 0 && v <= math.MaxInt32 {
		r.Version = int(v)
	}
	if v := ints[2]; v > 0 && v <= int64(store.Acknowledged) {
		r.State = store.State(v)
	}
	if ints[7] != fixedSum(r.Key, r.Run, r.Function, r.Created, r.Certified, r.Print) ||
		ints[8] != movedSum(r.Version, r.State, r.Due, r.Bound, r.Tail) || ints[9] != blobsSum(r.Head, r.Oplog) {
		return nil, damaged("record %q in scope %q", r.ID, r.Scope)
	}
	return r, nil
}

func keyOf(id, scope driver.Value) (key store.Key) {
	key.ID, _ = id.(string)
	key.Scope, _ = scope.(string)
	return key
}
