package sqlitestore_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// goldenFile returns the newest golden file, whose bytes are always the same.
func goldenFile(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open(goldens[len(goldens)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// placed writes file and, if there is one, a WAL at path, where another store was before.
func placed(t testing.TB, path string, file, wal []byte) {
	t.Helper()
	for _, beside := range []string{"-wal", "-shm", "-journal", "-lock"} {
		os.Remove(path + beside)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if len(wal) == 0 {
		return
	}
	if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzOpen opens files of any bytes, and stores some bytes of which are others: four bytes an edit, where in the file and what is flipped
// there. Open and every call say that it is no store, or damaged, or answer what was stored; where another answer is given, Check finds the
// damage.
func FuzzOpen(f *testing.F) {
	whole := goldenFile(f)
	path := f.TempDir() + "/node.db"
	placed(f, path, whole, nil)
	s, err := sqlitestore.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	want, err := s.List(ctx, store.Query{})
	if err != nil || len(want) == 0 {
		f.Fatal(want, err)
	}
	s.Close()
	f.Add(uint32(0), []byte{}, []byte{}, []byte{})
	for _, size := range []uint32{1, 100, 511, 512, 8192, 40000, 81919} {
		f.Add(81920-size, []byte{}, []byte{}, []byte{})
	}
	for _, text := range []string{"CREATE", "chttp_record", "due", "chunk 2", "request", "value", "longlong", "answered", "fact", "bank", "print"} {
		at := 0
		for range min(2, bytes.Count(whole, []byte(text))) {
			at += 1 + bytes.Index(whole[at+1:], []byte(text))
			f.Add(uint32(0), []byte{byte(at >> 16), byte(at >> 8), byte(at), 0x41}, []byte{}, []byte{})
		}
	}
	for _, at := range []int{16, 18, 20, 24, 28, 36, 40, 44, 47, 52, 56, 60, 68, 92, 100, 103, 105, 8192, 8195, 8200} { // headers of the file and of pages
		f.Add(uint32(0), []byte{byte(at >> 16), byte(at >> 8), byte(at), 1}, []byte{}, []byte{})
	}
	f.Add(uint32(0), []byte{}, []byte("SQLite format 3\x00"), []byte{})
	f.Add(uint32(0), []byte{}, bytes.Repeat([]byte("not a store"), 100), []byte{})
	f.Add(uint32(0), []byte{}, whole[:512], []byte{})
	f.Add(uint32(0), []byte{}, []byte{}, []byte("\x37\x7f\x06\x82\x00\x2d\xe2\x18\x00\x00\x20\x00\x00\x00\x00\x00 a log of nothing"))
	f.Fuzz(func(t *testing.T, cut uint32, edits, plain, wal []byte) {
		file := bytes.Clone(plain)
		if len(plain) == 0 {
			file = bytes.Clone(whole[:len(whole)-int(cut)%len(whole)])
			for ; len(edits) >= 4; edits = edits[4:] {
				file[(int(edits[0])<<16|int(edits[1])<<8|int(edits[2]))%len(file)] ^= edits[3]
			}
		}
		placed(t, path, file, wal)
		lookedInto(t, path, want, false)
		opened := lookedInto(t, path, want, true)
		if left, err := os.ReadFile(path); !opened && len(wal) == 0 && (err != nil || !bytes.Equal(left, file)) {
			t.Errorf("Open refuses the file and changes it: %v", err)
		}
	})
}

// named checks that err, if there is one, says that the file is damaged, or cannot be written, as its beginning may claim.
func named(t *testing.T, doing string, err error) (ok bool) {
	t.Helper()
	damaged := errors.Is(err, sqlitestore.ErrCorrupt) || errors.As(err, new(*store.DamagedError))
	if err != nil && !damaged && !errors.Is(err, sqlitestore.ErrReadOnly) {
		t.Errorf("%s: %v, which has no name", doing, err)
	}
	return err == nil
}

// lookedInto opens the file, to write or to read, and reads all of it. It returns whether it is taken for a store.
func lookedInto(t *testing.T, path string, want []*store.Record, write bool) bool {
	t.Helper()
	open := sqlitestore.OpenReader
	if write {
		open = sqlitestore.Open
	}
	s, err := open(path)
	if err != nil {
		if !errors.Is(err, sqlitestore.ErrForeign) && !errors.Is(err, sqlitestore.ErrSchema) {
			named(t, "open", err)
		}
		return false
	}
	defer s.Close()
	sound := named(t, "check", s.Check(ctx))
	got, err := s.List(ctx, store.Query{})
	if named(t, "list", err) && sound && len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("Check finds nothing, and the records are %+v", got)
	}
	for _, r := range want {
		one, err := s.Read(ctx, r.Key)
		if !errors.Is(err, store.ErrNotFound) && named(t, "read", err) && (sound || r.State != store.Acknowledged) && !reflect.DeepEqual(one, r) {
			t.Errorf("read %+v, want %+v", one, r)
		}
		_, err = s.Chunks(ctx, r.Key)
		named(t, "chunks", err)
	}
	_, err = s.Due(ctx, store.Cursor{}, 100)
	named(t, "due", err)
	_, err = s.Facts(ctx)
	named(t, "facts", err)
	if !write {
		return true
	}
	id, err := s.Join(ctx, 0)
	if !named(t, "join", err) {
		return true
	}
	_, err = s.Commit(ctx, &store.Batch{Token: id.Token, Changes: []store.Change{insert("new")}, Now: 1 << 50, Floor: 1 << 50, Sweep: 10})
	if named(t, "commit", err) && sound {
		if _, err := s.Read(ctx, insert("new").Key); err != nil {
			t.Errorf("read what was committed: %v", err)
		}
	}
	return true
}

// FuzzMark opens a sound store beside a lock file of any bytes. It is opened, and goes on, unless these say that it had come further.
func FuzzMark(f *testing.F) {
	whole := goldenFile(f)
	path := f.TempDir() + "/node.db"
	placed(f, path, whole, nil)
	s := open(f, path)
	if _, err := s.Commit(ctx, &store.Batch{Token: join(f, s).Token, Floor: 1 << 50}); err != nil {
		f.Fatal(err)
	}
	s.Close()
	newer, err := os.ReadFile(path + "-lock")
	if err != nil || len(newer) == 0 {
		f.Fatalf("the mark is %q, %v", newer, err)
	}
	has := func(lock []byte) bool { // all that the mark says
		return !slices.ContainsFunc(bytes.Fields(newer), func(word []byte) bool { return !bytes.Contains(lock, word) })
	}
	f.Add(newer)
	f.Add(newer[:len(newer)-1])
	f.Add(newer[:len(newer)-5])
	f.Add(bytes.Replace(newer, []byte(" 1125"), []byte(" 2125"), 1)) // another floor
	f.Add(append([]byte(" \n"), newer...))
	f.Add([]byte("chttp-mark 1 known 99999999999999999999999 -1 0\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, lock []byte) {
		for range 2 {
			placed(t, path, whole, nil)
			if err := os.WriteFile(path+"-lock", lock, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := sqlitestore.Open(path)
			older := errors.Is(err, sqlitestore.ErrOlder)
			if err != nil && !older || older && !has(lock) || !older && bytes.HasPrefix(lock, newer) {
				t.Fatalf("Open beside %q: %v", lock, err)
			}
			if err != nil {
				return
			}
			_, err = s.Commit(ctx, &store.Batch{Token: join(t, s).Token, Floor: 1 << 50, Changes: []store.Change{insert("new")}})
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
			if lock, err = os.ReadFile(path + "-lock"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
