package chttptest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// bug is a function that does not resume, and what is said of it.
type bug struct {
	name string
	fn   fn
	opt  chttptest.Options
	want []string
}

// What outlives runs, and should not.
var (
	timesPaid int
	rates     map[string]int64
	till      sync.Mutex
	shelf     sync.RWMutex
	once      sync.Once
	places    = make(chan struct{}, 1)
	booked    []string
)

// noDriver is a database that takes everything.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error)             { return noDriver{}, nil }
func (noDriver) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (noDriver) Close() error                                 { return nil }
func (noDriver) Begin() (driver.Tx, error)                    { return noDriver{}, nil }
func (noDriver) Commit() error                                { return nil }
func (noDriver) Rollback() error                              { return nil }
func (noDriver) Connect(context.Context) (driver.Conn, error) { return noDriver{}, nil }
func (noDriver) Driver() driver.Driver                        { return noDriver{} }

var db *sql.DB

func openDB(t testing.TB, _ *chttp.Node) {
	own := sql.OpenDB(noDriver{})
	t.Cleanup(func() { own.Close() })
	db = own
}

// bugs of the kinds that need no crash to show.
var bugs = []bug{
	{name: "clock", fn: func(ctx context.Context, in string) (string, error) {
		return "", pay(ctx, time.Now().Format(time.DateOnly))
	}, want: []string{"reads a clock", "chttp.Now(ctx)", "2000-12-31"}},
	{name: "clock with a deadline near", fn: func(ctx context.Context, in string) (string, error) {
		at := chttp.Now(ctx)
		ctx, cancel := context.WithDeadline(ctx, at.Add(time.Second))
		defer cancel()
		return "", pay(ctx, time.Now().Year())
	}, want: []string{"reads a clock", "undisturbed: 2000", "now: 2001"}},
	{name: "random", fn: func(ctx context.Context, in string) (string, error) {
		return "", pay(ctx, rand.Int64())
	}, want: []string{"random number", "chttp.Persist"}},
	{name: "random id", fn: func(ctx context.Context, in string) (string, error) {
		req, _ := http.NewRequest("POST", "https://bank.example/", nil)
		_, err := node.Send(chttp.With(ctx, chttp.Policy{ID: fmt.Sprint("order-", rand.Int64())}), req)
		return "", err
	}, opt: chttptest.Options{Fresh: keepNode}, want: []string{"has another id", "order-"}},
	{name: "map order", fn: func(ctx context.Context, in string) (string, error) {
		var list []string
		for k := range map[string]int{"a": 1, "b": 2, "c": 3, "d": 4} {
			list = append(list, k)
		}
		return "", pay(ctx, list)
	}, want: []string{"follows the order of a map", "sort the keys"}},
	{name: "map order of two", fn: func(ctx context.Context, in string) (string, error) {
		for k := range map[string]int{"a": 1, "b": 2} {
			if err := pay(ctx, k); err != nil {
				return "", err
			}
		}
		return "", nil
	}, want: []string{"follows the order of a map"}},
	{name: "counter", fn: func(ctx context.Context, in string) (string, error) {
		timesPaid++
		return "", pay(ctx, timesPaid)
	}, want: []string{"variable that outlives a run", "counter"}},
	{name: "cache", fn: func(ctx context.Context, in string) (string, error) {
		rate, ok := rates[in]
		if !ok {
			rate = chttp.Persist(ctx, "rate", rand.Int64)
			rates = map[string]int64{in: rate}
		}
		return "", pay(ctx, rate)
	}, opt: chttptest.Options{Setup: func(testing.TB) { rates = nil }}, want: []string{`in the place of persist "rate"`, "Options.Fresh"}},
	{name: "outcome", fn: func(ctx context.Context, in string) (string, error) {
		return time.Now().String(), pay(ctx, 1)
	}, want: []string{"ends otherwise", "reads a clock"}},
	{name: "value of a branch", fn: func(ctx context.Context, in string) (string, error) {
		f := chttp.Go(ctx, "side", func(ctx context.Context) (int, error) { return rand.Int(), nil })
		_, err := f.Wait(ctx)
		return "", err
	}, want: []string{`branch "side"`, "another value", "random number"}},
	{name: "operation left out", fn: func(ctx context.Context, in string) (string, error) {
		if time.Now().Month() == time.December {
			chttp.Persist(ctx, "gift", rand.Int)
		}
		return "", nil
	}, want: []string{`does not come to persist "gift"`, "reads a clock"}},
	{name: "operation added", fn: func(ctx context.Context, in string) (string, error) {
		if time.Now().Month() != time.December {
			chttp.Persist(ctx, "gift", rand.Int)
		}
		return "", nil
	}, want: []string{`it does persist "gift"`, "did not do there", "reads a clock"}},
	{name: "deadline", fn: func(ctx context.Context, in string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return "", pay(ctx, 1)
	}, want: []string{"another deadline", "chttp.Now(ctx).Add"}},
	{name: "race", fn: func(ctx context.Context, in string) (string, error) {
		var n int
		var mu sync.Mutex
		go func() {
			time.Sleep(time.Nanosecond)
			mu.Lock()
			defer mu.Unlock()
			n = 1
		}()
		_ = chttp.Now(ctx)
		mu.Lock()
		v := n
		mu.Unlock()
		return "", pay(ctx, v)
	}, want: []string{"goroutines race", "chttp.Go"}},
	{name: "race of branches", fn: func(ctx context.Context, in string) (string, error) {
		var mu sync.Mutex
		var list []string
		var all []*chttp.Future[int]
		for _, name := range []string{"a", "b"} {
			all = append(all, chttp.Go(ctx, name, func(ctx context.Context) (int, error) {
				err := pay(ctx, name)
				mu.Lock()
				defer mu.Unlock()
				list = append(list, name)
				return 0, err
			}))
		}
		for _, f := range all {
			if _, err := f.Wait(ctx); err != nil {
				return "", err
			}
		}
		return "", pay(ctx, list)
	}, want: []string{"undisturbed: ["}},
}

