package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// tour is a node with a function that makes every kind of operation.
type tour struct {
	node *chttp.Node
	lan  *lan
	f    *chttp.Function[string, string]
}

func newTour(t *testing.T, s store.Store, edit ...func(*chttp.Options)) *tour {
	t.Helper()
	w := &tour{lan: newLAN(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok ", r.URL.Path) })}
	part := chttp.Resumable("part", func(ctx context.Context, in int) (int, error) {
		return chttp.Persist(ctx, "double", func() int { return 2 * in }), nil
	})
	w.f = chttp.Resumable("tour", func(ctx context.Context, in string) (string, error) { return w.run(ctx, part) })
	o := &chttp.Options{Logger: quiet, Transport: w.lan}
	for _, e := range edit {
		e(o)
	}
	w.node = newNode(t, s, o)
	w.node.Register(part, w.f)
	return w
}

func (w *tour) run(ctx context.Context, part *chttp.Function[int, int]) (string, error) {
	n := chttp.Persist(ctx, "n", func() int { return 7 })
	side := chttp.Go(ctx, "side", func(ctx context.Context) (string, error) {
		if err := chttp.Sleep(ctx, time.Minute); err != nil {
			return "", err
		}
		return post(ctx, "http://peer.example/side")
	})
	chttp.Now(ctx)
	err := chttp.Run(ctx, "step", func(context.Context) error { return nil })
	value, err2 := chttp.Do(ctx, "value", func(context.Context) (map[string]int, error) { return map[string]int{"n": n}, nil })
	_, err3 := chttp.Do(ctx, "fails", func(context.Context) (int, error) { return 0, chttp.ErrNotFound })
	called, err4 := part.Call(ctx, n)
	var waited int
	var seen chttp.Info
	e, err5 := part.Start(ctx, w.node, "", n+1)
	if err5 == nil {
		waited, err5 = e.Wait(ctx)
	}
	if err5 == nil {
		seen, err5 = w.node.Lookup(ctx, e.ID())
	}
	_, err6 := w.node.Put(ctx, "http://peer.example/put", "text/plain", strings.NewReader("x"))
	err7 := chttp.Sleep(ctx, time.Hour)
	sided, err8 := side.Wait(ctx)
	posted, err9 := post(ctx, "http://peer.example/end")
	if !errors.Is(err3, chttp.ErrNotFound) {
		return "", fmt.Errorf("the step that fails: %w", err3)
	}
	return fmt.Sprint(value, called, waited, seen.State, sided, posted), errors.Join(err, err2, err4, err5, err6, err7, err8, err9)
}

// recordedTour is a tour that was made in a bubble: what its store held, and its oplog.
type recordedTour struct {
	others  []*store.Record // that it began
	head    []byte
	print   []byte
	entries []record.Entry
	outcome string
}

func recordTour(t *testing.T) *recordedTour {
	t.Helper()
	s := memstore.New()
	w := newTour(t, s)
	stop := run(t, w.node)
	e, err := w.f.Start(t.Context(), w.node, "x", "in")
	if err != nil {
		t.Fatal(err)
	}
	r := &recordedTour{}
	if r.outcome, err = e.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	all, err := s.List(t.Context(), store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.ID != "x" {
			r.others = append(r.others, o)
			continue
		}
		r.head, r.print = o.Head, o.Print
	}
	chunks, err := s.Chunks(t.Context(), store.Key{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chunks {
		list, err := record.ParseEntries(c.Data)
		if err != nil {
			t.Fatal(err)
		}
		r.entries = append(r.entries, list...)
	}
	// The order between scopes is that of goroutines. One scope after the other means the same, and is the same in every process.
	slices.SortStableFunc(r.entries, func(a, b record.Entry) int { return strings.Compare(a.Scope, b.Scope) })
	return r
}

// edited returns the first cut entries of the oplog, changed as edits say: four bytes each, what is done to which entry, and two operands.
func (r *recordedTour) edited(cut int, edits []byte) []record.Entry {
	list := slices.Clone(r.entries[:min(cut, len(r.entries))])
	for ; len(edits) >= 4 && len(list) > 0; edits = edits[4:] {
		i, a, b := int(edits[1])%len(list), edits[2], edits[3]
		e := &list[i]
		from := r.entries[int(a)%len(r.entries)]
		switch edits[0] % 16 {
		case 0:
			list = slices.Delete(list, i, i+1)
		case 1:
			list = append(list, *e)
		case 2:
			j := int(a) % len(list)
			list[i], list[j] = list[j], list[i]
		case 3:
			e.Phase = record.Phase(a % 7)
		case 4:
			e.Kind = record.Kind(a % 12)
		case 5:
			e.Seq = int(int8(a))
		case 6:
			e.Scope, e.Seq = from.Scope, from.Seq
		case 7:
			e.Name, e.Print = from.Name, from.Print
		case 8:
			e.Data = from.Data
		case 9:
			e.Data = edits[2:4]
		case 10:
			e.Response, e.Err = from.Response, from.Err
		case 11:
			e.Err = &record.Error{Text: "recorded", Is: []string{"canceled"}, Own: &record.Own{Op: "call", Err: &record.Error{Text: "recorded"}}}
		case 12:
			e.Sent, e.Until = int64(int8(a))<<(b%64), int64(int8(b))<<(a%64)
		case 13:
			e.ID, e.Continues = string(edits[2:4]), true
		case 14:
			e.Response = &record.Response{Status: int(int8(a)), Body: edits[2:4]}
		case 15:
			list = slices.Insert(list, i, record.Entry{Phase: record.Crash + record.Phase(a%2), Data: []byte("why")})
		}
	}
	return list
}

// stored puts an unfinished execution with these chunks into a new store, and what the recorded one began.
func (r *recordedTour) stored(t *testing.T, chunks ...[]byte) *memstore.Store {
	t.Helper()
	s := memstore.New()
	id, err := s.Join(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	key := store.Key{ID: "x"}
	now := time.Now().UnixMilli()
	changes := []store.Change{{
		Key: key, Run: 1, Version: 1, Function: "tour", Created: now, Print: r.print, Head: r.head, State: store.Running, Due: now, Chunk: chunks[0],
	}}
	for _, o := range r.others {
		changes = append(changes, store.Change{
			Key: o.Key, Run: o.Run, Version: 1, Function: o.Function, Created: o.Created, Print: o.Print, Head: o.Head, State: o.State,
			Bound: o.Bound, Tail: o.Tail,
		})
	}
	if _, err := s.Commit(t.Context(), &store.Batch{Token: id.Token, Changes: changes}); err != nil {
		t.Fatal(err)
	}
	for i, c := range chunks[1:] {
		change := store.Change{Key: key, Run: 1, Version: i + 2, State: store.Running, Due: now, Chunk: c}
		if _, err := s.Commit(t.Context(), &store.Batch{Token: id.Token, Changes: []store.Change{change}}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// chunkOf writes entries as one chunk.
func chunkOf(entries []record.Entry) (b []byte) {
	for i := range entries {
		b = record.AppendEntry(b, &entries[i])
	}
	return b
}

// FuzzOplog replays an oplog that no function recorded: one of a function that makes every kind of operation, cut, edited, and with a chunk
// of any bytes behind. Such an execution goes on and ends, or is parked for a reason that tells what is wrong with it; a rehearsal says so
// before, and has no effect.
func FuzzOplog(f *testing.F) {
	for cut := byte(0); cut <= 26; cut += 5 {
		f.Add(cut, []byte{}, []byte{})
	}
	for what := range byte(16) {
		for i := range byte(26) {
			f.Add(byte(26), []byte{what, i, i + 5, 3}, []byte{})
			f.Add(byte(26), []byte{what, i, 1, 0xff}, []byte{})
		}
		f.Add(12+what, []byte{what, 11 + what, what, 0}, []byte{1, 0, 0, 0, 2, 1, 1})
	}
	var original *recordedTour
	f.Fuzz(func(t *testing.T, cut byte, edits, tail []byte) {
		if original == nil {
			synctest.Test(t, func(t *testing.T) { original = recordTour(t) })
		}
		synctest.Test(t, func(t *testing.T) {
			list := original.edited(int(cut), edits)
			half := len(list) / 2
			s := original.stored(t, chunkOf(list[:half]), chunkOf(list[half:]), tail)
			clean := len(edits) < 4 && len(tail) == 0
			wrong := rehearse(t, s)
			i, out := finish(t, s)
			switch why := fmt.Sprint(i.Err); {
			case strings.Contains(why, "panic") || strings.Contains(why, "goroutine "):
				t.Errorf("it is %s: %s", i.State, why)
			case clean && (wrong != nil || i.State != "answered" || out != original.outcome):
				t.Errorf("%v; it is %s: %s, %q", wrong, i.State, why, out)
			case i.State == "parked" && len(why) < len("parked: x"):
				t.Errorf("parked for the reason %q", why)
			case wrong != nil && i.State != "parked":
				t.Errorf("the rehearsal says %q, and it is %s", wrong, i.State)
			}
		})
	})
}

// rehearse checks the replay of what is in s, which must not change it, and returns what is wrong with it.
func rehearse(t *testing.T, s *memstore.Store) error {
	t.Helper()
	before := dumpOf(t, s)
	w := newTour(t, s)
	err := w.node.CheckReplay(t.Context())
	if own, ok := errors.AsType[*chttp.Error](err); err != nil && (!ok || own.ID != "x" || strings.Contains(err.Error(), "panic")) {
		t.Errorf("the rehearsal says %v", err)
	}
	if after := dumpOf(t, s); !slices.Equal(before, after) || len(w.lan.requests("")) > 0 {
		t.Errorf("the rehearsal had effects: %v, %d requests", after, len(w.lan.requests("")))
	}
	return err
}

// finish runs a node on s until the execution "x" has ended, or for two days if it waits for a time.
func finish(t *testing.T, s *memstore.Store) (i chttp.Info, out string) {
	t.Helper()
	w := newTour(t, s)
	stop := run(t, w.node)
	defer stop()
	e, err := w.f.Attach(t.Context(), w.node, "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*24*time.Hour)
	defer cancel()
	out, waited := e.Wait(ctx)
	if i, err = w.node.Lookup(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil && i.State != "waiting" && i.State != "running" {
		t.Errorf("%v after two days, and it is %s", waited, i.State)
	}
	return i, out
}
