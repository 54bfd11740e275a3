package sqlitestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// commits is how many a history has.
const commits = 60

// history is a store after each of its commits, the first being the one that made the schema: what it held, and what its files were.
type history struct {
	states []map[string]string // what it held, by the names of records, chunks and facts
	files  []files
	seen   map[string]map[string]bool // everything that each of them ever was
}

// files are those of a store.
type files struct{ db, log, lock []byte }

// checkpoints are the commits after which the log was written back into the file.
var checkpoints = map[int]bool{20: true, 40: true}

// newHistory makes a history of commits that insert, update, finish, acknowledge and forget, with rows of all sizes.
func newHistory(t *testing.T) *history {
	t.Helper()
	path := newPath(t)
	s := open(t, path)
	token := join(t, s).Token
	h := &history{states: []map[string]string{{}}, files: []files{{}}, seen: make(map[string]map[string]bool)}
	var bulk []store.Change // so that most commits leave most pages alone
	for i := range 150 {
		c := insert(fmt.Sprintf("bulk-%03d", i))
		c.Head = bytes.Repeat([]byte{byte(i)}, i*20)
		bulk = append(bulk, c)
	}
	key := func(n, i int) store.Key { return store.Key{Scope: fmt.Sprint(i), ID: fmt.Sprintf("id-%03d", n)} }
	for n := range commits {
		b := &store.Batch{Token: token, Now: int64(n), Floor: int64(n - 30), Sweep: 2, Facts: []store.Fact{{Name: fmt.Sprint("fact", n%7), Value: fmt.Append(nil, n)}}}
		if n == 0 {
			b.Changes = append(b.Changes, bulk...)
		} else {
			b.Changes = append(b.Changes, store.Change{Key: bulk[2*n].Key, Run: 1, Version: 2, State: store.Running, Due: int64(n), Chunk: make([]byte, 50*n)})
		}
		for i := range 3 {
			c := insert("")
			c.Key, c.Head, c.Certified = key(n, i), bytes.Repeat([]byte{byte(n)}, 1<<(5*i)), i == 2
			b.Changes = append(b.Changes, c)
			if n > 0 {
				b.Changes = append(b.Changes, store.Change{Key: key(n-1, i), Run: 1, Version: 2, State: store.Running, Due: int64(n), Chunk: fmt.Append(nil, "chunk", n)})
			}
			if n > 4 {
				b.Changes = append(b.Changes, store.Change{Key: key(n-4, i), Run: 1, Version: 3, State: store.Answered, Bound: int64(n), Tail: make([]byte, n), DropHead: true})
			}
		}
		if n > 8 {
			b.Acks = []store.Ack{{Key: key(n-6, 2), At: int64(n - 3)}}
		}
		if _, err := s.Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
		if checkpoints[n] {
			sqlitestore.Exec(t, s, "PRAGMA wal_checkpoint(TRUNCATE)")
		}
		state, err := dump(s)
		if err != nil {
			t.Fatal(err)
		}
		h.states = append(h.states, state)
		for name, value := range state {
			if h.seen[name] == nil {
				h.seen[name] = make(map[string]bool)
			}
			h.seen[name][value] = true
		}
		f := filesOf(t, sqlitestore.CopyAsAfterKill(t, s))
		if f.lock, err = os.ReadFile(path + "-lock"); err != nil {
			t.Fatal(err)
		}
		h.files = append(h.files, f)
	}
	return h
}

