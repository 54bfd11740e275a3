package sqlitestore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
	"github.com/certifiedhttp/chttp/storetest"
)

var ctx = context.Background()

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) store.Store { return open(t, newPath(t)) },
		func(t *testing.T, s store.Store) store.Store {
			return open(t, sqlitestore.CopyAsAfterKill(t, s.(*sqlitestore.Store)))
		})
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "node.db") }

func open(t testing.TB, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func join(t testing.TB, s store.Store) store.Identity {
	t.Helper()
	id, err := s.Join(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// insert is a running record.
func insert(id string) store.Change {
	return store.Change{
		Key: store.Key{ID: id}, Run: 1, Version: 1, Function: "f", State: store.Running, Created: 1, Due: 1,
		Print: []byte("print"), Head: []byte("head of " + id), Chunk: []byte("chunk 1"),
	}
}

func commit(t testing.TB, s store.Store, token store.Token, changes ...store.Change) {
	t.Helper()
	report, err := s.Commit(ctx, &store.Batch{Token: token, Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range report.Results {
		if r.Status != store.Done {
			t.Fatalf("change %d: status %d", i, r.Status)
		}
	}
}

func check(t testing.TB, s *sqlitestore.Store) {
	t.Helper()
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
}

func TestOpenedAgainItHoldsWhatWasCommitted(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	first := join(t, s)
	commit(t, s, first.Token, insert("a"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if _, err := s.Read(ctx, store.Key{ID: "a"}); err != nil {
		t.Error(err)
	}
	again := join(t, s)
	if again.Store != first.Store || string(again.Secret) != string(first.Secret) || again.Token.Incarnation != 2 {
		t.Errorf("got %v after %v", again, first)
	}
	check(t, s)
}

func TestAFileIsOpenOnce(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if _, err := sqlitestore.Open(p); !errors.Is(err, sqlitestore.ErrLocked) {
			t.Errorf("got %v, want %v", err, sqlitestore.ErrLocked)
		}
	}
	s.Close()
	open(t, path)
}

func TestACloseLeavesNoFileOpen(t *testing.T) {
	path := newPath(t)
	for i := range 3 {
		s := open(t, path)
		commit(t, s, join(t, s).Token, insert(fmt.Sprint(i)))
		if _, err := s.List(ctx, store.Query{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the WAL is still there: %v", err)
		}
	}
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE t (a)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	version := func(n int) string {
		path := filepath.Join(dir, fmt.Sprintf("version%d.db", n))
		s := open(t, path)
		sqlitestore.Exec(t, s, fmt.Sprintf("PRAGMA user_version = %d", n))
		s.Close()
		return path
	}
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"text", write("text.db", "this is a text of more than sixteen bytes, which no database begins with"), sqlitestore.ErrForeign},
		{"a short text", write("short.db", "x"), sqlitestore.ErrForeign},
		{"another application's database", foreign, sqlitestore.ErrForeign},
		{"a directory", dir, sqlitestore.ErrForeign},
		{"a later schema", version(99), sqlitestore.ErrSchema},
		{"an earlier schema than the first", version(0), sqlitestore.ErrSchema},
		{"no directory", filepath.Join(dir, "missing", "node.db"), os.ErrNotExist},
		{"no path", "", nil},
	} {
		before, _ := os.ReadFile(c.path)
		s, err := sqlitestore.Open(c.path)
		if err == nil {
			s.Close()
		}
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		t.Logf("%s: %v", c.name, err)
		if after, _ := os.ReadFile(c.path); string(after) != string(before) {
			t.Errorf("%s: the file was changed", c.name)
		}
		if r, err := sqlitestore.OpenReader(c.path); err == nil {
			r.Close()
			t.Errorf("%s: OpenReader opened it", c.name)
		}
	}
}

func TestOpenReportsAFileThatItMayNotRead(t *testing.T) {
	path := newPath(t)
	open(t, path).Close()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	s, err := sqlitestore.Open(path)
	if os.Geteuid() == 0 { // root may read everything: then it is an ordinary file
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		return
	}
	if err == nil {
		t.Fatal("it was opened")
	}
}

func TestAnEmptyFileIsANewStore(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	commit(t, s, join(t, s).Token, insert("a"))
	check(t, s)
}

func TestANewFileIsItsOwnersAlone(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	commit(t, s, join(t, s).Token, insert("a"))
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		i, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := i.Mode().Perm(); got != 0o600 && runtime.GOOS != "windows" {
			t.Errorf("%s: mode %v, want 0600", filepath.Base(name), got)
		}
	}
}

func TestAPathMayHaveAnyCharacters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20&mode=memory.db")
	s := open(t, path)
	commit(t, s, join(t, s).Token, insert("a"))
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestAReaderLooksAtALiveStore(t *testing.T) {
	path := newPath(t)
	if _, err := sqlitestore.OpenReader(path); err == nil {
		t.Error("a file that does not exist was opened")
	}
	s := open(t, path)
	token := join(t, s).Token
	r, err := sqlitestore.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	commit(t, s, token, insert("a"))
	if _, err := r.Read(ctx, store.Key{ID: "a"}); err != nil {
		t.Error(err)
	}
	check(t, r)
	s.Close()
	if _, err := r.Read(ctx, store.Key{ID: "a"}); err != nil {
		t.Errorf("after the writer's close: %v", err)
	}
	closed, err := sqlitestore.OpenReader(path)
	if err != nil {
		t.Fatalf("of a store that nobody has open: %v", err)
	}
	defer closed.Close()
	check(t, closed)
}

func TestReader(t *testing.T) {
	path := ""
	storetest.RunReader(t,
		func(t *testing.T) store.Store {
			path = newPath(t)
			return open(t, path)
		},
		func(t *testing.T, _ store.Store) store.Store {
			r, err := sqlitestore.OpenReader(path)
			if err != nil {
				t.Fatal(err)
			}
			return r
		})
}

func TestTheApplicationMayKeepTablesInTheFile(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	token := join(t, s).Token
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE account (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for range 50 {
			tx, err := db.Begin()
			if err == nil {
				_, err = tx.Exec("INSERT INTO account VALUES (1)")
			}
			if err == nil {
				err = tx.Commit()
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range 50 {
		commit(t, s, token, insert(fmt.Sprint(i)))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	check(t, s)
	s.Close()
	open(t, path)
}

func TestAnotherWritersTransactionDelaysNoRead(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	commit(t, s, join(t, s).Token, insert("a"))
	db, err := sql.Open("sqlite", path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := s.Read(ctx, store.Key{ID: "a"}); err != nil {
		t.Error(err)
	}
}
