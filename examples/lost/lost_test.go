package lost_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/certifiedhttp/chttp/chttptest"
	"github.com/certifiedhttp/chttp/examples/lost"
)

// shelf is a Stock in memory: what is reserved again for the same order is reserved once.
type shelf struct {
	mu       sync.Mutex
	reserved map[string]bool
}

func (s *shelf) Reserve(_ context.Context, order, item string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved[order+"/"+item] = true
	return 100 * len(item), nil
}

var cart = lost.Cart{Order: "42", Items: []string{"lamp", "chair"}}

// options are the world of a checkout: others that say yes, and a shelf that is full again before every run.
func options(s *shelf) *chttptest.Options {
	yes := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	return &chttptest.Options{
		Peers:   []chttptest.Peer{{Host: "bank.example", Handler: yes}, {Host: "parcels.example", Handler: yes}},
		Setup:   func(testing.TB) { s.reserved = make(map[string]bool) },
		Effects: func() any { return s.reserved },
	}
}

func TestTheMendedCheckoutResumes(t *testing.T) {
	s := new(shelf)
	chttptest.Resumes(t, lost.Mended(s), cart, options(s))
}

// recorder is a test that is told of failures, and does not fail.
type recorder struct {
	*testing.T
	text string
}

func (r *recorder) Error(args ...any) { r.text += fmt.Sprintln(args...) }

func TestTheCheckoutLosesItsTotal(t *testing.T) {
	s := new(shelf)
	r := &recorder{T: t}
	chttptest.Resumes(r, lost.Checkout(s), cart, options(s))
	for _, want := range []string{
		`function "checkout" does not resume`,
		`The process died after step "reserve" (lost.go:`,
		`{"order":"42","amount":900}`,
		`{"order":"42","amount":0}`,
		`sets a variable outside of itself`,
		`chttp.Do(ctx, "reserve", …)`,
	} {
		if !strings.Contains(r.text, want) {
			t.Errorf("want %q in what was found:\n%s", want, r.text)
		}
	}
	if testing.Verbose() {
		t.Log(r.text)
	}
}
