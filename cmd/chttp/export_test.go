package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
	"github.com/certifiedhttp/chttp/internal/export"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// counting returns a function that makes 2n operations, and each of its values becomes durable alone.
func counting(n int) *chttp.Function[int, int] {
	return chttp.Resumable("count", func(ctx context.Context, from int) (int, error) {
		for i := range n {
			from += chttp.Persist(ctx, "one", func() int { return 1 })
			if err := chttp.Run(ctx, fmt.Sprint("step ", i), func(context.Context) error { return nil }); err != nil {
				return 0, err
			}
		}
		return from, nil
	})
}

// exported runs the command and returns what it writes.
func exported(t *testing.T, e *exportCommand) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := e.Run(t.Context(), &console{out: &out, err: io.Discard}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// node opens the store at path and runs a node of it until the test ends.
func node(t *testing.T, path string, fns ...chttp.Registrant) (*sqlitestore.Store, *chttp.Node) {
	t.Helper()
	st, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := chttp.New(st, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Register(fns...)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		st.Close()
	})
	return st, n
}

// TestAnExportOfARunningProcessIsReplayable exports executions again and again while they go on; each time they are what they were at one
// instant, which a replay finds out.
func TestAnExportOfARunningProcessIsReplayable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "n.db")
	count := counting(40)
	_, n := node(t, path, count)
	var running []*chttp.Execution[int]
	for i := range 8 {
		x, err := count.Start(t.Context(), n, fmt.Sprint(i), i)
		if err != nil {
			t.Fatal(err)
		}
		running = append(running, x)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for _, x := range running {
			if _, err := x.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}()
	unfinished := 0
	for i, last := 0, false; !last; i++ {
		select {
		case <-over:
			last = true
		default:
		}
		file := exported(t, &exportCommand{File: path, Out: "-"})
		if bytes.Contains(file, []byte(`"state":"running"`)) {
			unfinished++
		}
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
		chttptest.Replay(t, name, func(n *chttp.Node) { n.Register(counting(40)) }, nil)
		if t.Failed() {
			t.Fatalf("export %d:\n%s", i, file)
		}
	}
	if unfinished == 0 {
		t.Error("no export was made while an execution was running")
	}
}

func TestAnExportLeavesOutWhatCannotBeReplayedAndTheSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.db")
	count := counting(1)
	st, n := node(t, path, count)
	ctx := chttp.With(t.Context(), chttp.Policy{After: 24 * time.Hour})
	if _, err := n.Put(ctx, "http://127.0.0.1:1/", "text/plain", strings.NewReader("a message")); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		x, err := count.Start(t.Context(), n, fmt.Sprint("id-", i), i)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := sqlitestore.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	id, err := r.Join(t.Context(), 0)
	if !errors.Is(err, store.ErrReadOnly) {
		t.Fatal(err)
	}
	if err := acknowledge(t, st, id, "id-0"); err != nil {
		t.Fatal(err)
	}
	file := exported(t, &exportCommand{File: path, Out: "-"})
	for _, never := range []string{
		"chttp.send", "a message", `"id-0"`, string(id.Secret), hex.EncodeToString(id.Secret), base64.StdEncoding.EncodeToString(id.Secret)[:40],
		base64.RawURLEncoding.EncodeToString(id.Secret),
	} {
		if bytes.Contains(file, []byte(never)) {
			t.Errorf("%q is in\n%s", never, file)
		}
	}
	if !bytes.Contains(file, []byte(`{"end":{"executions":1}}`)) || !bytes.Contains(file, []byte(`"id-1"`)) {
		t.Errorf("got\n%s", file)
	}
}

// acknowledge drops an outcome, as the journal of the store's node does: under the token of its first join.
func acknowledge(t *testing.T, st *sqlitestore.Store, id store.Identity, execution string) error {
	_, err := st.Commit(t.Context(), &store.Batch{
		Token: store.Token{Node: id.Store, Incarnation: 1}, Acks: []store.Ack{{Key: store.Key{ID: execution}}},
	})
	return err
}

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write := func(n int, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			out, e := export.NewWriter(w)
			for i := range n {
				if e == nil {
					e = out.Write(&export.Execution{Record: store.Record{Key: store.Key{ID: fmt.Sprint(i)}, Run: 1, Version: 1, Function: "f", State: store.Running}})
				}
			}
			if e == nil {
				e = out.Close()
			}
			return errors.Join(e, err)
		}
	}
	files := func() string {
		all, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(all)
	}
	bad := errors.New("the disk is full")
	if err := replaceFile(path, write(1, bad)); !errors.Is(err, bad) || files() != "[]" {
		t.Errorf("got %v, and there is %s, want nothing", err, files())
	}
	if err := replaceFile(path, write(1, nil)); err != nil {
		t.Fatal(err)
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	one := files()
	if err := replaceFile(path, write(2, bad)); !errors.Is(err, bad) || files() != one {
		t.Errorf("got %v, and there is %s, want %s", err, files(), one)
	}
	if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, was) {
		t.Errorf("got %s, %v, want what was there", is, err)
	}
	if err := replaceFile(path, write(2, nil)); err != nil || files() != one {
		t.Errorf("got %v, and there is %s", err, files())
	}
	if is, err := os.ReadFile(path); err != nil || bytes.Equal(is, was) {
		t.Errorf("got %s, %v, want another", is, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("got the mode %v, want it its owner's alone", fi.Mode())
	}
}

func TestAnInterruptedExportWritesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "n.db")
	count := counting(1)
	_, n := node(t, path, count)
	if _, err := count.Start(t.Context(), n, "a", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&exportCommand{File: path, Out: filepath.Join(dir, "f")}).Run(ctx, &console{out: io.Discard, err: io.Discard})
	if f := (*failure)(nil); !errors.As(err, &f) || f.status != exitInterrupted {
		t.Errorf("got %v, want the status of what is interrupted", err)
	}
	if all, _ := filepath.Glob(filepath.Join(dir, "*f*")); len(all) != 0 {
		t.Errorf("it leaves %q", all)
	}
}
