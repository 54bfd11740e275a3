package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/certifiedhttp/chttp/store"
)

var joinClaims = []claim{
	{"a join gives a name, a secret and a token, and only the token is new at the next", func(f *fixture) {
		first := f.id
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{4,}$`).MatchString(first.Store) {
			f.Errorf("the store's name is %q", first.Store)
		}
		if len(first.Secret) != 32 || bytes.Equal(first.Secret, make([]byte, 32)) {
			f.Errorf("the secret is %x", first.Secret)
		}
		for i := range 3 {
			if i == 1 {
				f.crash()
			} else {
				f.join(0)
			}
			if f.id.Store != first.Store || !bytes.Equal(f.id.Secret, first.Secret) {
				f.Errorf("the store's name or secret changed from %v to %v", first, f.id)
			}
			if f.id.Token.Node != first.Token.Node || f.id.Token.Incarnation <= first.Token.Incarnation {
				f.Errorf("token %v after %v", f.id.Token, first.Token)
			}
		}
	}},
	{"a token that a later join has replaced is fenced and does nothing", func(f *fixture) {
		old := f.id.Token
		f.do(begin("a"))
		f.join(0)
		_, err := f.s.Commit(ctx, &store.Batch{
			Token: old, Floor: 99, Changes: []store.Change{begin("b")}, Acks: []store.Ack{{Key: begin("a").Key}},
			Facts: []store.Fact{{Name: "f", Value: []byte("v")}},
		})
		if !errors.Is(err, store.ErrFenced) {
			f.Errorf("got %v, want %v", err, store.ErrFenced)
		}
		f.gone(begin("b").Key)
		f.factsAre()
		if got := f.commit(store.Batch{}).Floor; got != 0 {
			f.Errorf("the floor is %d", got)
		}
	}},
	{"a token that no join has given is fenced", func(f *fixture) {
		stranger, future := f.id.Token, f.id.Token
		stranger.Node += "x"
		future.Incarnation++
		for _, token := range []store.Token{{}, stranger, future} {
			if _, err := f.s.Commit(ctx, &store.Batch{Token: token}); !errors.Is(err, store.ErrFenced) {
				f.Errorf("token %v: got %v, want %v", token, err, store.ErrFenced)
			}
		}
	}},
	{"a token from before a crash is fenced", func(f *fixture) {
		old := f.id.Token
		f.crash()
		if _, err := f.s.Commit(ctx, &store.Batch{Token: old, Changes: []store.Change{begin("b")}}); !errors.Is(err, store.ErrFenced) {
			f.Errorf("got %v, want %v", err, store.ErrFenced)
		}
		f.gone(begin("b").Key)
	}},
}

var lifeClaims = []claim{
	{"what was committed survives a crash", func(f *fixture) {
		a := begin("a")
		b := next(a, store.Answered)
		a.Children = []store.Child{child("c")}
		for i := range 20 {
			f.do(begin(fmt.Sprint(i)))
		}
		f.do(a, b)
		f.commit(store.Batch{Floor: 12, Facts: []store.Fact{{Name: "f", Value: []byte("v")}}})
		want := f.everything()
		f.crash()
		f.compare(f.everything(), want)
		f.holds(made(a, b))
		f.holds(born(child("c")))
		f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
		if f.id.Floor != 12 {
			f.Errorf("floor %d, want 12", f.id.Floor)
		}
	}},
	{"an empty batch is committed", func(f *fixture) {
		if report := f.commit(store.Batch{}); report.Swept != 0 || report.Floor != 0 {
			f.Errorf("report %+v", report)
		}
	}},
	{"a call whose context has ended does nothing", func(f *fixture) {
		f.do(begin("a"))
		ended, cancel := context.WithCancel(ctx)
		cancel()
		key := begin("a").Key
		for name, call := range map[string]func() error{
			"join":   func() error { _, err := f.s.Join(ended, 0); return err },
			"commit": func() error { _, err := f.s.Commit(ended, &store.Batch{Token: f.id.Token, Floor: 77}); return err },
			"read":   func() error { _, err := f.s.Read(ended, key); return err },
			"chunks": func() error { _, err := f.s.Chunks(ended, key); return err },
			"due":    func() error { _, err := f.s.Due(ended, store.Cursor{}, 1); return err },
			"list":   func() error { _, err := f.s.List(ended, store.Query{}); return err },
			"facts":  func() error { _, err := f.s.Facts(ended); return err },
		} {
			if err := call(); !errors.Is(err, context.Canceled) {
				f.Errorf("%s: got %v, want %v", name, err, context.Canceled)
			}
		}
		if got := f.commit(store.Batch{}).Floor; got != 0 { // nor was the token replaced
			f.Errorf("the floor is %d", got)
		}
	}},
	{"a context that ends during a commit has no influence on it", func(f *fixture) {
		for i := range 20 {
			ending, cancel := context.WithCancel(ctx)
			c := begin(fmt.Sprint(i))
			var wg sync.WaitGroup
			wg.Go(cancel)
			_, err := f.s.Commit(ending, &store.Batch{Token: f.id.Token, Changes: []store.Change{c}})
			wg.Wait()
			if err == nil {
				f.holds(made(c))
			} else if !errors.Is(err, context.Canceled) {
				f.Errorf("got %v", err)
			} else {
				f.gone(c.Key)
			}
		}
	}},
	{"every call of a closed store returns ErrClosed", func(f *fixture) {
		if err := f.s.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
		key := store.Key{ID: "a"}
		for name, call := range map[string]func() error{
			"join":   func() error { _, err := f.s.Join(ctx, 0); return err },
			"commit": func() error { _, err := f.s.Commit(ctx, &store.Batch{Token: f.id.Token}); return err },
			"read":   func() error { _, err := f.s.Read(ctx, key); return err },
			"chunks": func() error { _, err := f.s.Chunks(ctx, key); return err },
			"due":    func() error { _, err := f.s.Due(ctx, store.Cursor{}, 1); return err },
			"list":   func() error { _, err := f.s.List(ctx, store.Query{}); return err },
			"facts":  func() error { _, err := f.s.Facts(ctx); return err },
		} {
			if err := call(); !errors.Is(err, store.ErrClosed) {
				f.Errorf("%s: got %v, want %v", name, err, store.ErrClosed)
			}
		}
		if err := f.s.Close(); err != nil {
			f.Errorf("second close: %v", err)
		}
	}},
	{"of many that insert one key at once, one is done and the others are told of it", func(f *fixture) {
		for round := range 5 {
			id := fmt.Sprint(round)
			results := make([]store.Result, 8)
			var wg sync.WaitGroup
			for i := range results {
				wg.Go(func() {
					c := begin(id)
					c.Run = uint64(i + 1)
					results[i] = f.try(c)
				})
			}
			wg.Wait()
			won := f.read(begin(id).Key)
			for i, r := range results {
				if done := r.Status == store.Done; done != (won.Run == uint64(i+1)) {
					f.Errorf("run %d has status %d, and run %d is stored", i+1, r.Status, won.Run)
				} else if !done {
					f.equal("stored", r.Stored, won)
				}
			}
		}
	}},
	{"a read sees every batch whose commit has returned, and whole batches only", func(f *fixture) {
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					records, err := f.s.List(ctx, store.Query{Limit: 1000})
					if err != nil {
						f.Errorf("list: %v", err)
					}
					if len(records)%2 != 0 {
						f.Errorf("%d records of batches of two", len(records))
					}
					for _, r := range records {
						if _, err := f.s.Chunks(ctx, r.Key); err != nil {
							f.Errorf("chunks: %v", err)
						}
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for i := range 20 {
			a, b := begin(fmt.Sprint("a", i)), begin(fmt.Sprint("b", i))
			f.commit(store.Batch{Changes: []store.Change{a, b}})
			f.holds(made(a))
			f.holds(made(b))
			f.do(next(a, store.Answered))
			f.oplog(a.Key, 1, "chunk 1", 2, "chunk 2")
		}
		close(done)
		wg.Wait()
	}},
	{"calls under way end before a close", func(f *fixture) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					c := begin(fmt.Sprint(i, "-", n))
					_, err := f.s.Commit(ctx, &store.Batch{Token: f.id.Token, Changes: []store.Change{c}})
					if err == nil {
						_, err = f.s.Read(ctx, c.Key)
					}
					if err != nil {
						if !errors.Is(err, store.ErrClosed) {
							f.Errorf("got %v, want %v", err, store.ErrClosed)
						}
						return
					}
				}
			})
		}
		for {
			records, err := f.s.List(ctx, store.Query{})
			if err != nil {
				f.Fatalf("list: %v", err)
			}
			if len(records) >= 8 {
				break
			}
		}
		if err := f.s.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
		wg.Wait()
	}},
}
