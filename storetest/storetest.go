// Package storetest is the contract of package store as tests. A driver passes them all:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, open, reopen)
//	}
//
// The name of each test is the claim that it proves. What only a real crash, a full disk or a damaged file can show is left to the
// driver's own tests.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/certifiedhttp/chttp/store"
)

// Run proves that a driver keeps the contract. open returns a new, empty store. reopen lets the process that holds s die, or comes
// as near to that as the driver can without Close, and returns a store of what was committed; from then on s is only closed. Both fail t if
// they cannot, and release at t's end what outlives the stores. Run closes the stores; a store that has a method
//
//	Check(ctx context.Context) error
//
// is asked to check itself at the end of every test. The tests do not run in parallel.
func Run(t *testing.T, open func(t *testing.T) store.Store, reopen func(t *testing.T, s store.Store) store.Store) {
	for _, group := range []struct {
		name   string
		claims []claim
	}{
		{"change", changeClaims},
		{"again", againClaims},
		{"child", childClaims},
		{"floor", floorClaims},
		{"sweep", sweepClaims},
		{"ack", ackClaims},
		{"read", readClaims},
		{"fact", factClaims},
		{"join", joinClaims},
		{"life", lifeClaims},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.claims {
				t.Run(c.name, func(t *testing.T) {
					f := newFixture(t, open(t), reopen)
					defer func() { f.end() }()
					c.prove(f)
				})
			}
		})
	}
	t.Run("any history is that of the model", func(t *testing.T) { checkModel(t, open, reopen) })
}

// claim is one sentence of the contract and its proof.
type claim struct {
	name  string
	prove func(f *fixture)
}

// tb is what a proof needs of *testing.T; *rapid.T has it too.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// fixture is a store that the test has joined.
type fixture struct {
	tb
	t      *testing.T
	s      store.Store
	id     store.Identity
	reopen func(t *testing.T, s store.Store) store.Store
}

var ctx = context.Background()

func newFixture(t *testing.T, s store.Store, reopen func(t *testing.T, s store.Store) store.Store) *fixture {
	f := &fixture{tb: t, t: t, s: s, reopen: reopen}
	f.join(0)
	return f
}

// end checks and closes the store.
func (f *fixture) end() {
	f.Helper()
	if s, ok := f.s.(interface{ Check(context.Context) error }); ok {
		if err := s.Check(ctx); err != nil && !errors.Is(err, store.ErrClosed) {
			f.Errorf("the store's own check: %v", err)
		}
	}
	if err := f.s.Close(); err != nil {
		f.Errorf("close: %v", err)
	}
}

func (f *fixture) join(floor int64) {
	f.Helper()
	id, err := f.s.Join(ctx, floor)
	if err != nil {
		f.Fatalf("join: %v", err)
	}
	f.id = id
}

// crash loses everything that was not committed, and joins again.
func (f *fixture) crash() {
	f.Helper()
	dead := f.s
	f.s = f.reopen(f.t, dead)
	dead.Close()
	f.join(0)
}

// commit commits b under the fixture's token.
func (f *fixture) commit(b store.Batch) *store.Report {
	f.Helper()
	b.Token = f.id.Token
	report, err := f.s.Commit(ctx, &b)
	if err != nil {
		f.Fatalf("commit: %v", err)
	}
	if got, want := len(report.Results), len(b.Changes); got != want {
		f.Fatalf("commit: %d results for %d changes", got, want)
	}
	return report
}

// try commits one change and returns what became of it.
func (f *fixture) try(c store.Change) store.Result {
	f.Helper()
	return f.commit(store.Batch{Changes: []store.Change{c}}).Results[0]
}

// do commits each change in a batch of its own; all must be done.
func (f *fixture) do(changes ...store.Change) {
	f.Helper()
	for _, c := range changes {
		if got := f.try(c); got.Status != store.Done {
			f.Fatalf("change of %v to version %d: status %d, want it done", c.Key, c.Version, got.Status)
		}
	}
}

// refused commits c, which must be a conflict about key, where want is stored.
func (f *fixture) refused(c store.Change, key store.Key, want *store.Record) {
	f.Helper()
	got := f.try(c)
	if got.Status != store.Conflict || got.Key != key {
		f.Fatalf("status %d about %v, want a conflict about %v", got.Status, got.Key, key)
	}
	f.equal("stored", got.Stored, want)
}

