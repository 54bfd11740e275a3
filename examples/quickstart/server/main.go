// Command server is the shop of the README: it takes an order once, however often it is asked.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

func main() {
	st, err := sqlitestore.Open("shop.db")
	if err != nil {
		log.Fatal(err)
	}
	node, err := chttp.New(st, nil)
	if err != nil {
		log.Fatal(err)
	}
	app := http.NewServeMux() // or chi, gin, echo: any http.Handler
	app.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		item, _ := io.ReadAll(r.Body)
		number := chttp.Persist(r.Context(), "number", rand.Uint32) // the same again after a crash
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "order %d: %s\n", number, item)
	})
	shop := node.Handler("shop", app, &chttp.HandlerOptions{Anonymous: true})
	go func() { log.Fatal(node.Run(context.Background())) }() // finishes what a crash interrupted
	log.Fatal(http.ListenAndServe("localhost:8080", shop))
}
