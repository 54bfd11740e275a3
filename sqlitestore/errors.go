package sqlitestore

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/certifiedhttp/chttp/store"
)

// Errors of Open and of a store that was opened. Their texts say what to do.
var (
	// ErrLocked: another process, or another Store of this one, has the file open.
	ErrLocked = errors.New("store is in use")
	// ErrForeign: the file is something else than a store. It was not touched.
	ErrForeign = errors.New("not a store")
	// ErrSchema: the file is a store of another schema version than this program's. It was not touched.
	ErrSchema = errors.New("store has another schema version")
	// ErrCorrupt: the file is damaged. What was read from it cannot be relied upon.
	ErrCorrupt = errors.New("store is damaged")
	// ErrOlder: the file is an older copy of the store that was last open under its name, or has lost its log. It was not touched.
	ErrOlder = errors.New("store is older than it was")
	// ErrReadOnly: the store was opened with OpenReader, or its file can only be read.
	ErrReadOnly = store.ErrReadOnly
)

// code returns the extended result code of SQLite that err carries, or 0.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// full tells whether err is want of room. The shared memory beside the file is on the same disk, and SQLite has a code of its own
// for it.
func full(err error) bool {
	c := code(err)
	return c&0xff == sqlite3.SQLITE_FULL || c == sqlite3.SQLITE_IOERR_SHMSIZE
}

// explain puts what an error of SQLite means for the store at s.path in front of it.
func (s *Store) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	switch c := code(err); {
	case errors.Is(err, store.ErrUnknown): // whatever the cause
	case full(err):
		return fmt.Errorf("%s: %w: make room on the disk of %s: %w", doing, store.ErrFull, s.path, err)
	case c&0xff == sqlite3.SQLITE_CORRUPT, c&0xff == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s: %w: restore %s from a copy: %w", doing, ErrCorrupt, s.path, err)
	case c == sqlite3.SQLITE_IOERR_SHORT_READ:
		return fmt.Errorf("%s: %w: it has been cut short: restore %s from a copy: %w", doing, ErrCorrupt, s.path, err)
	case c&0xff == sqlite3.SQLITE_ERROR: // Our statements are right: what they are about is not.
		return fmt.Errorf("%s: %w: restore %s from a copy: %w", doing, ErrCorrupt, s.path, err)
	case c&0xff == sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%s: %w: see that this user may write %s, or restore it from a copy if its beginning is damaged: %w", doing, ErrReadOnly, s.path, err)
	case c&0xff == sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%s: another connection held the write lock of %s for more than %v: %w", doing, s.path, busyTimeout, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
