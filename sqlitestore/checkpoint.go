package sqlitestore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/certifiedhttp/chttp/store"
)

const (
	// logLimit is 16 MiB of log. Pages that many batches touch are written back once, and reading the log after a crash takes some 10 ms.
	// The commit that passes the mark does the work.
	logLimit = 2000

	// tightLimit is 1 MiB, once there was no room for more.
	tightLimit = 128
)

// writeBack writes the log back into the file when it has grown long enough. That SQLite would do by itself, but without a word of a sync of
// the file that failed; and then nothing may be written back any more: see fail.
func (w *writer) writeBack() {
	var frames int64
	err := w.logged.query(context.Background(), func(row []driver.Value) error {
		frames, _ = row[1].(int64)
		return nil
	})
	if err != nil || frames < w.limit {
		return // the next commit asks again
	}
	err = w.checkpoint.query(context.Background(), func([]driver.Value) error { return nil })
	w.fail(err)
}

// makeRoom writes the log back into the file and empties it. The log may be most of what is on a full disk: it grows to 16 MiB, whatever little
// it is about. From then on, until the store is opened again, it is written back early. It is false where even that finds no room, or a
// reader of the application is in the way, for which it does not wait.
func (w *writer) makeRoom() bool {
	w.limit = tightLimit
	if w.run("PRAGMA busy_timeout = 0") != nil {
		return false
	}
	busy, err := w.askInt("PRAGMA wal_checkpoint(TRUNCATE)")
	w.run("PRAGMA " + busyPragma)
	w.fail(err)
	return err == nil && busy == 0
}

// fail ends the writer if err says that a sync failed while the log was written back. The kernel may have dropped what it could not write, and
// the next sync would say that all is well. What this attempt wrote the next would write again; but not what earlier ones wrote, which a
// reader had kept from the end of the log: SQLite counts that as done, and leaves the sync to whoever gets there. The log has it all, and is
// kept; when the store is opened again all of it is written back anew.
func (w *writer) fail(err error) {
	if code(err) != sqlite3.SQLITE_IOERR_FSYNC || w.failed != nil {
		return
	}
	w.failed = fmt.Errorf("%w: a sync of the file failed, and what was written to it may be lost; its log has everything: mend the disk, and open "+
		"the store again: %w", store.ErrClosed, err)
	if _, err := w.Conn.(sqlite.FileControl).FileControlPersistWAL("main", 1); err != nil {
		w.failed = fmt.Errorf("%w (and the log may not be kept: %w)", w.failed, err)
	}
}
