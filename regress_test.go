package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// over makes s what the home's node works on, with the home's memory in it.
func over(s *faulty) func(*home) {
	return func(h *home) {
		h.over = func(store.Store) store.Store { return s }
		h.store = s.Store
	}
}

// soon is a context that ends in a minute.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestI2AChosenIDThatIsTakenIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *home
		var starts atomic.Int64
		child := chttp.Resumable("child", func(ctx context.Context, in int) (int64, error) {
			starts.Add(1)
			return 7, nil
		})
		h = newHome(t, nil, func(ctx context.Context, in string) (string, error) {
			e, err := child.Start(ctx, h.node, "the-child", 7)
			if err != nil {
				return "", err
			}
			n, err := e.Wait(ctx)
			return fmt.Sprint(n), err
		}, func(h *home) { h.more = append(h.more, child) })
		for i := range 3 {
			if got, err := h.do(fmt.Sprint(i)); got != "7" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			pass(time.Minute)
		}
		if got := starts.Load(); got != 1 {
			t.Errorf("the child ran %d times, want 1", got)
		}
	})
}

func TestI8WhatTheStoreRefusesOfAnExecutionThatEndsParksIt(t *testing.T) {
	// Two executions send under one id and return, before the disk has taken anything of either.
	synctest.Test(t, func(t *testing.T) {
		d := &dam{}
		door := newDoor()
		var h *home
		h = newHome(t, newLAN(func(http.ResponseWriter, *http.Request) {}), func(ctx context.Context, in string) (string, error) {
			door.pass(ctx)
			i, _ := chttp.From(ctx)
			return h.node.Put(chttp.With(ctx, chttp.Policy{ID: "order"}), peerURL, "text/plain", strings.NewReader(i.ID))
		}, func(h *home) { h.over = func(s store.Store) store.Store { d.Store = s; return d } })
		a, b := h.start("a"), h.start("b")
		synctest.Wait()
		d.close()
		close(door.open)
		synctest.Wait()
		d.release()
		_, errA := a.Wait(soon(t))
		_, errB := b.Wait(soon(t))
		if errA != nil {
			errA, errB = errB, errA
		}
		if errA != nil || !errors.Is(errB, chttp.ErrParked) {
			t.Errorf("got %v and %v, want one sent and one parked", errA, errB)
		}
	})
}

func TestS10WhatFailsWhileTheStoreIsFullCanBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		s := newSite(t, st, script(func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				panic("no room")
			}
			io.WriteString(w, "ok")
		}), &chttp.HandlerOptions{Wait: time.Second})
		st.fails(full)
		s.certified("a", "x")
		pass(time.Second)
		st.fails(nil)
		pass(time.Minute)
		s.certified("a", "x").want(t, 200, "done")
	})
}

func TestS10AFunctionThatPanicsWhileTheStoreIsFullDoesNotHoldItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		h := newHome(t, nil, func(context.Context, string) (string, error) { panic("no room") }, over(st))
		synctest.Wait()
		st.fails(full)
		if _, err := h.f.Start(soon(t), h.node, "one", "in"); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start: %v", err)
		}
	})
}

func TestS10AStartIsAnsweredWhenTheNodeStopsWhileTheStoreIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		h := newHome(t, nil, func(ctx context.Context, in string) (string, error) { return in, chttp.Sleep(ctx, time.Hour) }, over(st))
		synctest.Wait()
		open := make(chan struct{})
		var n atomic.Int64
		st.fails(func(b *store.Batch) (error, bool) {
			if len(b.Changes) > 0 && n.Add(1) == 1 {
				<-open
				return nil, false
			}
			return full(b)
		})
		got := make(chan error, 2)
		for _, id := range []string{"a", "b"} {
			go func() {
				_, err := h.f.Start(soon(t), h.node, id, "in")
				got <- err
			}()
			synctest.Wait()
		}
		go h.stop()
		synctest.Wait()
		close(open)
		for range 2 {
			if err := <-got; errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Start: %v", err)
			}
		}
	})
}

func TestABranchThatWaitsHoldsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, nil, func(ctx context.Context, in string) (string, error) {
			if i, _ := chttp.From(ctx); i.ID == "short" {
				return in, nil
			}
			chttp.Go(ctx, "b", func(ctx context.Context) (int, error) { return 0, chttp.Sleep(ctx, time.Hour) })
			return in, nil
		}, func(h *home) { h.opt.MaxResident = 4 })
		for i := range 4 {
			h.start(fmt.Sprint(i))
		}
		pass(time.Second)
		if _, err := h.start("short").Wait(soon(t)); err != nil {
			t.Errorf("who comes after four that wait: %v", err)
		}
	})
}

