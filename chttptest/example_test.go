package chttptest_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// order is the program's: it orders an item at the shop, under a number of its own.
var order = chttp.Resumable("order", func(ctx context.Context, item string) (string, error) {
	number := chttp.Persist(ctx, "number", rand.Uint32)
	resp, err := chttp.Post(ctx, "https://shop.example/orders", "text/plain", strings.NewReader(fmt.Sprintf("%d: %s", number, item)))
	if err != nil {
		return "", err
	}
	receipt, err := io.ReadAll(resp.Body)
	return string(receipt), err
})

// testOrder is the test. It fails if order, resumed after a crash, does anything else than
// without one: if, for example, number were rand.Uint32() alone.
func testOrder(t *testing.T) {
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "thank you for %s", body)
	})
	chttptest.Resumes(t, order, "a lamp", &chttptest.Options{
		Peers: []chttptest.Peer{{Host: "shop.example", Handler: shop}},
	})
}

func ExampleResumes() {
	_ = testOrder // in a program: func TestOrder(t *testing.T)
}
