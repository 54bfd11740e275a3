package chttptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp/chttptest"
)

const (
	bank   = "bank.example"
	charge = "https://bank.example/charge"
)

// counter answers with how often it ran.
type counter struct {
	runs    atomic.Int64
	mu      sync.Mutex
	bodies  []string
	errs    []error
	arrived []time.Time
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := c.runs.Add(1)
	b, err := io.ReadAll(r.Body)
	c.mu.Lock()
	c.bodies, c.errs, c.arrived = append(c.bodies, string(b)), append(c.errs, err), append(c.arrived, time.Now())
	c.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "receipt %d", n)
}

// ran fails unless the handler ran so often.
func (c *counter) ran(t *testing.T, want int64) {
	t.Helper()
	if got := c.runs.Load(); got != want {
		t.Errorf("the handler ran %d times, want %d", got, want)
	}
}

// bubble runs f with a network that has a bank, in a bubble.
func bubble(t *testing.T, f func(t *testing.T, n *chttptest.Network, h *counter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, h := chttptest.NewNetwork(nil), new(counter)
		t.Cleanup(n.Close)
		n.Handle(bank, h)
		f(t, n, h)
	})
}

// pass lets time pass in a bubble, until everything in it rests.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// always lets every request meet f.
func always(f chttptest.Fault) func(*http.Request, int) chttptest.Fault {
	return func(*http.Request, int) chttptest.Fault { return f }
}

// post makes a request that net/http may repeat, and returns what the client sees: the status and the body, or the error of either.
func post(ctx context.Context, c *http.Client, url, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Idempotency-Key", "key of "+body[:min(len(body), 20)])
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// happened fails unless exactly these faults happened.
func happened(t *testing.T, n *chttptest.Network, want map[chttptest.FaultKind]int) {
	t.Helper()
	for _, k := range chttptest.FaultKinds() {
		if got := n.Counts().Faults[k]; got != want[k] {
			t.Errorf("%v happened %d times, want %d", k, got, want[k])
		}
	}
}

func TestRequestsOfHTTPAndHTTPSReachTheirHost(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		n.Handle("Other.example:8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from, _, err := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "%s %s %s of %s: %v", r.Method, r.Host, r.RequestURI, from, err)
		}))
		for _, scheme := range []string{"http", "https"} {
			for _, client := range []struct{ name, want string }{{"shop.example", "shop.example"}, {"", "client.invalid"}} {
				req, err := http.NewRequest(http.MethodGet, scheme+"://other.example:8080/a%2Fb?c", nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := n.Client(client.name).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				if want := "GET other.example:8080 /a%2Fb?c of " + client.want + ": <nil>"; string(b) != want || err != nil {
					t.Errorf("got %q, %v, want %q", b, err, want)
				}
				if got := res.Request.URL.String(); got != req.URL.String() {
					t.Errorf("the response is of %s, want %s", got, req.URL)
				}
			}
		}
		for _, url := range []string{"http://bank.example/", "https://bank.example/", "http://BANK.example:80/", "https://bank.example:443/"} {
			if status, _, err := post(t.Context(), n.Client(""), url, ""); status != http.StatusOK || err != nil {
				t.Errorf("%s: got %d, %v", url, status, err)
			}
		}
	})
}

func TestHandleReplacesAHostsHandler(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		second := new(counter)
		for i, want := range []string{"receipt 1", "receipt 2", "receipt 1"} {
			if i == 2 {
				n.Handle(bank, second)
			}
			if _, got, err := post(t.Context(), n.Client(""), charge, "x"); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	})
}

func TestAnUnknownHostIsNotFound(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		for range 2 {
			_, _, err := post(t.Context(), n.Client(""), "http://nowhere.example/", "")
			dns, op := new(net.DNSError), new(net.OpError)
			if !errors.As(err, &dns) || !dns.IsNotFound || !errors.As(err, &op) || op.Op != "dial" {
				t.Errorf("got %v, want a host that is not found", err)
			}
			n.Script(always(chttptest.Fault{Kind: chttptest.LoseAnswer})) // no better
		}
	})
}

func TestScriptKnowsTheAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		n.Script(func(r *http.Request, attempt int) chttptest.Fault {
			if r.URL.Path == "/charge" && r.RemoteAddr == "shop.example" && attempt == 2 {
				return chttptest.Fault{Kind: chttptest.LoseAnswer}
			}
			return chttptest.Fault{}
		})
		shop, mall := n.Client("shop.example"), n.Client("mall.example")
		for i, tt := range []struct {
			client    *http.Client
			url, body string
			lost      bool
		}{
			{shop, charge, "1", false},
			{shop, "http://bank.example/other", "1", false},
			{shop, charge, "2", false}, // another key
			{shop, charge, "1", true},
			{shop, charge, "1", false},
			{mall, charge, "2", false}, // another host
			{shop, charge, "3", false},
			{shop, "http://BANK.example:80/charge", "3", true}, // the same URL
		} {
			if _, _, err := post(t.Context(), tt.client, tt.url, tt.body); errors.Is(err, syscall.ECONNRESET) != tt.lost {
				t.Errorf("request %d: got %v", i, err)
			}
		}
		h.ran(t, 8)
		happened(t, n, map[chttptest.FaultKind]int{chttptest.LoseAnswer: 2})
		if got := n.Counts().Requests; got != 8 {
			t.Errorf("got %d requests, want 8", got)
		}

		// Without keys, a request is known by its body.
		n.Script(func(_ *http.Request, attempt int) chttptest.Fault {
			return map[int]chttptest.Fault{2: {Kind: chttptest.BadGateway}}[attempt]
		})
		for i, tt := range []struct {
			body string
			want int
		}{{"a", 200}, {"b", 200}, {"b", 502}, {"b", 200}, {"a", 502}} {
			res, err := shop.Post(charge, "text/plain", strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != tt.want {
				t.Errorf("request %d: got %s, want %d", i, res.Status, tt.want)
			}
		}

		n.Quiet()
		for range 3 {
			if status, _, err := post(t.Context(), shop, charge, "new"); status != http.StatusOK || err != nil {
				t.Errorf("got %d, %v after Quiet", status, err)
			}
		}
	})
}

func TestTheLoggerIsToldWhatARequestMeets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		n := chttptest.NewNetwork(&chttptest.NetworkOptions{
			Faults: chttptest.Faults{BadGateway: 1},
			Logger: slog.New(slog.NewTextHandler(&b, nil)),
		})
		defer n.Close()
		n.Handle(bank, new(counter))
		post(t.Context(), n.Client("shop.example"), charge, "x")
		n.Quiet()
		post(t.Context(), n.Client("shop.example"), charge, "x")
		const want = `from=shop.example method=POST url=https://bank.example/charge attempt=1 meets="bad gateway`
		if strings.Count(b.String(), want) != 1 || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("logged\n%swant\n%s", b.String(), want)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	for name, fault := range map[string]chttptest.Fault{
		"a handler at work":  {},
		"a delayed request":  {Delay: time.Hour},
		"a delayed answer":   {AnswerDelay: time.Hour},
		"a silent loss":      {Kind: chttptest.LoseRequest, Silent: true},
		"a second copy":      {Kind: chttptest.Double, Again: time.Hour},
		"an answer to spoil": {Kind: chttptest.CutAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := chttptest.NewNetwork(nil)
				n.Script(always(fault))
				var returned atomic.Int64
				n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/stay" {
						<-r.Context().Done()
						time.Sleep(time.Minute) // Close waits
					}
					returned.Add(1)
				}))
				client := n.Client("")
				done := make(chan bool)
				go func() {
					defer close(done)
					post(t.Context(), client, "http://bank.example/quick", "x")
					if _, _, err := post(t.Context(), client, "http://bank.example/stay", "x"); err == nil {
						t.Error("a request outlived the network")
					}
				}()
				synctest.Wait()
				begun := time.Now()
				n.Close()
				ran := returned.Load()
				if took := time.Since(begun); took > time.Minute {
					t.Errorf("Close took %v", took)
				}
				synctest.Wait()
				if late := returned.Load() - ran; late != 0 {
					t.Errorf("%d handlers returned after Close", late)
				}
				<-done
				if _, _, err := post(t.Context(), client, charge, "x"); !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %v of a closed network", err)
				}
				n.Handle("late.example", new(counter)) // nothing happens
				n.Close()
			})
		})
	}
}

func TestOutsideOfABubble(t *testing.T) {
	n, h := chttptest.NewNetwork(nil), new(counter)
	defer n.Close()
	n.Handle(bank, h)
	n.Script(func(_ *http.Request, attempt int) chttptest.Fault {
		if attempt == 1 {
			return chttptest.Fault{Kind: chttptest.LoseAnswer, Delay: time.Millisecond}
		}
		return chttptest.Fault{}
	})
	for i := range 2 {
		if _, _, err := post(t.Context(), n.Client(""), charge, "x"); errors.Is(err, syscall.ECONNRESET) != (i == 0) {
			t.Errorf("attempt %d: got %v", i+1, err)
		}
	}
	h.ran(t, 2)
}

// Certified clients send the key bare until they know the server, and in quotes from then on.
func TestAKeyInQuotesIsTheSameKey(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		var attempts []int
		n.Script(func(_ *http.Request, attempt int) chttptest.Fault {
			attempts = append(attempts, attempt)
			return chttptest.Fault{}
		})
		for _, key := range []string{`a`, `"a"`, `"b"`, `b`} {
			req, err := http.NewRequest(http.MethodPost, charge, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Idempotency-Key", key)
			res, err := n.Client("").Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
		}
		if want := []int{1, 2, 1, 2}; !slices.Equal(attempts, want) {
			t.Errorf("got the attempts %v, want %v", attempts, want)
		}
	})
}
