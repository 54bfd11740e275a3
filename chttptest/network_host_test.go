package chttptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp/chttptest"
)

func TestAHostThatIsDownRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		client := n.Client("shop.example")
		try := func() error {
			_, _, err := post(t.Context(), client, charge, "x")
			return err
		}
		if err := try(); err != nil {
			t.Fatal(err)
		}
		for _, fault := range []chttptest.Fault{{}, {Kind: chttptest.LoseRequest}} {
			n.Script(always(fault))
			n.Down(bank)
			for range 2 { // a connection was kept
				if err := try(); !refused(err) {
					t.Errorf("%v: got %v from a host that is down", fault, err)
				}
			}
			n.Up("Bank.example:443")
		}
		n.Quiet()
		n.Down("shop.example")
		if err := try(); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("got %v to a host that is down", err)
		}
		n.Up("shop.example")
		if err := try(); err != nil {
			t.Error(err)
		}
		h.ran(t, 2)
		happened(t, n, nil)
	})
}

func TestDownBreaksWhatIsGoingOn(t *testing.T) {
	for _, host := range []string{bank, "shop.example"} {
		for _, fault := range []chttptest.Fault{{}, {Kind: chttptest.LoseAnswer}, {Kind: chttptest.Double, Again: time.Minute}} {
			bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
				n.Script(always(fault))
				var cancelled atomic.Int64
				n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-r.Context().Done() // though the body was not read
					cancelled.Add(1)
				}))
				time.AfterFunc(time.Second, func() { n.Down(host) })
				begun := time.Now()
				_, _, err := post(t.Context(), n.Client("shop.example"), charge, "x")
				if !reset(err) || time.Since(begun) != time.Second {
					t.Errorf("%s, %v: got %v after %v", host, fault, err, time.Since(begun))
				}
				synctest.Wait()
				if cancelled.Load() != 1 {
					t.Errorf("%s, %v: %d requests were cancelled", host, fault, cancelled.Load())
				}
				n.Up(host)
				n.Handle(bank, h)
				pass(time.Hour)
				happened := n.Counts().Faults[fault.Kind]
				if want := map[chttptest.FaultKind]int{chttptest.Double: 1}[fault.Kind]; happened != want {
					t.Errorf("%s: %v happened %d times, want %d", host, fault, happened, want)
				}
			})
		}
	}
}

func TestADelayedRequestFindsItsHostDown(t *testing.T) {
	for _, kind := range append(chttptest.FaultKinds(), chttptest.Pass) {
		if kind == chttptest.Refuse || kind == chttptest.LoseRequest || kind == chttptest.BadGateway {
			continue // The host has no part in it.
		}
		bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
			n.Script(always(chttptest.Fault{Kind: kind, Delay: time.Minute, Again: time.Minute}))
			time.AfterFunc(time.Second, func() {
				n.Down(bank)
				time.Sleep(time.Hour)
				n.Up(bank)
			})
			begun := time.Now()
			if _, _, err := post(t.Context(), n.Client(""), charge, "x"); !reset(err) || time.Since(begun) != time.Second {
				t.Errorf("%v: got %v after %v", kind, err, time.Since(begun))
			}
			pass(2 * time.Hour)
			h.ran(t, 0)
			happened(t, n, nil)
		})
	}
}

func TestADelayedRequestReachesTheNextLifeOfItsHost(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		n.Script(always(chttptest.Fault{Delay: time.Minute}))
		time.AfterFunc(time.Second, func() {
			n.Down(bank)
			n.Up(bank)
		})
		if _, _, err := post(t.Context(), n.Client(""), charge, "x"); !reset(err) {
			t.Errorf("got %v", err)
		}
		pass(time.Hour)
		h.ran(t, 1)
	})
}

