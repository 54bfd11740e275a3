package chttptest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/chttptest"
)

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
			pass(time.Minute) // for the second copy
		})
	}
}

// net/http keeps a connection for half a second when it has answered without reading the request to its end.
func TestCloseWaitsForAServerThatIsNotDoneWithAConnection(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		n.Handle(bank, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		if status, _, err := post(t.Context(), n.Client(""), charge, strings.Repeat("x", 1<<20)); status != 200 || err != nil {
			t.Errorf("got %d, %v", status, err)
		}
	})
}

func TestCloseWaitsForAHandlerThatTookTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		returned := false
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, c) // until Close
			time.Sleep(time.Minute)
			returned = true
		}))
		done := make(chan error)
		go func() {
			_, err := n.Client("").Get(charge)
			done <- err
		}()
		time.Sleep(time.Second)
		n.Close()
		if !returned {
			t.Error("the handler has not returned")
		}
		if err := <-done; !reset(err) {
			t.Errorf("got %v", err)
		}
	})
}
