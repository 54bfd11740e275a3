package chttptest_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
	"github.com/certifiedhttp/chttp/memstore"
)

// newNode makes a node at a host.
func newNode(t *testing.T, n *chttptest.Network, host string) *chttp.Node {
	t.Helper()
	node, err := chttp.New(memstore.New(), &chttp.Options{Transport: n.Transport(host), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// run runs a node until the bubble ends.
func run(t *testing.T, node *chttp.Node) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := node.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// ledger counts what was done.
type ledger struct {
	mu   sync.Mutex
	done map[string]int
}

func (l *ledger) add(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[what]++
	return len(l.done)
}

// A shop buys at a bank, which sends it receipts. Both are nodes, and the network does to their requests whatever it can.
func TestI2EffectsBetweenNodesHappenOnceUnderEveryFault(t *testing.T) {
	const seeds, orders = 5, 25
	reached := make(map[chttptest.FaultKind]int)
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			faults := chttptest.EveryFault(0.09)
			faults.MaxAgain = 2 * time.Hour // when everything is forgotten
			n := chttptest.NewNetwork(&chttptest.NetworkOptions{Seed: seed, Faults: faults})
			t.Cleanup(n.Close)
			bank, shop := newNode(t, n, bank), newNode(t, n, "shop.example")
			money := &ledger{done: make(map[string]int)}
			n.Handle("bank.example", bank.Handler("bank", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				order, _ := io.ReadAll(r.Body)
				number := money.add("charge " + string(order))
				if _, err := bank.Put(r.Context(), "https://shop.example/receipts", "text/plain", strings.NewReader(string(order))); err != nil {
					t.Errorf("seed %d: Put: %v", seed, err)
				}
				fmt.Fprintf(w, "%s is charge %d", order, number)
			}), &chttp.HandlerOptions{Anonymous: true}))
			n.Handle("shop.example", shop.Handler("shop", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				order, _ := io.ReadAll(r.Body)
				money.add("receipt " + string(order))
			}), &chttp.HandlerOptions{Anonymous: true}))
			buy := chttp.Resumable("buy", func(ctx context.Context, order string) (string, error) {
				res, err := chttp.Post(ctx, "https://bank.example/charges", "text/plain", strings.NewReader(order))
				if err != nil {
					return "", err
				}
				b, err := io.ReadAll(res.Body)
				return string(b), err
			})
			shop.Register(buy)
			run(t, bank)
			run(t, shop)
			go weather(n)

			var wg sync.WaitGroup
			want := make(map[string]int)
			for i := range orders {
				order := fmt.Sprint("order ", i)
				want["charge "+order], want["receipt "+order] = 1, 1
				wg.Go(func() {
					time.Sleep(time.Duration(i) * time.Second)
					e, err := buy.Start(t.Context(), shop, chttp.ID(fmt.Sprint("order-", i)), order)
					if err != nil {
						t.Errorf("seed %d: Start: %v", seed, err)
						return
					}
					ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
					defer cancel()
					answer, err := e.Wait(ctx)
					if err != nil || !strings.HasPrefix(answer, order+" is charge ") {
						t.Errorf("seed %d: %s: got %q, %v", seed, order, answer, err)
					}
				})
			}
			wg.Wait()
			n.Quiet()
			pass(24 * time.Hour) // receipts, and late copies
			if !maps.Equal(money.done, want) {
				t.Errorf("seed %d: done %v, want each once", seed, money.done)
			}
			for k, times := range n.Counts().Faults {
				reached[k] += times
			}
		})
	}
	for _, k := range chttptest.FaultKinds() {
		if reached[k] == 0 {
			t.Errorf("no seed had the fault %q", k)
		}
	}
}

// weather is what befalls whole hosts.
func weather(n *chttptest.Network) {
	time.Sleep(3 * time.Second)
	n.Down("bank.example")
	time.Sleep(2 * time.Second)
	n.Up("bank.example")
	time.Sleep(3 * time.Second)
	n.Partition("bank.example", "shop.example")
	time.Sleep(time.Minute)
	n.Heal("bank.example", "shop.example")
	time.Sleep(time.Second)
	n.Down("shop.example")
	time.Sleep(time.Second)
	n.Up("shop.example")
}
