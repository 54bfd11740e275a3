package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

// TestACancelledFunctionSendsAndStartsUnderIDsThatItChose is about cleaning up: the look-up of a chosen id was made with the cancelled
// context, which was taken for a store that cannot be read.
func TestACancelledFunctionSendsAndStartsUnderIDsThatItChose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *home
		network := newLAN(certifiedPeer)
		h = newHome(t, network, func(ctx context.Context, in string) (string, error) {
			if in == "leaf" || chttp.Sleep(ctx, time.Hour) == nil {
				return "slept", nil
			}
			if _, err := h.f.Start(ctx, h.node, "undo", "leaf"); err != nil {
				return "", err
			}
			_, err := h.node.Put(chttp.With(ctx, chttp.Policy{ID: "refund"}), peerURL, "text/plain", strings.NewReader("refund"))
			return "undone", err
		})
		x := h.start("x")
		pass(time.Second)
		if err := x.Cancel(t.Context(), "no longer wanted"); err != nil {
			t.Fatal(err)
		}
		if i := h.ends("x"); i.State != "answered" {
			t.Errorf("it is %s: %v", i.State, i.Err)
		}
		for _, id := range []string{"undo", "refund"} {
			if i := h.ends(id); i.State != "answered" {
				t.Errorf("%s is %s: %v", id, i.State, i.Err)
			}
		}
		if n := len(network.requests("PUT")); n != 1 {
			t.Errorf("%d refunds", n)
		}
	})
}

func TestACancelledFunctionCancelsWhatItBegan(t *testing.T) {
	for _, room := range []int{0, 1} {
		t.Run(fmt.Sprint("room ", room), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h *home
				h = newHome(t, newLAN(certifiedPeer), func(ctx context.Context, in string) (string, error) {
					if in == "leaf" {
						return "", chttp.Sleep(ctx, 24*time.Hour)
					}
					c, err := h.f.Start(ctx, h.node, "leaf", "leaf")
					if err != nil {
						return "", err
					}
					if _, err := c.Wait(ctx); err != nil {
						return "undone", c.Cancel(ctx, "my own caller does not want it")
					}
					return "done", nil
				}, func(h *home) { h.opt.MaxResident = room })
				x := h.start("x")
				pass(10 * time.Second)
				if err := x.Cancel(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				if i := h.ends("x"); i.State != "answered" {
					t.Errorf("it is %s: %v", i.State, i.Err)
				}
				if i := h.ends("leaf"); i.State != "canceled" {
					t.Errorf("what it began is %s: %v", i.State, i.Err)
				}
			})
		})
	}
}

// TestI8AStoreThatCannotBeReadForAWhileParksNothing has reads fail for longer than a crash is tried again, while all else works.
func TestI8AStoreThatCannotBeReadForAWhileParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outage := errors.New("input/output error")
		st := newFaulty()
		var h *home
		h = newHome(t, newLAN(certifiedPeer), func(ctx context.Context, _ string) (string, error) {
			if err := chttp.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			_, err := h.node.Lookup(ctx, "nothing")
			if !errors.Is(err, chttp.ErrNotFound) {
				return "", err
			}
			return "looked", nil
		}, onFaulty(st))
		h.start("x")
		time.Sleep(time.Hour - time.Minute)
		st.read.Store(&outage)
		time.Sleep(30 * time.Minute)
		st.read.Store(nil)
		if out, err := h.outcome("x"); err != nil || out != "looked" {
			t.Errorf("got %q, %v", out, err)
		}
	})
}

func TestWhoWaitsForADamagedRecordParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *home
		h = newHome(t, newLAN(certifiedPeer), func(ctx context.Context, in string) (string, error) {
			if in == "leaf" {
				return "leaf", nil
			}
			if err := chttp.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			_, err := h.node.Lookup(ctx, "leaf")
			return "", err
		})
		if _, err := h.f.Start(t.Context(), h.node, "leaf", "leaf"); err != nil {
			t.Fatal(err)
		}
		h.start("x")
		pass(time.Minute)
		h.store.Damage(store.Key{ID: "leaf"}, true)
		h.parked("x", "leaf", "damaged")
	})
}