func TestBranchesThatCallEachOthersNodeWithSmallMemoryLockNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(nil)
		tell := func(ctx context.Context, url string) {
			chttp.Go(ctx, "tell", func(ctx context.Context) (string, error) { return post(ctx, url) })
		}
		open := func(name, other string) *twin {
			n := newNode(t, memstore.New(), &chttp.Options{Logger: quiet, Transport: l, MaxResident: 4})
			l.hosts[name] = n.Handler("app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/deep" {
					tell(r.Context(), "http://"+other+"/deep")
				}
			}), &chttp.HandlerOptions{Anonymous: true})
			f := chttp.Resumable("f", func(ctx context.Context, i int) (string, error) {
				tell(ctx, "http://"+other+"/")
				return "ok", nil
			})
			n.Register(f)
			return &twin{n, f}
		}
		twins := []*twin{open("a.example", "b.example"), open("b.example", "a.example")}
		for _, n := range twins {
			run(t, n.node)
		}
		var all []*chttp.Execution[string]
		for i := range 12 {
			for _, n := range twins {
				e, err := n.f.Start(soon(t), n.node, fmt.Sprint(i), i)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, e)
			}
		}
		for i, e := range all {
			if _, err := e.Wait(soon(t)); err != nil {
				t.Fatalf("execution %d: %v", i, err)
			}
		}
	})
}

// stuck is a store whose oplogs are not read until who asks gives up.
type stuck struct {
	store.Store
	reading chan struct{}
}

func (s *stuck) Chunks(ctx context.Context, _ store.Key) ([]store.Chunk, error) {
	s.reading <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// steps does some that are recorded, and then sleeps, so that its oplog is needed.
func steps(ctx context.Context, in string) (string, error) {
	for i := range 3 {
		if err := chttp.Run(ctx, fmt.Sprint(i), noEffect); err != nil {
			return "", err
		}
	}
	return in, chttp.Sleep(ctx, 500*time.Millisecond)
}

func TestI8ANodeThatStopsWhileItReadsAnOplogParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, nil, steps)
		h.start("one")
		pass(100 * time.Millisecond)
		s := &stuck{reading: make(chan struct{}, 100)}
		h.over = func(m store.Store) store.Store { s.Store = m; return s }
		h.restart()
		<-s.reading
		h.over = nil
		h.restart()
		if got, err := h.outcome("one"); got != "in" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// torn is a store that cannot read the oplog of one id.
type torn struct {
	store.Store
	id string
}

func (s *torn) Chunks(ctx context.Context, key store.Key) ([]store.Chunk, error) {
	if key.ID == s.id {
		return nil, errors.New("the checksum is wrong")
	}
	return s.Store.Chunks(ctx, key)
}

func TestI8AnOplogThatCanNeverBeReadHoldsUpNoOtherAndIsParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, nil, steps)
		for i := range 5 {
			h.start(fmt.Sprint(i))
		}
		pass(100 * time.Millisecond)
		h.over = func(s store.Store) store.Store { return &torn{s, "0"} }
		h.restart()
		pass(time.Second)
		for i := 1; i < 5; i++ {
			if i := h.ends(fmt.Sprint(i)); i.State != "answered" {
				t.Errorf("another is %+v", i)
			}
		}
		begin := time.Now()
		h.parked("0", "oplog", "checksum")
		if took := time.Since(begin); took < time.Minute || took > time.Hour {
			t.Errorf("parked after %v, want minutes", took)
		}
	})
}

func TestWhoeverWaitsWhenTheNodeHasStoppedIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, nil, func(ctx context.Context, in string) (string, error) { return in, chttp.Sleep(ctx, time.Hour) })
		e := h.start("one")
		pass(time.Minute)
		waiting := make(chan error)
		go func() {
			_, err := e.Wait(soon(t))
			waiting <- err
		}()
		synctest.Wait()
		h.stop()
		_, err := e.Wait(soon(t))
		for _, err := range []error{err, <-waiting} {
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Wait: %v", err)
			}
		}
	})
}
