package sqlitestore

import (
	"os"
	"path/filepath"
	"testing"
)

// CopyAsAfterKill copies the files of a live store as they are, which is what a process that is killed now leaves, and returns
// the path of the copy.
func CopyAsAfterKill(t *testing.T, s *Store) string {
	t.Helper()
	s.mu.Lock() // no commit half-way: the copy is not of one instant
	defer s.mu.Unlock()
	path := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
