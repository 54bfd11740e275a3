package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// looking is a memory that is open for reading only.
type looking struct {
	*memstore.Store
	t  *testing.T
	id store.Identity
}

// lookInto returns a view of st for reading only. It joins st first: nodes on it come after.
func lookInto(t *testing.T, st *memstore.Store) *looking {
	t.Helper()
	id, err := st.Join(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	id.Token = store.Token{}
	return &looking{st, t, id}
}

func (l *looking) Join(context.Context, int64) (store.Identity, error) {
	return l.id, store.ErrReadOnly
}

func (l *looking) Commit(context.Context, *store.Batch) (*store.Report, error) {
	l.t.Error("a node that only looks commits something")
	return nil, store.ErrReadOnly
}

func TestANodeOfAStoreThatIsOpenForReadingOnlyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstore.New()
		view := lookInto(t, st)
		live := newNode(t, st, nil)
		double := chttp.Resumable("double", func(_ context.Context, in int) (int, error) { return 2 * in, nil })
		long := chttp.Resumable("long", func(ctx context.Context, _ int) (int, error) { return 0, chttp.Sleep(ctx, 24*time.Hour) })
		principal := func(*http.Request) (string, error) { return "ann", nil }
		live.Register(double, long)
		handler := live.Handler("h", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") }), &chttp.HandlerOptions{Principal: principal})
		run(t, live)
		if _, err := double.Start(t.Context(), live, "d", 4); err != nil {
			t.Fatal(err)
		}
		if _, err := long.Start(t.Context(), live, "l", 4); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		asked := request(handler, "POST", "/", "m")
		before := fmt.Sprint(dumpOf(t, st))

		n := newNode(t, view, nil)
		n.Register(double, long)
		mine := n.Handler("h", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") }), &chttp.HandlerOptions{Principal: principal})
		if i, err := n.Lookup(t.Context(), "l"); err != nil || i.Function != "long" {
			t.Errorf("Lookup: %v, %v", i, err)
		}
		ended, err := double.Attach(t.Context(), n, "d")
		if err != nil {
			t.Fatal(err)
		}
		if v, err := ended.Wait(t.Context()); v != 8 || err != nil {
			t.Errorf("Wait for what has ended: %v, %v", v, err)
		}
		if err := n.CheckReplay(t.Context()); err != nil {
			t.Errorf("CheckReplay: %v", err)
		}
		_, resource, _ := strings.Cut(asked.Header().Get("Certified"), `message="`)
		resource, _, _ = strings.Cut(resource, `"`)
		if w := request(n.WellKnown(), "GET", resource, ""); w.Code != 200 || w.Body.String() != "done" {
			t.Errorf("GET %s: %d %s", resource, w.Code, w.Body)
		}

		unfinished, err := long.Attach(t.Context(), n, "l")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for name, call := range map[string]func() error{
			"Run":   func() error { return n.Run(ctx) },
			"Start": func() error { _, err := double.Start(ctx, n, "new", 1); return err },
			"Put": func() error {
				_, err := n.Put(ctx, "http://peer/", "text/plain", strings.NewReader("x"))
				return err
			},
			"Cancel": func() error { return unfinished.Cancel(ctx, "") },
			"Wait":   func() error { _, err := unfinished.Wait(ctx); return err },
		} {
			err := call()
			if !errors.Is(err, store.ErrReadOnly) || !strings.Contains(err.Error(), "make one of a store that is open for writing") {
				t.Errorf("%s: got %v, want what to do, and %v", name, err, store.ErrReadOnly)
			}
			var e *chttp.Error
			if errors.As(err, &e) && name != "Wait" && e.MayHaveHappened() {
				t.Errorf("%s: %v may have happened", name, err)
			}
		}
		for _, r := range []struct{ method, path string }{{"POST", "/"}, {"DELETE", resource}, {"POST", "/.well-known/chttp/acks"}} {
			h := mine
			if r.path != "/" {
				h = n.WellKnown()
			}
			w := request(h, r.method, r.path, "another")
			if w.Code != 503 || !strings.Contains(w.Body.String(), "open for reading only") || !strings.Contains(w.Header().Get("Certified"), "state=none") {
				t.Errorf("%s %s: %d %v %s", r.method, r.path, w.Code, w.Header(), w.Body)
			}
		}
		if after := fmt.Sprint(dumpOf(t, st)); after != before {
			t.Errorf("the store was changed:\n got %v\nwant %v", after, before)
		}
		if _, err := double.Start(t.Context(), live, "after", 1); err != nil {
			t.Errorf("the node that runs was disturbed: %v", err)
		}
	})
}

// request has h answer a request with a key.
func request(h http.Handler, method, path, id string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	if id != "" {
		now := time.Now().Unix()
		r.Header.Set("Idempotency-Key", `"`+id+`"`)
		r.Header.Set("Certified", fmt.Sprintf("v=1, at=@%d, sent=@%d, until=@%d", now, now, now+3600))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