func filesOf(t *testing.T, path string) (f files) {
	t.Helper()
	var err error
	if f.db, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if f.log, err = os.ReadFile(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	return f
}

// last is the number of the last commit.
func (h *history) last() int { return len(h.states) - 1 }

// dump returns what s holds, as far as it can be read, and the errors of what cannot.
func dump(s *sqlitestore.Store) (map[string]string, error) {
	state := make(map[string]string)
	records, err := s.List(ctx, store.Query{Limit: 1 << 20})
	errs := []error{err}
	for _, r := range records {
		state["record "+r.Scope+"/"+r.ID] = fmt.Sprintf("%d %d %v %d %d %d %v %s %x %x %x %x", r.Run, r.Version, r.State, r.Created, r.Due, r.Bound, r.Certified,
			r.Function, r.Print, r.Head, r.Oplog, r.Tail)
		chunks, err := s.Chunks(ctx, r.Key)
		errs = append(errs, err)
		for _, c := range chunks {
			state[fmt.Sprintf("chunk %s/%s/%d", r.Scope, r.ID, c.Number)] = string(c.Data)
		}
	}
	facts, err := s.Facts(ctx)
	for _, f := range facts {
		state["fact "+f.Name] = string(f.Value)
	}
	return state, errors.Join(append(errs, err)...)
}

// judge opens the files and says what becomes of them: the number of the commit that they are the state after, with nothing found, or -1 and
// what was found. It fails where a read returns what never was, and where all is well and no commit left such a state.
func (h *history) judge(t *testing.T, what string, f files) (commit int, found error) {
	t.Helper()
	path := newPath(t)
	for name, b := range map[string][]byte{path: f.db, path + "-wal": f.log, path + "-lock": f.lock} {
		if b != nil {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := sqlitestore.Open(path)
	if err != nil {
		return -1, err
	}
	defer s.Close()
	found = s.Check(ctx)
	state, err := dump(s)
	for name, value := range state {
		if !h.seen[name][value] {
			t.Errorf("%s: %s reads as what it never was", what, name)
		}
	}
	if found = errors.Join(found, err); found != nil {
		return -1, found
	}
	for n := h.last(); n >= 0; n-- {
		if maps.Equal(state, h.states[n]) {
			return n, nil
		}
	}
	t.Errorf("%s: nothing is found, and it is the state after no commit", what)
	return -1, nil
}

// samples is how often each kind of damage is done.
const samples = 16

// TestDamageIsNamed does to the newest files what disks do. What is opened without a complaint is what was there.
func TestDamageIsNamed(t *testing.T) {
	h := newHistory(t)
	now := h.files[h.last()]
	for _, c := range []struct {
		name   string
		damage func(f *files, rnd *rand.Rand)
		named  int // of all samples, at least so many; a page may be in the log too, or in nobody's use
		older  int // the state after that many commits before the last may pass for the last
	}{
		{"a file that is cut", func(f *files, rnd *rand.Rand) { f.db = f.db[:rnd.IntN(len(f.db))] }, samples / 2, 0},
		{"a file that is cut, of which all is needed", func(f *files, rnd *rand.Rand) { f.db, f.log = f.db[:rnd.IntN(len(f.db))], nil }, samples, 0},
		{"a bit of the file", func(f *files, rnd *rand.Rand) { f.db = flip(f.db, rnd) }, 1, 0},
		{"sectors of an older file", func(f *files, rnd *rand.Rand) { f.db = tear(f.db, h.files[25].db, rnd) }, 1, 0},
		{"a log that is cut", func(f *files, rnd *rand.Rand) { f.log = f.log[:rnd.IntN(len(f.log))] }, samples, 0},
		{"no log", func(f *files, _ *rand.Rand) { f.log = nil }, samples, 0},
		{"a bit of the log", func(f *files, rnd *rand.Rand) { f.log = flip(f.log, rnd) }, samples - 2, 0},
		{"sectors of an older log", func(f *files, rnd *rand.Rand) { f.log = tear(f.log, h.files[40].log, rnd) }, samples - 2, 0},
		{"a bit of the log, without what else tells", func(f *files, rnd *rand.Rand) { f.log, f.lock = flip(f.log, rnd), nil }, samples / 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			named := 0
			for seed := range uint64(samples) {
				f, rnd := now, rand.New(rand.NewPCG(1, seed))
				c.damage(&f, rnd)
				switch commit, found := h.judge(t, fmt.Sprint("sample ", seed), f); {
				case found != nil:
					named++
				case commit < h.last()-c.older:
					t.Errorf("sample %d: nothing is found, and it is the state after commit %d of %d", seed, commit, h.last())
				}
			}
			if t.Logf("%d of %d were named", named, samples); named < c.named {
				t.Errorf("want %d", c.named)
			}
		})
	}
}

// TestOlderFilesAreNamed puts the file of one moment beside the log of another, or beside none.
func TestOlderFilesAreNamed(t *testing.T) {
	h := newHistory(t)
	now := h.files[h.last()]
	older := 0
	for _, i := range []int{6, 21, 26, 40, 41, 46, 60} {
		for _, j := range []int{0, 6, 20, 26, 40, 46, 60} {
			what := fmt.Sprintf("file of %d, log of %d", i, j)
			f := files{h.files[i].db, h.files[j].log, now.lock}
			commit, found := h.judge(t, what, f)
			// A file in which nothing is yet becomes a store of another name, which peers notice (S13).
			if found == nil && commit != h.last() && commit != 0 {
				t.Errorf("%s: it is the state after commit %d, and nothing is found", what, commit)
			}
			if errors.Is(found, sqlitestore.ErrOlder) {
				older++
			}
			f.lock = nil // what nothing tells then is never a mixture
			h.judge(t, what, f)
		}
	}
	t.Logf("%d were found to be older", older)
	if older < 20 {
		t.Errorf("%d were found to be older, want more", older)
	}
}

// TestAnOlderCopyIsRefusedAndLeftAsItIs puts a copy back by hand, takes it away again, and insists.
func TestAnOlderCopyIsRefusedAndLeftAsItIs(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	token := join(t, s).Token
	commit(t, s, token, insert("a"))
	copied := filesOf(t, sqlitestore.CopyAsAfterKill(t, s))
	if _, err := s.Commit(ctx, &store.Batch{Token: token, Floor: 1}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	newest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(db, log []byte) {
		t.Helper()
		os.Remove(path + "-shm")
		if err := errors.Join(os.WriteFile(path, db, 0o600), os.WriteFile(path+"-wal", log, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put(copied.db, copied.log)
	for range 2 {
		if _, err := sqlitestore.Open(path); !errors.Is(err, sqlitestore.ErrOlder) || !strings.Contains(err.Error(), path+"-lock") {
			t.Fatalf("got %v, want %v, and what to do", err, sqlitestore.ErrOlder)
		}
	}
	if f := filesOf(t, path); !bytes.Equal(f.db, copied.db) || !bytes.Equal(f.log, copied.log) {
		t.Error("the copy was changed")
	}
	put(newest, nil)
	open(t, path).Close()
	put(copied.db, copied.log)
	if err := os.Remove(path + "-lock"); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	join(t, s) // from here on this is the newest
	s.Close()
	open(t, path).Close()
}

// TestALogWhoseFileIsGoneIsKept: SQLite would delete it, and begin anew.
func TestALogWhoseFileIsGoneIsKept(t *testing.T) {
	s := open(t, newPath(t))
	token := join(t, s).Token
	first := filesOf(t, sqlitestore.CopyAsAfterKill(t, s)) // the schema is in the log
	sqlitestore.Exec(t, s, "PRAGMA wal_checkpoint(TRUNCATE)")
	commit(t, s, token, insert("a"))
	later := filesOf(t, sqlitestore.CopyAsAfterKill(t, s))
	for what, f := range map[string]files{
		"no file":              {db: nil, log: first.log},
		"an empty one":         {db: []byte{}, log: first.log},
		"one without a schema": {db: first.db, log: later.log},
	} {
		path := newPath(t)
		if f.db != nil {
			if err := os.WriteFile(path, f.db, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path+"-wal", f.log, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlitestore.Open(path); !errors.Is(err, sqlitestore.ErrCorrupt) {
			t.Errorf("%s: got %v, want %v", what, err, sqlitestore.ErrCorrupt)
		}
		if left, err := os.ReadFile(path + "-wal"); len(f.db) == 0 && (err != nil || !bytes.Equal(left, f.log)) {
			t.Errorf("%s: the log is gone: %v", what, err)
		}
	}
}

func flip(b []byte, rnd *rand.Rand) []byte {
	b = bytes.Clone(b)
	b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
	return b
}

// tear puts some sectors of an older copy in the place of newer ones.
func tear(b, old []byte, rnd *rand.Rand) []byte {
	b = bytes.Clone(b)
	at := rnd.IntN(min(len(b), len(old))/512) * 512
	copy(b[at:], old[at:min(len(b), len(old), at+512*(1+rnd.IntN(16)))])
	return b
}
