package chttp_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// quiet discards what nodes log.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// run runs n until the test ends, or the returned function is called.
func run(t *testing.T, n *chttp.Node) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func newNode(t *testing.T, s store.Store, o *chttp.Options) *chttp.Node {
	t.Helper()
	if o == nil {
		o = &chttp.Options{Logger: quiet}
	}
	n, err := chttp.New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serve makes a certified server of h, with everybody in one scope, and runs it.
func serve(t *testing.T, h http.Handler, o *chttp.HandlerOptions) (*httptest.Server, *chttp.Node) {
	t.Helper()
	n := newNode(t, memstore.New(), nil)
	if o == nil {
		o = &chttp.HandlerOptions{Principal: func(*http.Request) (string, error) { return "anybody", nil }}
	}
	srv := httptest.NewServer(n.Handler("app", h, o))
	t.Cleanup(srv.Close)
	run(t, n)
	return srv, n
}

func TestACallFromAFunctionIsAnsweredOnceAndRecorded(t *testing.T) {
	var served atomic.Int64
	srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		b, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(map[string]string{"got": string(b)})
	}), nil)
	n := newNode(t, memstore.New(), nil)
	type reply struct{ Got string }
	f := chttp.Resumable("f", func(ctx context.Context, in string) (string, error) {
		nonce := chttp.Persist(ctx, "nonce", func() int { return 7 })
		out, err := chttp.PostJSON[reply](ctx, srv.URL+"/x", map[string]any{"in": in, "nonce": nonce})
		return out.Got, err
	})
	n.Register(f)
	run(t, n)
	exec, err := f.Start(t.Context(), n, "one", "hello")
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"in":"hello","nonce":7}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	again, err := f.Start(t.Context(), n, "one", "hello")
	if err != nil {
		t.Fatal(err)
	}
	if got2, err := again.Wait(t.Context()); err != nil || got2 != got {
		t.Errorf("the same id again: got %q, %v", got2, err)
	}
	if served.Load() != 1 {
		t.Errorf("handler ran %d times, want 1", served.Load())
	}
}

func TestAPutArrivesOnce(t *testing.T) {
	var served atomic.Int64
	srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served.Add(1) }), nil)
	n := newNode(t, memstore.New(), nil)
	id, err := n.Put(t.Context(), srv.URL+"/thing", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, n)
	waitState(t, n, id, "answered")
	if served.Load() != 1 {
		t.Errorf("handler ran %d times, want 1", served.Load())
	}
}

// waitState waits until the execution id of n is in the state.
func waitState(t *testing.T, n *chttp.Node, id chttp.ID, state string) chttp.Info {
	t.Helper()
	for range 2000 {
		i, err := n.Lookup(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if i.State == state {
			return i
		}
		time.Sleep(5 * time.Millisecond)
	}
	i, _ := n.Lookup(t.Context(), id)
	t.Fatalf("execution %s is %s, want %s: %+v", id, i.State, state, i)
	return i
}
