package chttptest_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
	"github.com/certifiedhttp/chttp/memstore"
)

// A shop sends a deposit to a bank over a network that loses every second answer after the work was done. The bank gets the request twice,
// and does it once.
func ExampleNetwork() {
	n := chttptest.NewNetwork(nil)
	defer n.Close()
	n.Script(func(r *http.Request, attempt int) chttptest.Fault {
		if attempt%2 == 1 {
			return chttptest.Fault{Kind: chttptest.LoseAnswer}
		}
		return chttptest.Fault{}
	})

	bank, err := chttp.New(memstore.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	n.Handle("bank.example", bank.Handler("bank", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		amount, _ := io.ReadAll(r.Body)
		fmt.Printf("the bank deposits %s\n", amount)
	}), &chttp.HandlerOptions{Anonymous: true}))

	shop, err := chttp.New(memstore.New(), &chttp.Options{Transport: n.Transport("shop.example")})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = bank.Run(ctx) })
	wg.Go(func() { _ = shop.Run(ctx) })

	id, err := shop.Put(ctx, "https://bank.example/deposits", "text/plain", strings.NewReader("100"))
	if err != nil {
		log.Fatal(err)
	}
	state := ""
	for state != "answered" {
		time.Sleep(10 * time.Millisecond) // in a testing/synctest bubble it costs nothing
		m, err := shop.Lookup(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		state = m.State
	}
	fmt.Printf("requests: %d, answers lost: %d\n", n.Counts().Requests, n.Counts().Faults[chttptest.LoseAnswer])
	stop()
	wg.Wait()
	// Output:
	// the bank deposits 100
	// requests: 2, answers lost: 1
}