// read returns the record of key, nil if there is none.
func (f *fixture) read(key store.Key) *store.Record {
	f.Helper()
	r, err := f.s.Read(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		f.Fatalf("read %v: %v", key, err)
	}
	return r
}

// holds checks that want is stored under its key.
func (f *fixture) holds(want *store.Record) {
	f.Helper()
	f.equal("record", f.read(want.Key), want)
}

// gone checks that nothing is stored under key.
func (f *fixture) gone(key store.Key) {
	f.Helper()
	f.equal("record", f.read(key), nil)
	f.oplog(key)
}

// oplog checks the numbers and data of key's chunks, given as alternating ints and strings.
func (f *fixture) oplog(key store.Key, want ...any) {
	f.Helper()
	chunks, err := f.s.Chunks(ctx, key)
	if err != nil {
		f.Fatalf("chunks of %v: %v", key, err)
	}
	var got []any
	for _, c := range chunks {
		got = append(got, c.Number, string(c.Data))
	}
	if !slices.Equal(got, want) {
		f.Errorf("oplog of %v: got %v, want %v", key, got, want)
	}
}

func (f *fixture) equal(what string, got, want *store.Record) {
	f.Helper()
	if !same(got, want) {
		f.Errorf("%s:\n got %s\nwant %s", what, show(got), show(want))
	}
}

// same tells whether two records are equal, empty bytes and none being one.
func same(a, b *store.Record) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	for _, p := range []struct{ a, b *[]byte }{{&x.Print, &y.Print}, {&x.Head, &y.Head}, {&x.Oplog, &y.Oplog}, {&x.Tail, &y.Tail}} {
		if !bytes.Equal(*p.a, *p.b) {
			return false
		}
		*p.a, *p.b = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

func show(r *store.Record) string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("%q/%q run %d version %d %v %s created %d due %d bound %d certified %v print %.40q head %.40q oplog %.40q tail %.40q",
		r.Scope, r.ID, r.Run, r.Version, r.State, r.Function, r.Created, r.Due, r.Bound, r.Certified, r.Print, r.Head, r.Oplog, r.Tail)
}

// begin is an insert of a running record with something in every field that an insert has.
func begin(id string) store.Change {
	return store.Change{
		Key: store.Key{Scope: "scope", ID: id}, Run: 7, Version: 1, Function: "function of " + id, Created: 1000,
		Print: []byte("print of " + id), Head: []byte("head of " + id), State: store.Running, Due: 2000, Bound: 3000, Tail: []byte("tail"),
		Chunk: []byte("chunk 1"),
	}
}

// next is the change after c that leaves everything as it is but the state.
func next(c store.Change, state store.State) store.Change {
	return store.Change{
		Key: c.Key, Run: c.Run, Version: c.Version + 1, State: state, Due: c.Due, Bound: c.Bound, Tail: c.Tail,
		Chunk: fmt.Appendf(nil, "chunk %d", c.Version+1),
	}
}

// made is the record that changes of one key make, the first of them an insert.
func made(changes ...store.Change) *store.Record {
	var r *store.Record
	for _, c := range changes {
		if r == nil {
			r = &store.Record{
				Key: c.Key, Run: c.Run, Function: c.Function, Created: c.Created, Certified: c.Certified,
				Print: c.Print, Head: c.Head, Oplog: c.Chunk,
			}
		}
		r.Version, r.State, r.Due, r.Bound, r.Tail = c.Version, c.State, c.Due, c.Bound, c.Tail
		if c.DropHead && c.Version > 1 {
			r.Head = nil
		}
	}
	return r
}

// child is a waiting child.
func child(id string) store.Child {
	return store.Child{
		Key: store.Key{ID: id}, Run: 9, Function: "send", State: store.Waiting, Created: 1001, Due: 2001, Bound: 3001,
		Print: []byte("print of " + id), Head: []byte("head of " + id),
	}
}

// born is the record that a child makes.
func born(c store.Child) *store.Record {
	return &store.Record{
		Key: c.Key, Run: c.Run, Version: 1, Function: c.Function, State: c.State, Created: c.Created, Due: c.Due, Bound: c.Bound,
		Print: c.Print, Head: c.Head,
	}
}

// finished are the states that end a record by a change.
var finished = []store.State{store.Answered, store.Rejected, store.Undelivered, store.Unknown, store.Canceled}

// unfinished are the others.
var unfinished = []store.State{store.Running, store.Waiting, store.Parked}
