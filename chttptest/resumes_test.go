package chttptest_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// recorder is a test that keeps what it is told, instead of failing.
type recorder struct {
	*testing.T
	text string
	log  string
}

func (r *recorder) Logf(format string, args ...any) { r.log += fmt.Sprintf(format, args...) + "\n" }

func (r *recorder) Error(args ...any) { r.text += fmt.Sprintln(args...) }

func (r *recorder) Fatal(args ...any) { r.Error(args...); runtime.Goexit() }

func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }

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

func TestResumesRefusesWhatItCannotTry(t *testing.T) {
	yes := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for want, o := range map[string]*chttptest.Options{
		"no handler":  {Peers: []chttptest.Peer{{Host: "a.example"}}},
		"two peers":   {Peers: []chttptest.Peer{{Host: "a.example", Handler: yes}, {Host: "a.example", Handler: yes}}},
		"the host of": {Peers: []chttptest.Peer{{Host: "https://a.example", Handler: yes}}},
	} {
		r := &recorder{T: t}
		stopped(func() { chttptest.Resumes(r, order, "x", o) })
		if !strings.Contains(r.text, want) {
			t.Errorf("got %q, want %q in it", r.text, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{T: t}
		stopped(func() { chttptest.Resumes(r, order, "x", nil) })
		if !strings.Contains(r.text, "outside of testing/synctest.Test") {
			t.Errorf("got %q in a bubble", r.text)
		}
	})
	r := &recorder{T: t}
	chttptest.Resumes(r, order, "x", &chttptest.Options{Only: "nowhere", Peers: []chttptest.Peer{{Host: "shop.example", Handler: yes}}})
	if !strings.Contains(r.text, `"nowhere" names no moment`) {
		t.Errorf("got %q", r.text)
	}
}

// stopped returns when f does, or ends its goroutine.
func stopped(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func TestOnlyRepeatsOneRun(t *testing.T) {
	runs := 0
	f := chttp.Resumable("buy", func(ctx context.Context, in string) (string, error) {
		runs++
		chttp.Persist(ctx, "a", rand.Int)
		chttp.Persist(ctx, "b", rand.Int)
		return "", nil
	})
	chttptest.Resumes(t, f, "x", &chttptest.Options{Only: "#0.durable + #1.done"})
	if want := 4; runs != want { // undisturbed, and three lives
		t.Errorf("it ran %d times, want %d", runs, want)
	}
}

func TestTestsMayRunInParallel(t *testing.T) {
	for range 3 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			chttptest.Resumes(t, chttp.Resumable("buy", func(ctx context.Context, in string) (string, error) {
				return "", pay(ctx, chttp.Persist(ctx, "n", rand.Int))
			}), "x", &chttptest.Options{Peers: []chttptest.Peer{cashier}, Pairs: 10})
		})
	}
}

func TestInputsAndOutcomesThatTheCodecChangesAreFound(t *testing.T) {
	type in struct{ V any }
	f := chttp.Resumable("buy", func(ctx context.Context, i in) (in, error) { return in{7}, nil })
	r := &recorder{T: t}
	chttptest.Resumes(r, f, in{5}, nil)
	for _, want := range []string{"the input", "in.V holds int(5)", "the outcome", "in.V holds int(7)"} {
		if !strings.Contains(r.text, want) {
			t.Errorf("want %q in %s", want, r.text)
		}
	}
}
