package chttptest_test

import (
	"context"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

func TestContextBelongsToAnExecution(t *testing.T) {
	ctx := chttptest.Context(t, &chttptest.ContextOptions{Peers: []chttptest.Peer{cashier}})
	if i, ok := chttp.From(ctx); !ok || i.State != "running" {
		t.Errorf("got %+v, %v", i, ok)
	}
	chttp.Persist(ctx, "n", rand.Int)
	if err := pay(ctx, 1); err != nil {
		t.Error(err)
	}
	resp, err := chttp.Post(ctx, "https://bank.example/pay", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(b), "paid x") {
		t.Errorf("got %q", b)
	}
}

func TestContextWorksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n *chttp.Node
		ctx := chttptest.Context(t, &chttptest.ContextOptions{
			Functions: []chttp.Registrant{part}, Peers: []chttptest.Peer{cashier}, Fresh: func(_ testing.TB, m *chttp.Node) { n = m },
		})
		began := time.Now()
		if err := chttp.Sleep(ctx, time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("slept %v, %v", time.Since(began), err)
		}
		x, err := part.Start(ctx, n, "", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Wait(ctx); err != nil {
			t.Error(err)
		}
	})
}

// cleaner runs its clean-up when it is told to.
type cleaner struct {
	recorder
	last []func()
}

func (c *cleaner) Cleanup(f func()) { c.last = append(c.last, f) }

func TestContextSaysThatItsExecutionWasParked(t *testing.T) {
	c := &cleaner{recorder: recorder{T: t}}
	ctx := chttptest.Context(c, nil)
	for range 2 {
		_ = chttp.Run(ctx, "twice", func(context.Context) error { return nil })
	}
	for _, f := range c.last {
		f()
	}
	if want := "used twice"; !strings.Contains(c.text, want) {
		t.Errorf("got %q, want %q in it", c.text, want)
	}
}

func TestContextSaysWhoIsNoPeer(t *testing.T) {
	c := &cleaner{recorder: recorder{T: t}}
	ctx := chttptest.Context(c, nil)
	if err := pay(ctx, 1); err != nil {
		t.Error(err)
	}
	for _, f := range c.last {
		f()
	}
	if want := "https://bank.example/pay is sent to a host that is no peer"; !strings.Contains(c.text, want) {
		t.Errorf("got %q, want %q in it", c.text, want)
	}
}
