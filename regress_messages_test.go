package chttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

func TestI2AChosenIDThatWasAnsweredIsNotSentAgain(t *testing.T) {
	// Also not to a peer that has forgotten it since.
	synctest.Test(t, func(t *testing.T) {
		var effects atomic.Int64
		peer := newHost(t, nil, func(w http.ResponseWriter, r *http.Request) {
			_ = chttp.Run(r.Context(), "charge", func(context.Context) error { effects.Add(1); return nil })
		}, nil, func(o *chttp.Options) { o.Linger = time.Second })
		l := newLAN(peer.ServeHTTP)
		var h *home
		h = newHome(t, l, func(ctx context.Context, in string) (string, error) {
			return h.node.Put(chttp.With(ctx, chttp.Policy{ID: "order-1"}), peerURL, "text/plain", strings.NewReader("10 EUR"))
		}, func(h *home) { h.opt.Linger = time.Second })
		for i := range 3 {
			if _, err := h.do(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
		}
		if puts := len(l.requests("PUT")); puts != 1 || effects.Load() != 1 {
			t.Errorf("sent %d times, with %d effects, want one", puts, effects.Load())
		}
	})
}

func TestFailedHearsOfEveryMessageHoweverItsIDBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard sync.Map
		h := newHome(t, newLAN(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(400) }), nil, func(h *home) {
			h.opt.Failed = func(_ context.Context, i chttp.Info) error { heard.Store(i.ID, true); return nil }
		})
		for _, end := range []string{"1", "2"} {
			id := strings.Repeat("a", 250) + end
			h.put(peerURL, "x", chttp.Policy{ID: id})
			pass(time.Minute)
			i, err := h.node.Lookup(t.Context(), id)
			if _, told := heard.Load(id); err != nil || i.State != "rejected" || !told {
				t.Errorf("…%s is %q, %v, and Failed was called: %v", end, i.State, err, told)
			}
		}
	})
}

func TestADestinationThatTakesItsTimeHoldsUpNoCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newDoor()
		var h *home
		h = newHome(t, newLAN(func(http.ResponseWriter, *http.Request) {}), func(ctx context.Context, in string) (string, error) {
			if i, _ := chttp.From(ctx); i.ID == "other" {
				return in, nil
			}
			return h.node.Put(ctx, peerURL, "text/plain", strings.NewReader("x"))
		}, func(h *home) {
			h.opt.Destination = func(ctx context.Context, _ *http.Request) (chttp.Destination, error) {
				if i, _ := chttp.From(ctx); i.State != "" { // at a delivery
					slow.pass(ctx)
				}
				return chttp.Destination{}, nil
			}
		})
		id, err := h.do("one")
		if err != nil {
			t.Fatal(err)
		}
		<-slow.entered
		other, err := h.f.Start(soon(t), h.node, "other", "in")
		if err != nil {
			close(slow.open)
			t.Fatal(err)
		}
		if _, err := other.Wait(soon(t)); err != nil {
			t.Error(err)
		}
		close(slow.open)
		if i := h.ends(id); i.State != "answered" {
			t.Errorf("the message is %+v", i)
		}
	})
}

func TestC6AMessageThatAKeptConnectionTookMayHaveArrived(t *testing.T) {
	// net/http repeats it by itself where the connection dies, on a new one, which cannot be dialled.
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		dial := func(context.Context, string, string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				in := bufio.NewReader(there)
				for k := range 2 {
					r, err := http.ReadRequest(in)
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, r.Body)
					if k == 0 {
						io.WriteString(there, "HTTP/1.1 204 No Content\r\n\r\n")
					}
				}
			}()
			return here, nil
		}
		transport := &http.Transport{DialContext: dial}
		defer transport.CloseIdleConnections()
		h := newHome(t, transport, nil)
		if i := h.ends(h.put(peerURL, "x", chttp.Policy{})); i.State != "answered" {
			t.Fatalf("the first is %+v", i)
		}
		i := h.ends(h.put(peerURL, "x", chttp.Policy{Until: time.Minute}))
		if i.State != "unknown" || !errors.Is(i.Err, chttp.ErrUnknownOutcome) || dials.Load() < 2 {
			t.Errorf("it is %+v after %d dials", i, dials.Load())
		}
	})
}

func TestAPutWhoseContextEndsBeforeItIsDurableIsDeliveredAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dam{}
		l := newLAN(func(http.ResponseWriter, *http.Request) {})
		h := newHome(t, l, nil, func(h *home) { h.over = func(s store.Store) store.Store { d.Store = s; return d } })
		synctest.Wait()
		d.close()
		if _, err := h.node.Put(soon(t), peerURL, "text/plain", strings.NewReader("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Put: %v", err)
		}
		d.release()
		pass(time.Minute)
		if got := len(l.requests("PUT")); got != 1 {
			t.Errorf("sent %d times, want 1", got)
		}
	})
}

