package chttp_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
)

// A cancellation that was recorded reaches a function that waits for it outside of operations, also in the next process (I8).
func TestI8ACancellationReachesAFunctionThatWaitsForItAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, _ string) (string, error) {
			chttp.Persist(ctx, "a", func() int { return 1 })
			<-ctx.Done()
			time.Sleep(time.Minute)
			return "", context.Cause(ctx)
		})
		e := h.start("x")
		time.Sleep(time.Second)
		if err := e.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		h.crash()
		if _, err := h.outcome("x"); !errors.Is(err, chttp.ErrCanceled) {
			t.Errorf("got %v, want it canceled", err)
		}
	})
}

// So does one that comes in the next process.
func TestI8ACancelReachesAFunctionThatWaitsForItInTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, newLAN(nil), func(ctx context.Context, _ string) (string, error) {
			chttp.Persist(ctx, "a", func() int { return 1 })
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		h.start("x")
		time.Sleep(time.Second)
		h.crash()
		time.Sleep(time.Second)
		e, err := h.f.Attach(t.Context(), h.node, "x")
		if err != nil || e.Cancel(t.Context(), "enough") != nil {
			t.Fatal(err)
		}
		if _, err := h.outcome("x"); !errors.Is(err, chttp.ErrCanceled) {
			t.Errorf("got %v, want it canceled", err)
		}
	})
}
