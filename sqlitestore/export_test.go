package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// CopyAsAfterKill copies the files of a live store as they are, which is what a process that is killed now leaves, and returns
// the path of the copy.
func CopyAsAfterKill(t *testing.T, s *Store) string {
	t.Helper()
	s.mu.Lock() // a copy that a commit went through would not be of one instant
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

// LimitPages lets the file grow by no more than so many pages from now on, as if the disk were full.
func LimitPages(t *testing.T, s *Store, more int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.w.askInt("PRAGMA page_count")
	if err == nil {
		err = s.w.run(fmt.Sprintf("PRAGMA max_page_count = %d", n+more))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// LoseAnswer lets the next COMMIT of s fail, before or after it is done.
func LoseAnswer(s *Store, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.commitStmt.Stmt = &losing{s.w.commitStmt.Stmt.(driverStmt), s.w.commitStmt, after}
}

type driverStmt interface {
	driver.Stmt
	driver.StmtExecContext
}

type losing struct {
	driverStmt
	of    *stmt
	after bool
}

func (l *losing) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	l.of.Stmt = l.driverStmt
	if l.after {
		if _, err := l.driverStmt.ExecContext(ctx, args); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the answer was lost")
}

// Exec runs SQL on the writer's connection.
func Exec(t *testing.T, s *Store, sql string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.w.run(sql); err != nil {
		t.Fatal(err)
	}
}

// LimitLog has the log written back when it has so many frames.
func LimitLog(s *Store, frames int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.limit = frames
}
