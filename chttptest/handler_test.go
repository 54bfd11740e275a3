package chttptest_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

func newOrder() *http.Request {
	return httptest.NewRequest("POST", "/orders?now=1", strings.NewReader("lamp"))
}

// served are handlers that resume.
var served = []struct {
	name string
	h    http.HandlerFunc
	opt  chttptest.Options
}{
	{name: "nothing", h: func(http.ResponseWriter, *http.Request) {}},
	{name: "an order", h: func(w http.ResponseWriter, r *http.Request) {
		item, _ := io.ReadAll(r.Body)
		number := chttp.Persist(r.Context(), "number", rand.Uint32)
		if err := pay(r.Context(), fmt.Sprintf("%s %d", item, number)); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Location", fmt.Sprint("/orders/", number))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "order %d: %s at %s", number, item, chttp.Now(r.Context()))
	}},
	{name: "a step and a long sleep", h: func(w http.ResponseWriter, r *http.Request) {
		err := chttp.Run(r.Context(), "step", func(context.Context) error { return nil })
		if err == nil {
			err = chttp.Sleep(r.Context(), 5*time.Hour)
		}
		fmt.Fprint(w, err)
	}},
	{name: "it sends", h: func(w http.ResponseWriter, r *http.Request) {
		id, err := node.Put(r.Context(), "https://bank.example/notes", "text/plain", strings.NewReader("note"))
		fmt.Fprint(w, id, err)
	}, opt: chttptest.Options{Fresh: keepNode}},
	{name: "a failure", h: func(w http.ResponseWriter, r *http.Request) {
		chttp.Persist(r.Context(), "n", rand.Int)
		w.WriteHeader(http.StatusInternalServerError)
	}},
	{name: "a principal and a header", h: func(w http.ResponseWriter, r *http.Request) {
		i, _ := chttp.From(r.Context())
		if err := pay(r.Context(), r.Header.Get("X-Branch")); err != nil {
			panic(err)
		}
		fmt.Fprint(w, i.Principal, r.Header.Get("X-Branch"))
	}, opt: chttptest.Options{Handler: &chttp.HandlerOptions{Principal: func(r *http.Request) (string, error) { return r.Header.Get("X-User"), nil }}}},
}

func TestResumesHandlerPassesWhatResumes(t *testing.T) {
	for _, c := range served {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Peers = []chttptest.Peer{cashier}
			r := newOrder()
			r.Header.Set("X-Branch", "west")
			r.Header.Set("X-User", "Ann")
			chttptest.ResumesHandler(t, c.h, r, &c.opt)
		})
	}
}

func TestResumesHandlerWorksWithProcesses(t *testing.T) {
	chttptest.ResumesHandler(t, served[1].h, newOrder(), &chttptest.Options{Process: true, Peers: []chttptest.Peer{cashier}})
}

func TestResumesHandlerFindsWhatDoesNotResume(t *testing.T) {
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		want []string
	}{
		{"a clock in the answer", func(w http.ResponseWriter, r *http.Request) {
			chttp.Persist(r.Context(), "number", rand.Uint32)
			fmt.Fprint(w, time.Now())
		}, []string{`handler "handler" does not resume`, "ends otherwise", "reads a clock"}},
		{"a random header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", fmt.Sprint(rand.Int64()))
		}, []string{"X-Request-Id", "random number"}},
		{"a closure", func(w http.ResponseWriter, r *http.Request) {
			var n int
			_ = chttp.Run(r.Context(), "reserve", func(context.Context) error { n = 5; return nil })
			_ = pay(r.Context(), n)
		}, []string{`the function of step "reserve"`, "given back", `Only: "#0.durable"`}},
		{"a lock", func(w http.ResponseWriter, r *http.Request) {
			till.Lock()
			defer till.Unlock()
			chttp.Now(r.Context())
		}, []string{"a lock is held across persist"}},
		{"a panic", func(w http.ResponseWriter, r *http.Request) { panic("no") }, []string{"it panics", "panic: no"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{T: t}
			chttptest.ResumesHandler(r, c.h, newOrder(), &chttptest.Options{Peers: []chttptest.Peer{cashier}})
			for _, s := range c.want {
				if !strings.Contains(strings.Join(strings.Fields(r.text), " "), s) {
					t.Errorf("want %q in %s", s, r.text)
				}
			}
			if os.Getenv("SHOW") != "" {
				t.Log(r.text)
			}
		})
	}
}
