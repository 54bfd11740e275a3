package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/crash"
)

// front stands before stripe-mock and writes down what arrives.
type front struct {
	mock http.HandlerFunc

	mu   sync.Mutex
	keys map[string]map[string]int // by path: how often each key came
}

// newMock loads stripe-mock, once: that takes a while.
var newMock = sync.OnceValues(func() (http.HandlerFunc, error) {
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		return nil, err
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		return nil, err
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		return nil, err
	}
	return stub.HandleRequest, nil
})

func newFront(t *testing.T) *front {
	t.Helper()
	mock, err := newMock()
	if err != nil {
		t.Fatal(err)
	}
	return &front{mock: mock, keys: make(map[string]map[string]int)}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		f.mu.Lock()
		if f.keys[r.URL.Path] == nil {
			f.keys[r.URL.Path] = make(map[string]int)
		}
		f.keys[r.URL.Path][r.Header.Get("Idempotency-Key")]++
		f.mu.Unlock()
	}
	f.mock(w, r)
}

// charges says what is wrong with the keys that came, of which each path is to have one.
func (f *front) charges(paths ...string) (problems []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := slices.Sorted(maps.Keys(f.keys)); !slices.Equal(got, paths) {
		problems = append(problems, fmt.Sprintf("charged %v, want %v", got, paths))
	}
	for path, keys := range f.keys {
		if len(keys) != 1 || keys[""] > 0 {
			problems = append(problems, fmt.Sprintf("%s came with the keys %v, want one", path, keys))
		}
	}
	return problems
}

// newClient is stripe-go as everybody uses it, but for the http.Client, and where Stripe is.
func newClient() *stripe.Client {
	return stripe.NewClient("sk_test_123", stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL:               stripe.String("http://stripe"),
		HTTPClient:        &http.Client{Transport: &chttp.Transport{}, Timeout: 80 * time.Second},
		MaxNetworkRetries: stripe.Int64(3),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
}

// sell takes money twice, with a step and a pause between.
func sell(l *crash.Life) *chttp.Function[int64, string] {
	return chttp.Resumable("sell", func(ctx context.Context, amount int64) (string, error) {
		client := newClient()
		order := chttp.Persist(ctx, "order", func() string { return fmt.Sprint("order-", l.Fresh()) })
		intent, err := client.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{
			Amount: stripe.Int64(amount), Currency: stripe.String("eur"), Description: stripe.String(order),
		})
		if err != nil {
			return "", err
		}
		if err := chttp.Run(ctx, "pack", func(context.Context) error { l.Effect("packed"); return nil }); err != nil {
			return "", err
		}
		if err := chttp.Sleep(ctx, time.Minute); err != nil {
			return "", err
		}
		charge, err := client.V1Charges.Create(ctx, &stripe.ChargeCreateParams{
			Amount: stripe.Int64(amount / 10), Currency: stripe.String("eur"), Source: &stripe.PaymentSourceSourceParams{Token: stripe.String("tok_visa")},
		})
		if err != nil {
			return "", err
		}
		return intent.ID + " " + charge.ID, nil
	})
}

// sellOnce sells once, with deaths as planned, and returns where processes could die.
func sellOnce(t *testing.T, f *front, plan ...crash.Point) (points []crash.Point) {
	t.Helper()
	var problems []string
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))) // stripe-mock knows no earlier times than its own
		w := crash.NewWorld(plan...)
		w.Start("stripe", func(*crash.Life) (http.Handler, func(context.Context) error) { return f, nil })
		shop := w.Start("shop", func(l *crash.Life) (http.Handler, func(context.Context) error) {
			s := sell(l)
			l.Node.Register(s)
			return nil, func(ctx context.Context) error {
				_, err := s.Start(ctx, l.Node, "one", 1000)
				return err
			}
		})
		w.Settle(30 * time.Minute)
		points = w.Points()
		problems = f.charges("/v1/charges", "/v1/payment_intents")
		outcomes := shop.Outcomes("sell")
		if len(outcomes) != 1 || !strings.Contains(fmt.Sprint(outcomes), "pi_") || !strings.Contains(fmt.Sprint(outcomes), "ch_") {
			problems = append(problems, fmt.Sprintf("the outcomes are %+v", outcomes))
		}
		problems = append(problems, w.Close()...)
		if len(problems) > 0 {
			problems = append(problems, w.Events()...)
		}
		time.Sleep(2 * time.Minute) // http.Client leaves its timer running when the run that waits in it is stopped.
	})
	if len(problems) > 0 {
		t.Errorf("%v:\n  %s", plan, strings.Join(problems, "\n  "))
	}
	return points
}

func TestAStripeChargeIsOneMessageWhateverIsKilled(t *testing.T) {
	points := sellOnce(t, newFront(t))
	if len(points) < 40 {
		t.Fatalf("%d crash points, want 40 or more", len(points))
	}
	for _, p := range points {
		sellOnce(t, newFront(t), p)
		if t.Failed() {
			return
		}
	}
	for i, p := range points {
		sellOnce(t, newFront(t), p, points[(i*7+3)%len(points)])
	}
}

func TestStripesOwnRetriesContinueTheMessage(t *testing.T) {
	// At first Stripe does not answer: http.Client times out, and the SDK tries again, after a crash under a key that it draws anew.
	for n := range 8 {
		f := newFront(t)
		mock := f.mock
		var plan []crash.Point
		if n > 0 {
			plan = append(plan, crash.Point{Victim: "shop", Caller: "shop", N: n})
		}
		begin := time.Time{}
		f.mock = func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			if begin.IsZero() {
				begin = time.Now()
			}
			silent := time.Since(begin) < 200*time.Second
			f.mu.Unlock()
			if silent {
				<-r.Context().Done()
				return
			}
			mock(w, r)
		}
		sellOnce(t, f, plan...)
	}
}
