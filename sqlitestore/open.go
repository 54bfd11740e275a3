package sqlitestore

import (
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// applicationID marks the file as a store: "chtp".
	applicationID = 0x63687470

	// schemaVersion is the user_version of a store that this program made, and the number of the last migration.
	schemaVersion = 2

	// smallestDatabase is the size of SQLite's smallest page.
	smallestDatabase = 512
)

//go:embed migrations/*.sql
var migrations embed.FS

// Open opens the store in the file at path for this process alone, making the file if there is none or if it is empty; its
// directory must be there. It refuses a file that is in use (ErrLocked), that is something else (ErrForeign), of a later version
// of this package (ErrSchema), visibly damaged (ErrCorrupt) or an older copy of the one that was there (ErrOlder), and leaves it as it was.
//
// Beside the file there will be <path>-wal and <path>-shm, which belong to it, and <path>-lock, which stays, and by which an older copy is
// known.
func Open(path string) (*Store, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := takeLock(path + "-lock")
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := newStore(path, "rw")
	s.lock = lock
	if err := s.openWriter(); err != nil {
		lock.Close()
		return nil, s.explain("open store "+path, err)
	}
	return s, nil
}

// OpenReader opens the store in the file at path to look at it, also while a process has it open, which goes on undisturbed: it takes
// no lock, Commit returns ErrReadOnly, and so does Join, with the identity of the node that chttp.New needs to look.
func OpenReader(path string) (*Store, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := newStore(path, readOnly)
	c, err := connect(path, s.mode)
	if err != nil {
		return nil, s.explain("open store "+path, s.openError(err))
	}
	defer c.Close()
	version, err := s.classify(c)
	if err == nil && version < schemaVersion {
		err = fmt.Errorf("%w: it has version %d and this program reads %d; open it once for writing", ErrSchema, version, schemaVersion)
	}
	if err != nil {
		return nil, s.explain("open store "+path, err)
	}
	return s, nil
}

// resolve returns the absolute path of the file behind symbolic links, so that one file has one lock.
func resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("its path is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("the directory of %s does not exist; make it first: %w", path, err)
		}
		return filepath.Join(dir, filepath.Base(path)), err
	}
	if err != nil {
		return "", err
	}
	if fi, err := os.Stat(real); err != nil {
		return "", err
	} else if !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s is a directory or device; name a file", ErrForeign, path)
	} else if n := fi.Size(); n > 0 && n < smallestDatabase {
		// SQLite takes it for empty, unless there is a journal from which it makes the file whole again.
		if _, err := os.Stat(real + "-journal"); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: %s is too short for a database; name another file, or restore it from a copy", ErrForeign, path)
		}
	}
	return real, nil
}

// takeLock locks the file at path. The file is never removed: another process could have it open and lock a file that has no
// name any more.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	taken, err := lockFile(f)
	if taken {
		err = fmt.Errorf("%w: another process, or another Store of this one, holds %s; end it first", ErrLocked, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openWriter opens the file, makes or migrates its schema and prepares the writer.
func (s *Store) openWriter() error {
	commits, err := checkLog(s.path + "-wal")
	if err != nil {
		return err
	}
	if info, err := os.Stat(s.path); commits && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0) {
		return s.bereft() // SQLite would delete the log
	}
	if err := s.checkMark(); err != nil {
		return err
	}
	// What is in the file, the secret behind message URLs among it, is its owner's alone. SQLite gives -wal and -shm the same mode. A file
	// that is there is not opened here: closing it would let go of the locks that this process has on it.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	c, err := connect(s.path, "rwc")
	if err != nil {
		return s.openError(err)
	}
	if err = s.prepareFile(c, commits); err == nil {
		s.w, err = newWriter(c)
	}
	if err != nil {
		c.Close()
		return err
	}
	return nil
}

// bereft is the error of a log whose file is gone.
func (s *Store) bereft() error {
	return fmt.Errorf("%w: %s is empty, and %[2]s-wal holds commits; restore both from a copy, or move the log away to begin anew", ErrCorrupt, s.path)
}

// prepareFile makes or migrates the schema. commits tells whether there are any in the log.
func (s *Store) prepareFile(c *conn, commits bool) error {
	// A read first: a file that is refused stays as it is.
	version, err := s.classify(c)
	if err != nil {
		return err
	}
	if version == 0 && commits { // the first commit there is makes the schema
		return s.bereft()
	}
	// In a new file each of these is a change on its own. A crash in between leaves an empty database, which is new again.
	for _, p := range filePragmas {
		if err := c.run("PRAGMA " + p); err != nil {
			return fmt.Errorf("pragma %s: %w", p, err)
		}
	}
	for v := version + 1; v <= schemaVersion; v++ {
		if err := migrate(c, v); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", v, err)
		}
	}
	return nil
}

// classify returns the schema version of the file, 0 if it is new, and refuses it if it is no store or of another time.
func (s *Store) classify(c *conn) (int64, error) {
	id, err := c.askInt("PRAGMA application_id")
	if err != nil {
		return 0, s.openError(err)
	}
	version, err := c.askInt("PRAGMA user_version")
	if err != nil {
		return 0, s.openError(err)
	}
	objects, err := c.askInt("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return 0, s.openError(err)
	}
	switch {
	case id == 0 && version == 0 && objects == 0 && s.mode != readOnly:
		return 0, nil
	case id != applicationID:
		return 0, fmt.Errorf("%w: %s is an SQLite database of another application; name another file, or open the store "+
			"first and then make the application's tables in it", ErrForeign, s.path)
	case version > schemaVersion:
		return 0, fmt.Errorf("%w: %s has version %d and this program knows versions up to %d; run a newer one",
			ErrSchema, s.path, version, schemaVersion)
	case version < 1:
		return 0, fmt.Errorf("%w: %s has version %d, which there never was; restore it from a copy", ErrSchema, s.path, version)
	}
	return version, nil
}

// openError explains the errors that only a first look at a file can have.
func (s *Store) openError(err error) error {
	switch c := code(err); {
	case c&0xff == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s is no SQLite database, or its beginning is damaged; name another file or restore it from a copy (%v)",
			ErrForeign, s.path, err)
	case c&0xff == sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%s cannot be opened; see that it exists and that this user may read and write it and its directory: %w", s.path, err)
	}
	return err
}

// migrate takes the file from version v-1 to v, whole or not at all: SQLite keeps both numbers in the file's first page, under
// the transaction.
func migrate(c *conn, v int64) error {
	sql, err := migrations.ReadFile(fmt.Sprintf("migrations/%d.sql", v))
	if err != nil {
		return err
	}
	script := "BEGIN IMMEDIATE;\n" + string(sql)
	if v == 1 {
		n := node{name: rand.Text()[:8], secret: make([]byte, 32)}
		rand.Read(n.secret)
		script += fmt.Sprintf("INSERT INTO chttp_node (one, name, secret, incarnation, sum) VALUES (1, '%s', x'%x', 0, %d);\n",
			n.name, n.secret, n.sum())
	}
	script += fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", applicationID, v)
	if err := c.run(script); err != nil {
		c.run("ROLLBACK")
		return err
	}
	return nil
}
