// Package sqlitestore keeps a node's durable memory in one SQLite file.
//
// The file is in WAL mode with synchronous=FULL: a Commit that has returned survives a power cut, and reads go on beside it. It is an
// ordinary database: sqlite3 opens it and Litestream copies it. The application may keep tables of its own in it, over
// connections of its own; its write transactions and the store's wait for each other. The tables that begin with chttp_, the
// application_id and the user_version belong to the store.
package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

const (
	// busyTimeout is how long a write waits for a write transaction of the application before it fails.
	busyTimeout = 10 * time.Second

	// DefaultListLimit is how many records List returns when the query says nothing.
	DefaultListLimit = 100

	// readOnly is the mode of SQLite in which a reader opens the file.
	readOnly = "ro"
)

// filePragmas are set on the writer's connection, the first two for ever in the file.
var filePragmas = []string{
	// A row without a rowid keeps a quarter of a page in the B-tree and the rest on pages of its own. At 4096 bytes a message of
	// 1 KiB is split, and a batch of 256 took a fifth longer; at 16384 a lone commit writes more for nothing.
	"page_size = 8192",
	"journal_mode = WAL",
	// Every commit syncs the WAL. NORMAL would lose the last commits in a power cut.
	"synchronous = FULL",
	// None are declared: a sweep deletes chunks itself, and only of records that have some.
	"foreign_keys = OFF",
	// The writer does it itself: see writeBack.
	"wal_autocheckpoint = 0",
	// 8 MiB. SQLite walks the whole cache when a commit has ended, so a bigger one made commits slower.
	"cache_size = -8000",
	"temp_store = MEMORY",
}

// Store is a store.Store in an SQLite file. Open and OpenReader make one. It is safe for concurrent use.
type Store struct {
	path string   // absolute
	mode string   // how its connections open the file
	lock *os.File // nil for a reader

	mu     sync.Mutex // guards what follows
	w      *writer    // nil for a reader, and once closed
	marked mark       // what the lock file says

	readers readers
	closed  chan struct{} // closed by Close
	closing sync.Once
}

func newStore(path, mode string) *Store {
	return &Store{
		path: path, mode: mode, closed: make(chan struct{}),
		readers: readers{slots: make(chan struct{}, max(4, runtime.GOMAXPROCS(0)))},
	}
}

var _ store.Store = (*Store)(nil)

// Join implements store.Store. The node is the store: its tokens bear the store's name.
func (s *Store) Join(ctx context.Context, floor int64) (store.Identity, error) {
	if err := ctx.Err(); err != nil {
		return store.Identity{}, err
	}
	if s.mode == readOnly {
		return s.identify(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return store.Identity{}, err
	}
	id, err := s.w.join(floor)
	if err == nil {
		s.setMark(mark{id.Token.Node, id.Token.Incarnation, id.Floor})
	}
	return id, s.explain("join", err)
}

// identify returns what the file says of its node, and ErrReadOnly.
func (s *Store) identify(ctx context.Context) (id store.Identity, err error) {
	err = s.withReader(ctx, func(r *reader) error {
		n, err := readNode(r.node)
		id = store.Identity{Store: n.name, Secret: n.secret, Floor: n.floor}
		return err
	})
	if err != nil {
		return store.Identity{}, s.explain("read the node", err)
	}
	return id, s.reading()
}

// reading is the error of a call that would write.
func (s *Store) reading() error { return fmt.Errorf("%s: %w", s.path, ErrReadOnly) }

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	if s.w.starved { // before the log takes what room there is by now
		s.w.starved = !s.w.makeRoom()
	}
	report, err := s.w.commitChecked(b)
	if full(err) && s.w.makeRoom() {
		report, err = s.w.commitChecked(b)
	}
	s.w.starved = full(err)
	if err != nil {
		return nil, s.explain("commit batch", err)
	}
	s.w.writeBack()
	s.setMark(mark{b.Token.Node, b.Token.Incarnation, report.Floor})
	return report, nil
}

// writable tells why the store cannot be written. The caller holds s.mu.
func (s *Store) writable() error {
	select {
	case <-s.closed:
		return store.ErrClosed
	default:
	}
	if s.w != nil && s.w.failed != nil {
		return fmt.Errorf("%s: %w", s.path, s.w.failed)
	}
	if s.w == nil {
		return s.reading()
	}
	return nil
}

// Close implements store.Store. The last connection to the file also puts the WAL back into it.
func (s *Store) Close() error {
	var errs []error
	s.closing.Do(func() {
		close(s.closed)
		errs = append(errs, s.readers.close())
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.w != nil {
			errs = append(errs, s.w.Close())
			s.w = nil
		}
		if s.lock != nil {
			errs = append(errs, s.lock.Close())
		}
	})
	return errors.Join(errs...)
}
