package chttptest_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// recorder is a test that keeps what it is told, instead of failing.
type recorder struct {
	*testing.T
	text string
}

func (r *recorder) Error(args ...any) { r.text += fmt.Sprintln(args...) }

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

// bug is a function that does not resume, and what is said of it.
type bug struct {
	name string
	fn   fn
	opt  chttptest.Options
	want []string
}

var timesPaid int

var bugs = []bug{
	{name: "clock", fn: func(ctx context.Context, in string) (string, error) {
		return "", pay(ctx, time.Now().Format(time.DateOnly))
	}, want: []string{"reads a clock", "chttp.Now(ctx)", "2000-12-31"}},
	{name: "random", fn: func(ctx context.Context, in string) (string, error) {
		return "", pay(ctx, rand.Int64())
	}, want: []string{"random number", "chttp.Persist"}},
	{name: "map order", fn: func(ctx context.Context, in string) (string, error) {
		var list []string
		for k := range map[string]int{"a": 1, "b": 2, "c": 3, "d": 4} {
			list = append(list, k)
		}
		return "", pay(ctx, list)
	}, want: []string{"order of a map", "sort the keys"}},
	{name: "timesPaid", fn: func(ctx context.Context, in string) (string, error) {
		timesPaid++
		return "", pay(ctx, timesPaid)
	}, want: []string{"variable that outlives a run"}},
	{name: "closure of a step", fn: func(ctx context.Context, in string) (string, error) {
		var n int
		if err := chttp.Run(ctx, "reserve", func(context.Context) error { n = 5; return nil }); err != nil {
			return "", err
		}
		return "", pay(ctx, n)
	}, want: []string{`the function of step "reserve"`, "sets a variable outside", "chttp.Do", `Only: "#0.durable"`}},
	{name: "stray", fn: func(ctx context.Context, in string) (string, error) {
		var wg sync.WaitGroup
		wg.Go(func() { _ = pay(ctx, 1) })
		wg.Wait()
		return "", nil
	}, want: []string{"goroutine that the function has started", "chttp.Go"}},
	{name: "race", fn: func(ctx context.Context, in string) (string, error) {
		var n int
		var mu sync.Mutex
		go func() {
			mu.Lock()
			defer mu.Unlock()
			n = 1
		}()
		_ = chttp.Now(ctx)
		mu.Lock()
		v := n
		mu.Unlock()
		return "", pay(ctx, v)
	}, want: []string{"goroutines race"}},
	{name: "unexported field", fn: func(ctx context.Context, in string) (string, error) {
		type price struct {
			Amount   int
			currency string
		}
		p := chttp.Persist(ctx, "price", func() price { return price{3, "EUR"} })
		return "", pay(ctx, p.Amount)
	}, want: []string{"does not come back from the codec", ".currency is not exported", `persist "price"`, "resumes_test.go"}},
	{name: "deadline", fn: func(ctx context.Context, in string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return "", pay(ctx, 1)
	}, want: []string{"another deadline", "chttp.Now(ctx).Add"}},
	{name: "deadline of two", fn: func(ctx context.Context, in string) (string, error) {
		within, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		chttp.Persist(within, "a", rand.Int)
		return "", pay(ctx, 1)
	}, want: []string{"another deadline"}},
	{name: "outcome", fn: func(ctx context.Context, in string) (string, error) {
		return time.Now().String(), pay(ctx, 1)
	}, want: []string{"ends otherwise", "reads a clock"}},
}

func TestResumesFindsWhatDoesNotResume(t *testing.T) {
	for _, c := range bugs {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{T: t}
			c.opt.Peers = append(c.opt.Peers, cashier)
			chttptest.Resumes(r, chttp.Resumable("buy", c.fn), "lamp", &c.opt)
			if r.text == "" {
				t.Fatal("nothing was found")
			}
			for _, s := range c.want {
				if !strings.Contains(strings.Join(strings.Fields(r.text), " "), s) {
					t.Errorf("want %q in what was found", s)
				}
			}
			if t.Failed() || os.Getenv("SHOW") != "" {
				t.Log(r.text)
			}
		})
	}
}

// sound are functions that resume.
var sound = []struct {
	name string
	fn   fn
	opt  chttptest.Options
}{
	{name: "values and a call", fn: func(ctx context.Context, in string) (string, error) {
		n := chttp.Persist(ctx, "n", rand.Int64)
		at := chttp.Now(ctx)
		m := chttp.Persist(ctx, "m", func() map[string]int { return map[string]int{"a": 1, fmt.Sprint(rand.Int()): 2} })
		if err := pay(ctx, fmt.Sprint(n, at, len(m), slices.Sorted(maps.Keys(m)))); err != nil {
			return "", err
		}
		return at.String(), nil
	}},
}

func TestResumesPassesWhatResumes(t *testing.T) {
	for _, c := range sound {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Peers = append(c.opt.Peers, cashier)
			chttptest.Resumes(t, chttp.Resumable("buy", c.fn), "lamp", &c.opt)
		})
	}
}
