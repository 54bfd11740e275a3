package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

func certifiedPeer(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 200, "yes") }

// onFaulty has a home use st.
func onFaulty(st *faulty) func(*home) {
	return func(h *home) {
		h.store = st.Store
		h.over = func(store.Store) store.Store { return st }
	}
}

func TestAnExecutionIsNotBlamedForAFactOrAcknowledgementThatTheStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		st := newFaulty()
		st.fails(func(b *store.Batch) (error, bool) {
			for _, f := range b.Facts {
				if strings.HasPrefix(f.Name, "peer") {
					refused++
					return errors.New("the store does not like facts"), false
				}
			}
			return nil, false
		})
		h := newHome(t, newLAN(certifiedPeer), func(ctx context.Context, _ string) (string, error) { return post(ctx, peerURL) }, onFaulty(st))
		for i := range 3 {
			if out, err := h.do(fmt.Sprint("e", i)); err != nil || out != "200 yes" {
				t.Errorf("got %q, %v", out, err)
			}
		}
		if refused == 0 {
			t.Error("no fact was ever committed with a change")
		}
	})
}

func TestAStoreThatCannotBeReadIsNoResultOfAnOperation(t *testing.T) {
	damage := errors.New("input/output error")
	ops := map[string]func(ctx context.Context, h *home, other *chttp.Execution[string]) error{
		"wait": func(ctx context.Context, _ *home, other *chttp.Execution[string]) error {
			_, err := other.Wait(ctx)
			return err
		},
		"lookup": func(ctx context.Context, h *home, _ *chttp.Execution[string]) error {
			_, err := h.node.Lookup(ctx, "other")
			return err
		},
		"cancel": func(ctx context.Context, _ *home, other *chttp.Execution[string]) error { return other.Cancel(ctx, "") },
		"send with an id": func(ctx context.Context, h *home, _ *chttp.Execution[string]) error {
			_, err := h.node.Put(chttp.With(ctx, chttp.Policy{ID: "chosen"}), peerURL, "text/plain", strings.NewReader("x"))
			return err
		},
		"start with an id": func(ctx context.Context, h *home, _ *chttp.Execution[string]) error {
			_, err := h.f.Start(ctx, h.node, "chosen", "leaf")
			return err
		},
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newFaulty()
				var h *home
				var other *chttp.Execution[string]
				h = newHome(t, newLAN(certifiedPeer), func(ctx context.Context, in string) (string, error) {
					if in == "leaf" {
						return "leaf", nil
					}
					if err := chttp.Sleep(ctx, time.Minute); err != nil {
						return "", err
					}
					return "done", op(ctx, h, other)
				}, onFaulty(st))
				var err error
				if other, err = h.f.Start(t.Context(), h.node, "other", "leaf"); err != nil {
					t.Fatal(err)
				}
				h.start("e")
				time.Sleep(50 * time.Second)
				st.read.Store(&damage)
				time.Sleep(12 * time.Second)
				st.read.Store(nil)
				if out, err := h.outcome("e"); err != nil || out != "done" {
					t.Errorf("got %q, %v; want what a readable store gives", out, err)
				}
			})
		})
	}
}

// TestI7CancelIsAnOperation cancels from inside a function, and lets what was cancelled be forgotten before the function runs again:
// then it must be given what was recorded.
func TestI7CancelIsAnOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *home
		var said []error
		h = newHome(t, newLAN(certifiedPeer), func(ctx context.Context, in string) (string, error) {
			if in == "leaf" {
				return "", chttp.Sleep(ctx, time.Hour)
			}
			other, err := h.f.Start(ctx, h.node, "", "leaf")
			if err != nil {
				return "", err
			}
			said = append(said, other.Cancel(ctx, "not wanted"))
			return "", chttp.Sleep(ctx, 48*time.Hour)
		}, func(h *home) { h.opt.Retention = time.Hour })
		h.start("e")
		time.Sleep(24 * time.Hour)
		h.crash()
		if i := h.ends("e"); i.State != "answered" {
			t.Errorf("it is %s: %v", i.State, i.Err)
		}
		if len(said) != 2 || said[0] != nil || said[1] != nil {
			t.Errorf("Cancel said %v, want the same in each run", said)
		}
	})
}

// TestCancelFromAFunctionWaitsForNoRoomOfItsOwn: with room for one, the one that is to be cancelled needs that of the one that cancels.
func TestCancelFromAFunctionWaitsForNoRoomOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *home
		h = newHome(t, newLAN(certifiedPeer), func(ctx context.Context, in string) (string, error) {
			if in == "leaf" {
				return "", chttp.Sleep(ctx, time.Hour)
			}
			other, err := h.f.Start(ctx, h.node, "leaf", "leaf")
			if err != nil {
				return "", err
			}
			if err := chttp.Sleep(ctx, time.Minute); err != nil {
				return "", err
			}
			return "cancelled", other.Cancel(ctx, "")
		}, func(h *home) { h.opt.MaxResident = 1 })
		h.start("e")
		if out, err := h.outcome("e"); err != nil || out != "cancelled" {
			t.Errorf("got %q, %v", out, err)
		}
		if i := h.ends("leaf"); i.State != "canceled" {
			t.Errorf("the other is %s", i.State)
		}
	})
}

func TestAHandlerMadeAfterRunSaysSoAndDisturbsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logbook
		n := newNode(t, memstore.New(), &chttp.Options{Logger: log.logger()})
		in := n.Handler("in time", new(counter), &chttp.HandlerOptions{Anonymous: true})
		run(t, n)
		synctest.Wait()
		late := n.Handler("late", new(counter), &chttp.HandlerOptions{Anonymous: true})
		for h, want := range map[http.Handler]int{in: 201, late: 500} {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
			r.Header.Set("Idempotency-Key", `"0123456789012345678901234"`)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, want)
			}
		}
		if log.count("after Run") == 0 {
			t.Error("the log does not say why")
		}
	})
}

// latePage is a store whose Due is slow to return what it has read.
type latePage struct {
	store.Store
	after func(page []*store.Record)
}

func (s *latePage) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	page, err := s.Store.Due(ctx, after, limit)
	s.after(page)
	return page, err
}

// TestI8WhatIsStoredWhileThePageIsReadIsNotPassedOver has a message stored that is due before the last of a page, after the page was read
// and before the scanner goes through it.
func TestI8WhatIsStoredWhileThePageIsReadIsNotPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *home
		var second chttp.ID
		var lanes atomic.Int32
		var once sync.Once
		h = newHome(t, newLAN(certifiedPeer), nil, func(h *home) {
			h.over = func(s store.Store) store.Store {
				return &latePage{s, func(page []*store.Record) {
					if len(page) != 1 || lanes.Add(1) > 2 {
						return
					}
					time.Sleep(time.Millisecond) // Both of the node's lanes have read their page.
					once.Do(func() { second = h.put(peerURL, "second", chttp.Policy{After: 2 * time.Second}) })
					time.Sleep(time.Minute)
				}}
			}
		})
		first := h.put(peerURL, "first", chttp.Policy{After: 30 * time.Second})
		time.Sleep(5 * time.Minute)
		synctest.Wait() // which the race detector knows, as it does not know the clock
		for name, id := range map[string]chttp.ID{"first": first, "second": second} {
			if i, err := h.node.Lookup(t.Context(), id); err != nil || i.State != "answered" {
				t.Errorf("the %s is %s, %v", name, i.State, err)
			}
		}
	})
}
