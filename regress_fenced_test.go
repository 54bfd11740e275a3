package chttp_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// silence is a network in which nobody answers.
type silence struct{}

func (silence) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// TestS11ANodeWhoseStoreWasTakenOverBeginsNothingAgain has a node find out while one of its executions waits. What it puts out of memory then is no longer
// its own to go on with. It is a race, so it is tried some times.
func TestS11ANodeWhoseStoreWasTakenOverBeginsNothingAgain(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			st := memstore.New()
			n := newNode(t, st, &chttp.Options{Transport: silence{}, Logger: quiet})
			var runs atomic.Int32
			waits := chttp.Resumable("waits", func(ctx context.Context, url string) (string, error) {
				runs.Add(1)
				return post(ctx, url)
			})
			n.Register(waits)
			ran := make(chan error)
			go func() { ran <- n.Run(t.Context()) }()
			synctest.Wait()
			if _, err := waits.Start(t.Context(), n, "e", "http://peer/"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			newNode(t, st, &chttp.Options{Logger: quiet})
			if _, err := n.Put(t.Context(), "http://peer/", "text/plain", strings.NewReader("x")); !errors.Is(err, store.ErrFenced) {
				t.Errorf("Put: %v, want %v", err, store.ErrFenced)
			}
			if err := <-ran; !errors.Is(err, store.ErrFenced) {
				t.Errorf("Run: %v, want %v", err, store.ErrFenced)
			}
			if got := runs.Load(); got != 1 {
				t.Errorf("the function ran %d times, want once", got)
			}
		})
	}
}
