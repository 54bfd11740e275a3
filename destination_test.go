package chttp_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

func TestDestinationIsToldWhichMessageItIsAbout(t *testing.T) {
	arrived := make(chan struct{})
	srv, _ := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(arrived) }), nil)
	var mu sync.Mutex
	told := map[string]chttp.Info{}
	note := func(by string, ctx context.Context) {
		i, ok := chttp.From(ctx)
		mu.Lock()
		defer mu.Unlock()
		if told[by] = i; !ok {
			t.Errorf("%s is told nothing", by)
		}
	}
	n := newNode(t, memstore.New(), &chttp.Options{
		Logger: quiet,
		Destination: func(ctx context.Context, _ *http.Request) (chttp.Destination, error) {
			note("Destination", ctx)
			return chttp.Destination{Authorize: func(req *http.Request) error {
				note("Authorize", req.Context())
				return nil
			}}, nil
		},
	})
	run(t, n)
	ctx := chttp.With(t.Context(), chttp.Policy{ID: "message-of-the-batch-7", Labels: map[string]string{"batch": "7"}})
	if _, err := n.Put(ctx, srv.URL, "text/plain", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	<-arrived
	mu.Lock()
	defer mu.Unlock()
	for _, by := range []string{"Destination", "Authorize"} {
		if got := told[by]; got.Labels["batch"] != "7" || got.ID != "message-of-the-batch-7" {
			t.Errorf("%s is told %+v", by, got)
		}
	}
}
