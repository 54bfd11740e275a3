package sqlitestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// filled makes a store with records in every kind of page, closes it and returns its path and what it held.
func filled(t *testing.T) (path string, records []*store.Record) {
	t.Helper()
	path = newPath(t)
	s := open(t, path)
	b := &store.Batch{Token: join(t, s).Token, Floor: 5, Facts: []store.Fact{{Name: "fact", Value: []byte("value")}}}
	for i := range 60 {
		c := insert(fmt.Sprintf("%03d", i))
		c.Head = bytes.Repeat(fmt.Appendf(nil, "head %d,", i), 10+i*i/8)
		if i%3 == 0 {
			c.State, c.Bound, c.Tail = store.Answered, 1<<40, []byte("the tail")
		}
		b.Changes = append(b.Changes, c)
	}
	b.Acks = []store.Ack{{Key: store.Key{ID: "003"}}}
	if _, err := s.Commit(ctx, b); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 60; i += 3 {
		commit(t, s, b.Token, store.Change{Key: b.Changes[i].Key, Run: 1, Version: 2, State: store.Running, Chunk: []byte("chunk 2")})
	}
	records, err := s.List(ctx, store.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, records
}

// TestFlippedBytesAreFound flips a byte at a time. In a value it must be found at Open, by a read or by Check; wherever it is, no
// read may give another answer than before unless Check finds it.
func TestFlippedBytesAreFound(t *testing.T) {
	path, want := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := newPath(t)
	flip := func(at int) error {
		b := bytes.Clone(whole)
		b[at] ^= 0x41
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
		err := look(damaged, want)
		os.Remove(damaged + "-wal")
		os.Remove(damaged + "-shm")
		return err
	}
	for _, value := range []string{"head 7,", "head 59,", "chunk 1", "chunk 2", "print", "the tail", "value", "013", "SQLite", "CREATE"} {
		// Pages keep old copies in their free space, where a flip is of no account.
		found, tries := false, 0
		for at := bytes.Index(whole, []byte(value)); at >= 0 && !found && tries < 100; tries++ {
			found = flip(at+1) != nil
			next := bytes.Index(whole[at+1:], []byte(value))
			if next < 0 {
				break
			}
			at += 1 + next
		}
		if !found {
			t.Errorf("a flip in %q was not found", value)
		}
	}
	found, flips := 0, 0
	for at := 0; at < len(whole); at += len(whole)/60 + 7 {
		flips++
		err := flip(at)
		if errors.As(err, new(wrongAnswer)) {
			t.Errorf("byte %d of %d: %v", at, len(whole), err)
		}
		if err != nil {
			found++
		}
	}
	t.Logf("found %d of %d anywhere; the rest changed nothing that is read", found, flips)
}

// wrongAnswer is an answer that differs while nothing was found.
type wrongAnswer string

func (w wrongAnswer) Error() string { return string(w) }

// look opens, checks and reads the store at path.
func look(path string, want []*store.Record) error {
	s, err := sqlitestore.Open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	checked := s.Check(ctx)
	for _, w := range want {
		r, err := s.Read(ctx, w.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if checked == nil {
				return wrongAnswer(w.ID + " is lost, and Check found nothing")
			}
		case err != nil:
			checked = errors.Join(checked, err)
		case !reflect.DeepEqual(r, w):
			if checked == nil || w.State != store.Acknowledged {
				return wrongAnswer(fmt.Sprintf("%s reads %v, want %v", w.ID, r.State, w.State))
			}
		}
	}
	return checked
}

func TestATruncatedFileIsFound(t *testing.T) {
	path, want := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 50, 100, 4096, 8192, len(whole) / 2, len(whole) - 8192, len(whole) - 9000} {
		damaged := newPath(t)
		if err := os.WriteFile(damaged, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		err := look(damaged, want)
		if err == nil || errors.As(err, new(wrongAnswer)) {
			t.Errorf("%d of %d bytes: %v", size, len(whole), err)
		}
		t.Logf("%d of %d bytes: %v", size, len(whole), err)
	}
}

func TestCheckFindsWhatBelongsToNothing(t *testing.T) {
	for _, sql := range []string{
		"DELETE FROM chttp_chunk WHERE id = '001'",
		"INSERT INTO chttp_chunk (id, scope, n, sum, data) VALUES ('nobody', '', 2, 0, x'00')",
		"UPDATE chttp_chunk SET n = 3 WHERE id = '001'",
		"DELETE FROM chttp_record WHERE id = '001'",
		"UPDATE chttp_record SET function = 'g' WHERE id = '001'",
		"UPDATE chttp_record SET version = 7 WHERE id = '001'",
		"UPDATE chttp_record SET head = x'00' WHERE id = '001'",
		"UPDATE chttp_fact SET value = x'00'",
		"UPDATE chttp_node SET floor = 4",
		"DELETE FROM chttp_node",
	} {
		path, _ := filled(t)
		s := open(t, path)
		sqlitestore.Exec(t, s, sql)
		if err := s.Check(ctx); !errors.Is(err, sqlitestore.ErrCorrupt) {
			t.Errorf("%s: got %v, want %v", sql, err, sqlitestore.ErrCorrupt)
		}
		s.Close()
	}
}