func TestNothingCrossesAPartition(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		shop, mall := n.Client("shop.example"), n.Client("mall.example")
		for _, kept := range []bool{false, true} { // a connection
			h.runs.Store(0)
			n.Partition("shop.example", "BANK.example")
			begun := time.Now()
			_, _, err := post(t.Context(), mall, charge, "x")
			if err != nil || time.Since(begun) != 0 {
				t.Errorf("another host got %v after %v", err, time.Since(begun))
			}
			h.ran(t, 1)

			time.AfterFunc(20*time.Second, func() { n.Heal(bank, "shop.example") })
			if _, _, err = post(t.Context(), shop, charge, "x"); err != nil || time.Since(begun) != 20*time.Second {
				t.Errorf("connection kept %v: got %v after %v, want an answer after 20 s", kept, err, time.Since(begun))
			}
			h.ran(t, 2)
		}
	})
}

func TestAClientGivesUpOnAPartition(t *testing.T) {
	for _, fault := range []chttptest.Fault{{}, {Kind: chttptest.Double}} {
		bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
			n.Script(always(fault))
			n.Partition(bank, "shop.example")
			begun := time.Now()
			_, _, err := post(t.Context(), n.Client("shop.example"), charge, "x")
			op := new(net.OpError)
			if !errors.As(err, &op) || op.Op != "dial" || !op.Timeout() || time.Since(begun) != 30*time.Second {
				t.Errorf("%v: got %v after %v", fault, err, time.Since(begun))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, _, err := post(ctx, n.Client("shop.example"), charge, "x"); !timedOut(err) {
				t.Errorf("%v: got %v", fault, err)
			}
			pass(time.Minute)
			n.Heal(bank, "shop.example")
			pass(time.Hour)
			h.ran(t, 0)
			happened(t, n, nil)
		})
	}
}

func TestAPartitionHidesThatTheClientLeft(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		begun := time.Now()
		var cancelled time.Duration
		worked := make(chan bool)
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(worked)
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "nobody reads this")
			w.(http.Flusher).Flush()
			time.Sleep(30 * time.Minute) // The client has left.
			fmt.Fprint(w, "nor this")
			if err := http.NewResponseController(w).Flush(); err != nil || r.Context().Err() != nil {
				t.Errorf("the server knows: %v, %v", err, r.Context().Err())
			}
			<-r.Context().Done()
			cancelled = time.Since(begun)
		}))
		time.AfterFunc(time.Second, func() { n.Partition(bank, "shop.example") })
		time.AfterFunc(time.Hour, func() { n.Heal(bank, "shop.example") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := post(ctx, n.Client("shop.example"), charge, "x"); !timedOut(err) {
			t.Errorf("got %v", err)
		}
		<-worked
		if cancelled != time.Hour {
			t.Errorf("the server heard after %v, want an hour", cancelled)
		}
	})
}

func TestAWriterWaitsForASlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		large := strings.Repeat("x", 1<<20)
		begun := time.Now()
		var took time.Duration
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.WriteString(w, large)
			took = time.Since(begun)
			if err != nil {
				t.Error(err)
			}
		}))
		res, err := n.Client("").Get(charge)
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if b, err := io.ReadAll(res.Body); len(b) != len(large) || err != nil {
			t.Errorf("got %d bytes, %v", len(b), err)
		}
		if took != time.Hour {
			t.Errorf("the writer waited %v, want an hour", took)
		}
	})
}

func TestConnectionsHaveDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		begun := time.Now()
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Minute {
				t.Errorf("read: got %v after %v", err, time.Since(begun))
			}
			_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
			_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 2*time.Minute {
				t.Errorf("write: got %v after %v", err, time.Since(begun))
			}
		}))
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequest(http.MethodPost, charge, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := n.Client("").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		b, err := io.ReadAll(res.Body)
		if len(b) == 0 || len(b) == 1<<20 || err == nil {
			t.Errorf("got %d bytes, %v, want a part", len(b), err)
		}
	})
}

// Connections that are kept break under requests, and net/http may then send them again by itself.
func TestAKeptConnectionThatBrokeIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		for i := range 3 {
			if _, _, err := post(t.Context(), n.Client(""), charge, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
			n.Down(bank)
			n.Up(bank)
		}
		h.ran(t, 3)
	})
}
