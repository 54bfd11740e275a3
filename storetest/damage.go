package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/certifiedhttp/chttp/store"
)

// RunDamaged proves that a record that the disk has changed is named and never returned, and that what is behind it is found. open is
// Run's. damage changes some of what is stored of key, behind the driver's back, and returns the store to go on with: s, or one that
// was opened anew when s was closed. The stores are not asked to check themselves.
func RunDamaged(t *testing.T, open func(t *testing.T) store.Store, damage func(t *testing.T, s store.Store, key store.Key) store.Store) {
	for _, c := range damageClaims {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, open(t), nil)
			defer func() { f.s.Close() }()
			c.prove(f, func(ids ...string) {
				for _, id := range ids {
					f.s = damage(t, f.s, store.Key{Scope: "scope", ID: id})
				}
				f.join(0)
			})
		})
	}
}

// damageClaims are proved with a function that damages the records of some ids.
var damageClaims = []struct {
	name  string
	prove func(f *fixture, damage func(ids ...string))
}{
	{"a damaged record is named by read", func(f *fixture, damage func(...string)) {
		f.do(begin("a"), begin("b"))
		damage("b")
		_, err := f.s.Read(ctx, store.Key{Scope: "scope", ID: "b"})
		f.named("read", err, "b")
		f.holds(made(begin("a")))
	}},
	{"damaged records are named by due and do not count", func(f *fixture, damage func(...string)) {
		for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
			f.do(begin(id))
		}
		damage("a", "c", "d", "f")
		f.finds("due", f.dueAfter(""), "b e", "a c d f")
		var after string
		for _, want := range []string{"b", "e"} { // a limit of one
			records, err := f.s.Due(ctx, f.cursor(after), 1)
			if len(records) != 1 || records[0].ID != want {
				f.Fatalf("due after %q: got %v, %v, want %s", after, ids(records), err, want)
			}
			after = want
		}
		f.finds("due after e", f.dueAfter("e"), "", "f")
	}},
	{"damaged records are named by list and do not count", func(f *fixture, damage func(...string)) {
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			f.do(begin(id))
		}
		damage("b", "c", "e")
		f.finds("list", func() ([]*store.Record, error) { return f.s.List(ctx, store.Query{}) }, "a d", "b c e")
		f.finds("list of two", func() ([]*store.Record, error) { return f.s.List(ctx, store.Query{Limit: 2}) }, "a d", "b c")
		f.finds("list of one id", func() ([]*store.Record, error) { return f.s.List(ctx, store.Query{ID: "c"}) }, "", "c")
	}},
	{"a conflict with a damaged record refuses the batch and names it", func(f *fixture, damage func(...string)) {
		f.do(begin("a"))
		damage("a")
		other := begin("a")
		other.Run++
		_, err := f.s.Commit(ctx, &store.Batch{Token: f.id.Token, Changes: []store.Change{begin("b"), other}})
		f.named("commit", err, "a")
		if errors.Is(err, store.ErrUnknown) {
			f.Errorf("commit: got %v, want an error that says that nothing was done", err)
		}
		f.gone(begin("b").Key)
	}},
}

// cursor is the position of the record of id, as begin made it; of "", the beginning.
func (f *fixture) cursor(id string) store.Cursor {
	if id == "" {
		return store.Cursor{}
	}
	return store.Cursor{Due: begin(id).Due, Key: begin(id).Key}
}

func (f *fixture) dueAfter(id string) func() ([]*store.Record, error) {
	return func() ([]*store.Record, error) { return f.s.Due(ctx, f.cursor(id), 100) }
}

// finds checks that a query finds the sound records, as they were made by begin, and names the damaged ones; both are ids.
func (f *fixture) finds(what string, query func() ([]*store.Record, error), sound, damaged string) {
	f.Helper()
	records, err := query()
	f.named(what, err, damaged)
	var got []string
	for _, r := range records {
		got = append(got, r.ID)
		f.equal(what, r, made(begin(r.ID)))
	}
	if list := fmt.Sprint(got); list != "["+sound+"]" {
		f.Errorf("%s: got %v, want [%s]", what, list, sound)
	}
}

// named checks that err names the records of the damaged ids, in whatever order.
func (f *fixture) named(what string, err error, damaged string) {
	f.Helper()
	var d *store.DamagedError
	if !errors.As(err, &d) {
		f.Fatalf("%s: got %v, want a DamagedError of %s", what, err, damaged)
	}
	var got []string
	for _, key := range d.Keys {
		if key.Scope != "scope" {
			f.Errorf("%s: names %q in scope %q", what, key.ID, key.Scope)
		}
		got = append(got, key.ID)
	}
	slices.Sort(got)
	if list := fmt.Sprint(got); list != "["+damaged+"]" || d.Err == nil {
		f.Errorf("%s: names %v because of %v, want [%s]", what, list, d.Err, damaged)
	}
}
