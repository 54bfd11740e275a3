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

// recorder is a test that keeps what it is told, instead of failing.
type recorder struct {
	*testing.T
	text string
}

func (r *recorder) Error(args ...any) { r.text += fmt.Sprintln(args...) }

func (r *recorder) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) + "\n" }

// cashier is a peer that pays whatever it is asked to.
var cashier = chttptest.Peer{Host: "bank.example", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "paid %s as %d", b, rand.Int64())
})}

// pay posts what it is given to cashier.
func pay(ctx context.Context, v any) error {
	resp, err := chttp.Post(ctx, "https://bank.example/pay", "text/plain", strings.NewReader(fmt.Sprint(v)))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

type fn = func(ctx context.Context, in string) (string, error)

func TestOrder(t *testing.T) { testOrder(t) }
