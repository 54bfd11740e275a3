package chttptest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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

func TestAnAnswerStreams(t *testing.T) {
	for _, fault := range []chttptest.Fault{{}, {Kind: chttptest.Double}, {Delay: time.Second, AnswerDelay: time.Second}} {
		bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
			n.Script(always(fault))
			n.Handle("news.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := range 3 {
					fmt.Fprintln(w, "event", i)
					w.(http.Flusher).Flush()
					<-time.After(time.Hour)
				}
			}))
			begun := time.Now()
			res, err := n.Client("").Get("http://news.example/")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			lines := bufio.NewScanner(res.Body)
			for i := range 3 {
				if !lines.Scan() || lines.Text() != fmt.Sprint("event ", i) {
					t.Fatalf("got %q, %v", lines.Text(), lines.Err())
				}
				want := time.Hour
				switch i {
				case 0:
					want = fault.Delay + fault.AnswerDelay
				case 1:
					want -= fault.AnswerDelay // which held up the first only
				}
				if took := time.Since(begun); took != want {
					t.Errorf("event %d took %v, want %v", i, took, want)
				}
				begun = time.Now()
			}
		})
	}
}

func TestAConnectionIsUpgraded(t *testing.T) {
	for _, fault := range []chttptest.Fault{{}, {Delay: time.Second}} {
		bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
			n.Script(always(fault))
			n.Handle("chat.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
				rw.Flush()
				line, _ := rw.ReadString('\n')
				fmt.Fprint(rw, "you said ", line)
				rw.Flush()
			}))
			req, err := http.NewRequest(http.MethodGet, "http://chat.example/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"chat"}}
			res, err := n.Transport("").RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			c := res.Body.(io.ReadWriteCloser)
			defer c.Close()
			fmt.Fprintln(c, "hello")
			if got, err := io.ReadAll(c); string(got) != "you said hello\n" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestABodyThatIsNotWantedIsNotSent(t *testing.T) {
	for _, fault := range []chttptest.Fault{{}, {AnswerDelay: time.Second}, {Kind: chttptest.BadGatewayAfter}} {
		bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
			n.Script(always(fault))
			n.Handle("picky.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/wanted" {
					w.WriteHeader(http.StatusExpectationFailed)
					return
				}
				h.ServeHTTP(w, r)
			}))
			for path, want := range map[string]int{"/wanted": 200, "/unwanted": http.StatusExpectationFailed} {
				read := make(chan bool, 1)
				body := io.MultiReader(readerFunc(func([]byte) (int, error) { read <- true; return 0, io.EOF }), strings.NewReader("body"))
				req, err := http.NewRequest(http.MethodPost, "http://picky.example"+path, body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Expect", "100-continue")
				begun := time.Now()
				res, err := n.Client("").Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if fault.Kind == chttptest.BadGatewayAfter {
					want = http.StatusBadGateway
				}
				if res.StatusCode != want {
					t.Errorf("%s: got %s", path, res.Status)
				}
				if took := time.Since(begun); took != fault.AnswerDelay {
					t.Errorf("%s: took %v, want %v: nobody should have waited for a 100", path, took, fault.AnswerDelay)
				}
				if fault == (chttptest.Fault{}) && len(read) != map[string]int{"/wanted": 1}[path] {
					t.Errorf("%s: the body was read %d times", path, len(read))
				}
			}
			if h.bodies[0] != "body" || h.errs[0] != nil {
				t.Errorf("got %q, %v", h.bodies, h.errs)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAClientThatLeavesCancelsTheRequest(t *testing.T) {
	for _, fault := range []chttptest.Fault{{}, {Delay: time.Second}, {Kind: chttptest.Double, Again: time.Hour}} {
		bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
			n.Script(always(fault))
			left := make(chan time.Time, 2)
			n.Handle("slow.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // Before that, net/http does not listen.
				select {
				case <-r.Context().Done():
					left <- time.Now()
				case <-time.After(24 * time.Hour):
				}
			}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begun := time.Now()
			if _, _, err := post(ctx, n.Client(""), "http://slow.example/", "x"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the deadline", err)
			}
			if took := (<-left).Sub(begun); took != time.Minute {
				t.Errorf("the handler was cancelled after %v, want a minute", took)
			}
		})
	}
}

func TestALargeBodyCrossesWhole(t *testing.T) {
	large := strings.Repeat("0123456789", 1<<17)
	for _, fault := range []chttptest.Fault{{}, {Delay: time.Second}, {Kind: chttptest.Double}} {
		bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
			n.Script(always(fault))
			n.Handle("echo.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				w.Write(b)
			}))
			if _, got, err := post(t.Context(), n.Client(""), "http://echo.example/", large); got != large || err != nil {
				t.Errorf("%v: got %d bytes, %v, want %d", fault, len(got), err, len(large))
			}
		})
	}
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
		} {
			if _, _, err := post(t.Context(), tt.client, tt.url, tt.body); errors.Is(err, syscall.ECONNRESET) != tt.lost {
				t.Errorf("request %d: got %v", i, err)
			}
		}
		h.ran(t, 6)
		happened(t, n, map[chttptest.FaultKind]int{chttptest.LoseAnswer: 1})
		if got := n.Counts().Requests; got != 6 {
			t.Errorf("got %d requests, want 6", got)
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
