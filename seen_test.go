package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

func TestAContextThatIsNotMadeFromTheOneGivenParks(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, &chttp.HandlerOptions{Context: func(context.Context, string) (context.Context, error) {
		return context.Background(), nil
	}})
	s.certified("a", "x").problem(t, 503, "parked", "running")
	app.ran(t, 0)
}

func TestAHandlerCannotFlushOrTakeTheConnection(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Flush: %v", err)
		}
		if _, _, err := c.Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack: %v", err)
		}
	}, nil)
	s.certified("a", "x").done(t, 200, "", false)
}

func TestS12AClientThatGoesAwayCancelsNothing(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-app.entered
		cancel()
	}()
	r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/orders", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", "a")
	if _, err := srv.Client().Do(r); err == nil {
		t.Fatal("the request was answered")
	}
	srv.CloseClientConnections()
	close(app.open)
	s.post("a", "x").done(t, 201, "run 1", true)
	app.ran(t, 1)
}

func TestS12WhenTheRequestsContextEndsTheAnswerIsNoSuccess(t *testing.T) {
	app := newGate()
	s := newSite(t, nil, app.ServeHTTP, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-app.entered
		cancel() // as a time limit around the handler does
	}()
	r := httptest.NewRequestWithContext(ctx, "POST", "/orders", strings.NewReader("x"))
	r.Header.Set("Idempotency-Key", "a")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	reply{w.Code, w.Header(), w.Body.String()}.problem(t, 503, "in-progress", "running")
	close(app.open)
	s.post("a", "x").done(t, 201, "run 1", true)
}

type outerKey struct{}

func TestS12EveryRunSeesTheRequestAsItWasFirstStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		app := http.NewServeMux()
		app.HandleFunc("PUT /shops/{shop}/items/{rest...}", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			seen = append(seen, fmt.Sprintf("%s %s %s %s query=%v host=%s uri=%s proto=%s remote=%q tls=%v length=%d\nheader=%v\nvalues=%s,%s outer=%v inner=%v user=%v",
				r.Method, r.URL, r.URL.Path, r.URL.RawPath, r.URL.Query(), r.Host, r.RequestURI, r.Proto, r.RemoteAddr, r.TLS, r.ContentLength,
				r.Header, r.PathValue("shop"), r.PathValue("rest"), r.Context().Value(outerKey{}), r.PathValue("area"), r.Context().Value(userKey{}))+string(b))
			if len(seen)%3 != 0 {
				panic("once more")
			}
		})
		o := &chttp.HandlerOptions{
			Principal: callers,
			Context: func(ctx context.Context, principal string) (context.Context, error) {
				return context.WithValue(ctx, userKey{}, "user "+principal), nil
			},
			Header: func(name string) bool { return name != "X-Secret" },
		}
		n := newNode(t, memstore.New(), nil)
		h := n.Handler("app", app, o)
		outer := http.NewServeMux()
		outer.HandleFunc("/{area}/", func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), outerKey{}, "outer")))
		})
		outer.Handle("/orders", h)
		s := &site{t: t, node: n, Handler: outer}
		s.run()
		header := []string{
			"Idempotency-Key", `"a"`, "Certified", stamped(0, 0, time.Hour), "Content-Digest", "x=:AA==:",
			"X-Secret", "s", "X-Many", "1", "X-Many", "2", "Authorization", "Bearer t", "Cookie", "c=1", "Proxy-Authorization", "p",
			"Connection", "close, X-Hop", "X-Hop", "h", "X-Caller", "bob", "Prefer", "wait=5", "Accept", "text/*",
		}
		s.ask("PUT", "/shops/a%2Fb/items/x/y?q=1&q=2;3", "the body", header...).problem(t, 500, "crashed", "running")
		pass(10 * time.Minute)
		if len(seen) != 3 {
			t.Fatalf("%d runs, want 3", len(seen))
		}
		for _, again := range seen[1:] {
			if again != seen[0] {
				t.Errorf("a later run sees\n%s\nthe first saw\n%s", again, seen[0])
			}
		}
		for _, want := range []string{
			"PUT /shops/a%2Fb/items/x/y?q=1&q=2;3 ", "host=shop.example", "values=a/b,x/y", "outer=<nil>", "inner=shops", "user=user bob", "the body",
			"X-Many:[1 2]", "Accept:[text/*]", `remote=""`, "Idempotency-Key",
		} {
			if !strings.Contains(seen[0], want) {
				t.Errorf("the handler does not see %q:\n%s", want, seen[0])
			}
		}
		for _, secret := range []string{"Bearer", "c=1", "X-Secret", "Proxy-Auth", "X-Hop", "Connection"} {
			if strings.Contains(seen[0], secret) {
				t.Errorf("the handler sees %q:\n%s", secret, seen[0])
			}
		}
	})
}

type userKey struct{}

func TestS12ACopyWithOtherHeadersChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			seen = append(seen, r.Header.Get("X-Trace"))
			if len(seen) < 2 {
				panic("once more")
			}
		}, nil)
		s.certified("a", "x", "X-Trace", "first").problem(t, 500, "crashed", "running")
		s.certified("a", "x", "X-Trace", "second")
		pass(time.Minute)
		if fmt.Sprint(seen) != "[first first]" {
			t.Errorf("the runs saw %v", seen)
		}
	})
}
