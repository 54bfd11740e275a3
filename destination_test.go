package chttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
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

// outage is a plain peer that nobody reaches until a certain time.
type outage struct{ until time.Time }

func (o outage) RoundTrip(r *http.Request) (*http.Response, error) {
	if time.Now().Before(o.until) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func TestMessagesThatAShortOutageMovedOutOfMemoryComeBackSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 40 // of which memory holds a part
		st := memstore.New()
		n := newNode(t, st, &chttp.Options{Logger: quiet, MaxResident: 10, Transport: outage{time.Now().Add(500 * time.Millisecond)}})
		begin := time.Now()
		for range messages {
			if _, err := n.Put(t.Context(), "http://peer/", "text/plain", strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
		}
		stop := run(t, n)
		defer stop()
		for {
			open, err := st.List(t.Context(), store.Query{States: []store.State{store.Running, store.Waiting}})
			if err != nil {
				t.Fatal(err)
			}
			if len(open) == 0 {
				break
			}
			if passed := time.Since(begin); passed > 15*time.Second {
				t.Fatalf("%d of %d messages still wait %v after an outage of half a second", len(open), messages, passed)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}
