package chttp_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/probe"
	"github.com/certifiedhttp/chttp/store"
)

// watched is a memory that looks on, and says when an execution was made.
type watched struct {
	store.Store

	mu   sync.Mutex
	seen []string
}

func (w *watched) Watch(s *probe.Sight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Moment == probe.Enter {
		w.seen = append(w.seen, fmt.Sprintf("%s %d recorded=%v %s", s.Kind, s.Seq, s.Recorded, s.Content))
	}
}

func (w *watched) Born(_, _ string, run uint64, _ int64) (uint64, int64) {
	return run, 1
}

func TestATestHelperSeesWhatIsAskedBeforeItIsComparedWithTheOplog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *watched
		text := "one"
		h := newHome(t, newLAN(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }), func(ctx context.Context, _ string) (string, error) {
			resp, err := chttp.Post(ctx, peerURL, "text/plain", strings.NewReader(text))
			if err != nil {
				return "", err
			}
			resp.Body.Close()
			return "", chttp.Sleep(ctx, 1<<40)
		}, func(h *home) {
			h.over = func(s store.Store) store.Store { w = &watched{Store: s}; return w }
		})
		h.start("x")
		synctest.Wait()
		r, err := h.store.Read(t.Context(), store.Key{ID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Created != 1 {
			t.Errorf("it was made at %d, want 1", r.Created)
		}
		text = "two"
		h.restart()
		h.parked("x", "differs")
		want := "call 0 recorded=true POST " + peerURL + "\nContent-Type: text/plain\n\ntwo"
		if len(w.seen) != 1 || w.seen[0] != want {
			t.Errorf("got %q\nwant %q", w.seen, want)
		}
	})
}
