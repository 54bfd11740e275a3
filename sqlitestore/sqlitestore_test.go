package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
	"github.com/certifiedhttp/chttp/storetest"
)

func open(t testing.TB, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "node.db")) },
		func(t *testing.T, s store.Store) store.Store {
			return open(t, sqlitestore.CopyAsAfterKill(t, s.(*sqlitestore.Store)))
		})
}