// crashBugs show only when a run is given back what an earlier one recorded, or in an operation itself.
var crashBugs = []bug{
	{name: "closure of a step", fn: func(ctx context.Context, in string) (string, error) {
		var n int
		if err := chttp.Run(ctx, "reserve", func(context.Context) error { n = 5; return nil }); err != nil {
			return "", err
		}
		return "", pay(ctx, n)
	}, want: []string{`the function of step "reserve"`, "sets a variable outside", "chttp.Do", `Only: "#0.durable"`, "given back"}},
	{name: "closure of the second step", fn: func(ctx context.Context, in string) (string, error) {
		var n int
		err := chttp.Run(ctx, "one", func(context.Context) error { return nil })
		err = errors.Join(err, chttp.Run(ctx, "two", func(context.Context) error { n = 5; return nil }))
		err = errors.Join(err, chttp.Run(ctx, "three", func(context.Context) error { return nil }))
		return "", errors.Join(err, pay(ctx, n))
	}, want: []string{`the function of step "two"`}},
	{name: "closure of a value", fn: func(ctx context.Context, in string) (string, error) {
		var name string
		n := chttp.Persist(ctx, "customer", func() int { name = "Ann"; return 7 })
		return "", pay(ctx, fmt.Sprint(n, name))
	}, want: []string{`the function of persist "customer"`, "in a struct"}},
	{name: "closure of a branch", fn: func(ctx context.Context, in string) (string, error) {
		var n int
		f := chttp.Go(ctx, "side", func(ctx context.Context) (int, error) { n = 7; return 0, nil })
		if _, err := f.Wait(ctx); err != nil {
			return "", err
		}
		return "", pay(ctx, n)
	}, want: []string{`branch "side"`, "sets a variable outside"}},
	{name: "unexported field", fn: func(ctx context.Context, in string) (string, error) {
		type price struct {
			Amount   int
			currency string
		}
		p := chttp.Persist(ctx, "price", func() price { return price{3, "EUR"} })
		return p.currency, pay(ctx, p.Amount)
	}, want: []string{`the value of persist "price" (bugs_test.go:`, "does not come back from the codec", ".currency is not exported, and is lost"}},
	{name: "location of a step's value", fn: func(ctx context.Context, in string) (string, error) {
		at, err := chttp.Do(ctx, "due", func(context.Context) (time.Time, error) {
			return time.Now().In(time.FixedZone("Bern", 3600)), nil
		})
		return "", errors.Join(err, pay(ctx, at.Day()))
	}, want: []string{`the value of step "due" (bugs_test.go:`, `location "Bern"`}},
	{name: "any of a branch's value", fn: func(ctx context.Context, in string) (string, error) {
		_, err := chttp.Go(ctx, "side", func(ctx context.Context) (any, error) { return map[string]any{"n": 1}, nil }).Wait(ctx)
		return "", err
	}, want: []string{`the value of branch "side"`, `["n"] holds int(1) and comes back as float64(1)`}},
	{name: "effect twice", fn: func(ctx context.Context, in string) (string, error) {
		return "", chttp.Run(ctx, "book", func(context.Context) error { booked = append(booked, in); return nil })
	}, opt: chttptest.Options{
		Setup: func(testing.TB) { booked = nil }, Effects: func() any { return booked },
	}, want: []string{"Options.Effects", `["lamp"]`, `["lamp","lamp"]`, `step "book"`, "again"}},
	{name: "stray", fn: func(ctx context.Context, in string) (string, error) {
		var wg sync.WaitGroup
		wg.Go(func() { _ = pay(ctx, 1) })
		wg.Wait()
		return "", nil
	}, want: []string{"goroutine that the function has started", "chttp.Go"}},
	{name: "two operations at once", fn: func(ctx context.Context, in string) (string, error) {
		err := chttp.Run(ctx, "outer", func(context.Context) error { return nil })
		return fmt.Sprint(chttp.Persist(ctx, "a", func() int { return chttp.Persist(ctx, "b", rand.Int) })), err
	}, want: []string{"parked", `inside persist "a"`}},
	{name: "panic", fn: func(ctx context.Context, in string) (string, error) {
		return in[:100], nil
	}, want: []string{"it panics", "slice bounds out of range", "bugs_test.go"}},
	{name: "nobody", fn: func(ctx context.Context, in string) (string, error) {
		_, err := chttp.Get(ctx, "https://shop.example/")
		return "", err
	}, want: []string{"shop.example", "no peer", "Options.Peers"}},
	{name: "lock", fn: func(ctx context.Context, in string) (string, error) {
		till.Lock()
		defer till.Unlock()
		return "", pay(ctx, 1)
	}, want: []string{"a lock is held across call", "another run waits for it", "sync.(*Mutex).Lock", "bugs_test.go"}},
	{name: "lock that is not released by defer", fn: func(ctx context.Context, in string) (string, error) {
		at := chttp.Now(ctx)
		till.Lock()
		err := pay(ctx, at)
		till.Unlock()
		return "", err
	}, want: []string{"a lock is held across call"}},
	{name: "lock for reading and writing", fn: func(ctx context.Context, in string) (string, error) {
		shelf.Lock()
		n := chttp.Persist(ctx, "n", rand.Int)
		shelf.Unlock()
		shelf.RLock()
		defer shelf.RUnlock()
		return fmt.Sprint(n), nil
	}, want: []string{`a lock is held across persist "n"`, "sync.(*RWMutex).Lock"}},
	{name: "once", fn: func(ctx context.Context, in string) (string, error) {
		var err error
		once.Do(func() { err = pay(ctx, 1) })
		return "", err
	}, opt: chttptest.Options{Fresh: func(testing.TB, *chttp.Node) { once = sync.Once{} }}, want: []string{"a lock is held across call", "sync.(*Once)"}},
	{name: "semaphore", fn: func(ctx context.Context, in string) (string, error) {
		places <- struct{}{}
		defer func() { <-places }()
		return "", chttp.Sleep(ctx, time.Hour)
	}, want: []string{"a lock is held across sleep", "chan send"}},
	{name: "transaction", fn: func(ctx context.Context, in string) (string, error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return "", err
		}
		defer tx.Rollback()
		if err := pay(ctx, 1); err != nil {
			return "", err
		}
		return "", tx.Commit()
	}, opt: chttptest.Options{Fresh: openDB}, want: []string{"transaction is open across call"}},
}

func TestResumesFindsWhatDoesNotResume(t *testing.T) { findAll(t, bugs) }

func TestResumesFindsWhatACrashShows(t *testing.T) { findAll(t, crashBugs) }

func findAll(t *testing.T, list []bug) {
	for _, c := range list {
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