func TestC1TheSameRequestAfterASleepContinuesItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				<-r.Context().Done()
			}
		}))
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			short, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := post(short, peerURL)
			cancel()
			if !errors.Is(err, chttp.ErrUnknownOutcome) {
				return "", fmt.Errorf("got %w", err)
			}
			if err := chttp.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			return post(ctx, peerURL)
		})
		if _, err := h.do("one"); err != nil {
			t.Fatal(err)
		}
		posts := l.requests("POST")
		if len(posts) != 2 || posts[0].key() != posts[1].key() {
			t.Errorf("%d requests, want two of one message", len(posts))
		}
	})
}

func TestARequestWithoutAHeaderIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(http.ResponseWriter, *http.Request) {})
		u, err := url.Parse(peerURL)
		if err != nil {
			t.Fatal(err)
		}
		h := newHome(t, l, func(ctx context.Context, in string) (string, error) {
			_, err := chttp.Call(ctx, &http.Request{Method: "DELETE", URL: u, Host: "other.example"})
			return in, err
		})
		if _, err := h.do("one"); err != nil {
			t.Error(err)
		}
		id, err := h.node.Send(t.Context(), &http.Request{Method: "PATCH", URL: u, Host: "other.example"})
		if err != nil {
			t.Fatal(err)
		}
		h.ends(id)
		for _, method := range []string{"DELETE", "PATCH"} {
			if got := len(l.requests(method)); got != 1 {
				t.Errorf("%d requests %s, want 1", got, method)
			}
		}
	})
}

func TestSendsOfOneChosenIDAtOnceAreOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		st.fails(func(b *store.Batch) (error, bool) {
			seen := make(map[store.Key]bool)
			for _, c := range b.Changes {
				if seen[c.Key] {
					t.Errorf("a batch names %v twice", c.Key)
				}
				seen[c.Key] = true
			}
			return nil, false
		})
		l := newLAN(func(http.ResponseWriter, *http.Request) {})
		h := newHome(t, l, nil, over(st))
		const messages, copies = 50, 8
		var wg sync.WaitGroup
		for i := range messages * copies {
			wg.Go(func() {
				id := fmt.Sprint(i / copies)
				got, err := h.node.Put(chttp.With(t.Context(), chttp.Policy{ID: id}), peerURL, "text/plain", strings.NewReader(id))
				if got != id || err != nil {
					t.Errorf("Put %s: %q, %v", id, got, err)
				}
			})
		}
		wg.Wait()
		pass(time.Minute)
		if got := len(l.requests("PUT")); got != messages {
			t.Errorf("sent %d times, want %d", got, messages)
		}
	})
}

func TestAPeerThatHangsHoldsUpNoAcknowledgementToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(nil)
		var urls []string
		for i := range 6 {
			name := fmt.Sprintf("%d.example", i)
			l.hosts[name] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == "PUT":
					certify(w, r, "done", 200, "")
				case i < 3:
					<-r.Context().Done()
				default:
					w.WriteHeader(204)
				}
			})
			urls = append(urls, "http://"+name+"/")
		}
		h := newHome(t, l, nil)
		for _, u := range urls {
			h.put(u, "x", chttp.Policy{})
		}
		pass(3 * time.Second)
		for _, u := range urls {
			if !slices.ContainsFunc(l.requests("DELETE"), func(s *sighting) bool { return strings.HasPrefix(s.url, u) }) {
				t.Errorf("%s has no acknowledgement", u)
			}
		}
	})
}

func TestAMessageURLElsewhereOnItsAuthorityIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, elsewhere := range []string{"/accounts/1", "/.well-known/chttp/acks"} {
			l := newLAN(func(w http.ResponseWriter, r *http.Request) {
				certify(w, r, "done", 200, "", "message", `"`+elsewhere+`"`)
			})
			h := newHome(t, l, nil)
			h.ends(h.put(peerURL, "x", chttp.Policy{}))
			pass(time.Hour)
			if all := l.requests(""); len(all) != 1 {
				t.Errorf("%q: %s %s", elsewhere, all[1].method, all[1].url)
			}
			h.stop()
		}
	})
}

func TestTheRefusalOfAShortAnonymousIDNamesIt(t *testing.T) {
	s := newSite(t, nil, new(counter).ServeHTTP, &chttp.HandlerOptions{Anonymous: true})
	if got := s.certified("short", "x").problem(t, 400, "key-invalid", "refused").member("id"); got != "short" {
		t.Errorf("it names %q", got)
	}
}
