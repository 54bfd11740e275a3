// Command client is the buyer of the README: it buys once, however often it is killed and started again.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

var buy = chttp.Resumable("buy", func(ctx context.Context, item string) (string, error) {
	resp, err := chttp.Post(ctx, "http://localhost:8080/orders", "text/plain", strings.NewReader(item))
	if err != nil {
		return "", err
	}
	receipt, err := io.ReadAll(resp.Body)
	return string(receipt), err
})

func main() {
	st, err := sqlitestore.Open("buyer.db")
	if err != nil {
		log.Fatal(err)
	}
	node, err := chttp.New(st, nil)
	if err != nil {
		log.Fatal(err)
	}
	node.Register(buy)
	ctx := context.Background()
	go func() { log.Fatal(node.Run(ctx)) }()
	order, err := buy.Start(ctx, node, "order-42", "a lamp") // the same id again: the same purchase
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := order.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(receipt)
}
