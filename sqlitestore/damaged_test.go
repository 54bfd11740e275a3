package sqlitestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
	"github.com/certifiedhttp/chttp/storetest"
)

// TestADamagedRecordIsNamed flips a bit in the file, each time in something else of the record.
func TestADamagedRecordIsNamed(t *testing.T) {
	for _, what := range []string{"head", "print", "function"} {
		t.Run(what, func(t *testing.T) {
			var path string
			storetest.RunDamaged(t,
				func(t *testing.T) store.Store {
					path = newPath(t)
					return open(t, path)
				},
				func(t *testing.T, s store.Store, key store.Key) store.Store {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					change(t, path, func(file []byte) {
						value := fmt.Appendf(nil, "%s of %s", what, key.ID)
						if n := flipAll(file, value); n == 0 {
							t.Fatalf("no %q in the file", value)
						}
					})
					return open(t, path)
				})
		})
	}
}

// change lets do change the bytes of a file that is closed.
func change(t *testing.T, path string, do func(file []byte)) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	do(file)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// flipAll flips a bit in the last byte of each occurrence of value, and returns how many there were.
func flipAll(file, value []byte) (n int) {
	for at := bytes.Index(file, value); at >= 0; at = bytes.Index(file, value) {
		file[at+len(value)-1] ^= 0x80
		n++
	}
	return n
}

// dueNow returns the ids of what is due, and of what Due names as damaged.
func dueNow(t *testing.T, path string) (found, named []string) {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	records, err := s.Due(ctx, store.Cursor{}, 1000)
	var d *store.DamagedError
	if errors.As(err, &d) {
		for _, key := range d.Keys {
			named = append(named, key.ID)
		}
		t.Log(err)
	} else if err != nil {
		t.Errorf("due: %v", err)
	}
	for _, r := range records {
		found = append(found, r.ID)
	}
	return found, named
}

// stored makes a store with n running records of some size, due one after the other, and returns its path and their ids.
func stored(t *testing.T, n int) (path string, ids []string) {
	t.Helper()
	path = newPath(t)
	s := open(t, path)
	token := join(t, s).Token
	for i := range n {
		c := insert(fmt.Sprintf("id-%03d-di", i))
		c.Due, c.Head = 1<<40+int64(i), bytes.Repeat([]byte("x"), 500)
		commit(t, s, token, c)
		ids = append(ids, c.Key.ID)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, ids
}

// TestNothingDueIsMissedInSilence flips a bit of an id, wherever it stands: in the table, in the index of what is due, in an old copy in
// free space. Each record is found or named then, and one that a flipped entry of the index does not lead to has its entry named.
func TestNothingDueIsMissedInSilence(t *testing.T) {
	path, ids := stored(t, 100)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inTable, inIndex := 0, 0
	for at := range whole {
		if !bytes.HasPrefix(whole[at:], []byte(ids[40])) {
			continue
		}
		damaged := newPath(t)
		if err := os.WriteFile(damaged, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		change(t, damaged, func(file []byte) { file[at+len("id-")] ^= 4 })
		found, named := dueNow(t, damaged)
		if len(named) > 3 {
			t.Errorf("byte %d: names %q", at, named)
		}
		if slices.Contains(named, ids[40]) {
			inTable++
		}
		if slices.Equal(named, []string{"id-440-di"}) {
			inIndex++
			named = []string{ids[40]}
		}
		if all := slices.Sorted(slices.Values(append(named, found...))); !slices.Equal(all, ids) {
			t.Errorf("byte %d: found and named %q", at, all)
		}
	}
	if inTable == 0 || inIndex == 0 {
		t.Errorf("%d flips in the table, %d in the index", inTable, inIndex)
	}
}

// TestAPageThatCannotBeReadCostsOnlyItsRecords spoils the header of a page of the table.
func TestAPageThatCannotBeReadCostsOnlyItsRecords(t *testing.T) {
	path, ids := stored(t, 100)
	const page = 8192
	change(t, path, func(file []byte) {
		spoiled := false
		for at := 0; at < len(file); at += page {
			if p := file[at : at+page]; bytes.Contains(p, []byte(ids[50])) && bytes.Contains(p, []byte("xxxx")) {
				clear(p[:16])
				spoiled = true
			}
		}
		if !spoiled {
			t.Fatalf("no page of the table has %s", ids[50])
		}
	})
	found, named := dueNow(t, path)
	all := append(slices.Clone(found), named...)
	slices.Sort(all)
	if !slices.Equal(all, ids) || len(named) == 0 || len(named) > 20 || !slices.Contains(named, ids[50]) {
		t.Errorf("found %q, named %q", found, named)
	}
	s := open(t, path)
	if _, err := s.Read(ctx, store.Key{ID: ids[50]}); !errors.Is(err, sqlitestore.ErrCorrupt) {
		t.Errorf("read: got %v, want %v", err, sqlitestore.ErrCorrupt)
	}
}
