package chttptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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

// timedOut tells whether err is that of a client that gave up.
func timedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) }

// reset tells whether err is that of a connection that broke, and not of one that was never made.
func reset(err error) bool {
	op := new(net.OpError)
	return errors.Is(err, syscall.ECONNRESET) && errors.As(err, &op) && op.Op == "read"
}

func refused(err error) bool {
	op := new(net.OpError)
	return errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &op) && op.Op == "dial"
}

func TestWhatEachFaultDoes(t *testing.T) {
	type fault = chttptest.Fault
	tests := []struct {
		fault  fault
		runs   int64
		status int              // 0: no response
		answer string           // or as much of it as comes
		err    func(error) bool // nil: none
		left   bool             // there was a connection
	}{
		{fault{}, 1, 200, "receipt 1", nil, true},
		{fault{Kind: chttptest.Refuse}, 0, 0, "", refused, false},
		{fault{Kind: chttptest.LoseRequest}, 0, 0, "", reset, true},
		{fault{Kind: chttptest.LoseRequest, Silent: true}, 0, 0, "", timedOut, true},
		{fault{Kind: chttptest.CutRequest}, 1, 0, "", reset, true},
		{fault{Kind: chttptest.BadGateway}, 0, 502, "<html>", nil, true},
		{fault{Kind: chttptest.Double}, 2, 200, "receipt", nil, true},
		{fault{Kind: chttptest.Double, Again: time.Hour}, 2, 200, "receipt 1", nil, true},
		{fault{Kind: chttptest.LoseAnswer}, 1, 0, "", reset, true},
		{fault{Kind: chttptest.LoseAnswer, Silent: true}, 1, 0, "", timedOut, true},
		{fault{Kind: chttptest.CutAnswer}, 1, 200, "rece", reset, true},
		{fault{Kind: chttptest.BadGatewayAfter}, 1, 502, "<html>", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.fault.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
				// A connection that is kept and breaks would make net/http repeat the request by itself.
				if _, _, err := post(t.Context(), n.Client(""), charge, "before"); err != nil {
					t.Fatal(err)
				}
				h.runs.Store(0)
				h.bodies, h.errs = nil, nil
				n.Script(always(tt.fault))
				left := false
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { left = true }})
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				status, answer, err := post(ctx, n.Client(""), charge, "0123456789")
				if status != tt.status || !strings.HasPrefix(answer, tt.answer) || tt.status == 200 && tt.err != nil && answer != tt.answer {
					t.Errorf("got %d %q, want %d %q", status, answer, tt.status, tt.answer)
				}
				if tt.err == nil && err != nil || tt.err != nil && !tt.err(err) {
					t.Errorf("got the error %v", err)
				}
				if left != tt.left {
					t.Errorf("a connection was made: %v, want %v", left, tt.left)
				}
				pass(2 * time.Hour) // whatever still comes
				h.ran(t, tt.runs)
				for i, body := range h.bodies {
					if tt.fault.Kind == chttptest.CutRequest {
						if body != "01234" || !reset(h.errs[i]) {
							t.Errorf("got the body %q, %v, want half of it, and a reset", body, h.errs[i])
						}
					} else if body != "0123456789" || h.errs[i] != nil {
						t.Errorf("got the body %q, %v", body, h.errs[i])
					}
				}
				want := map[chttptest.FaultKind]int{tt.fault.Kind: 1}
				happened(t, n, want)
				if got := n.Counts(); got.Silent != 0 != tt.fault.Silent || got.Requests != 2 {
					t.Errorf("counted %d requests, %d silent losses", got.Requests, got.Silent)
				}
			})
		})
	}
}

func TestWithoutABodyTheHeadIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		var runs atomic.Int64
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			runs.Add(1)
			w.WriteHeader(http.StatusNoContent)
		}))
		for kind, want := range map[chttptest.FaultKind]int64{chttptest.CutRequest: 0, chttptest.CutAnswer: 1} {
			runs.Store(0)
			n.Script(always(chttptest.Fault{Kind: kind}))
			if _, err := n.Client("").Get(charge); !reset(err) {
				t.Errorf("%v: got %v", kind, err)
			}
			synctest.Wait()
			if got := runs.Load(); got != want {
				t.Errorf("%v: the handler ran %d times, want %d", kind, got, want)
			}
		}
		happened(t, n, map[chttptest.FaultKind]int{chttptest.CutRequest: 1, chttptest.CutAnswer: 1})
	})
}

func TestAnInterimAnswerIsNotTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			h.ServeHTTP(w, r)
		}))
		n.Script(always(chttptest.Fault{Kind: chttptest.CutAnswer}))
		if status, answer, err := post(t.Context(), n.Client(""), charge, "x"); status != 200 || answer != "rece" || !reset(err) {
			t.Errorf("got %d %q, %v", status, answer, err)
		}
	})
}

func TestErrorsReadLikeThoseOfTCP(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		n.Partition(bank, "far.example")
		for _, tt := range []struct {
			from, want string
			kind       chttptest.FaultKind
		}{
			{"shop.example", "dial tcp bank.example:80: connect: connection refused", chttptest.Refuse},
			{"shop.example", "read tcp shop.example:49152->bank.example:80: read: connection reset by peer", chttptest.LoseAnswer},
			{"far.example", "dial tcp bank.example:80: i/o timeout", chttptest.Pass},
		} {
			n.Script(always(chttptest.Fault{Kind: tt.kind}))
			if _, _, err := post(t.Context(), n.Client(tt.from), charge, "x"); !strings.HasSuffix(fmt.Sprint(err), ": "+tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		}
	})
}

func TestAHeadRequestMeetsEveryFault(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		for _, kind := range chttptest.FaultKinds() {
			n.Script(always(chttptest.Fault{Kind: kind}))
			res, err := n.Client("").Head(charge)
			answered := err == nil && res.StatusCode/100 != 5
			if want := kind == chttptest.Double; answered != want {
				t.Errorf("%v: got %v, %v", kind, res, err)
			}
			synctest.Wait()
			if got := n.Counts().Faults[kind]; got != 1 {
				t.Errorf("%v happened %d times, want once", kind, got)
			}
		}
	})
}

func TestALostAnswersWorkIsDoneThoughTheClientGaveUp(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		worked := false
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			select {
			case <-time.After(time.Hour):
				worked = true
			case <-r.Context().Done():
			}
		}))
		n.Script(always(chttptest.Fault{Kind: chttptest.LoseAnswer, Silent: true}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := post(ctx, n.Client(""), charge, "x"); !timedOut(err) {
			t.Errorf("got %v", err)
		}
		pass(2 * time.Hour)
		if !worked {
			t.Error("the work was not done")
		}
		happened(t, n, map[chttptest.FaultKind]int{chttptest.LoseAnswer: 1})
	})
}

func TestADelayHoldsUpTheRequestOrItsAnswer(t *testing.T) {
	for _, fault := range []chttptest.Fault{
		{Delay: time.Minute},
		{AnswerDelay: time.Minute},
		{Kind: chttptest.LoseAnswer, Delay: time.Minute},
		{Kind: chttptest.LoseAnswer, AnswerDelay: time.Minute},
		{Kind: chttptest.CutAnswer, AnswerDelay: time.Minute},
		{Kind: chttptest.BadGateway, AnswerDelay: time.Minute},
		{Kind: chttptest.BadGatewayAfter, AnswerDelay: time.Minute},
		{Kind: chttptest.Double, Delay: time.Minute, Again: time.Minute},
	} {
		bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
			n.Script(always(fault))
			begun := time.Now()
			post(t.Context(), n.Client(""), charge, "x")
			if took := time.Since(begun); took != time.Minute {
				t.Errorf("%v: the answer took %v", fault, took)
			}
			pass(time.Hour)
			if fault.Kind != chttptest.BadGateway && h.arrived[0].Sub(begun) != fault.Delay {
				t.Errorf("%v: the request took %v", fault, h.arrived[0].Sub(begun))
			}
			if fault.Kind == chttptest.Double && h.arrived[1].Sub(begun) != 2*time.Minute {
				t.Errorf("%v: the second copy took %v", fault, h.arrived[1].Sub(begun))
			}
			if got := n.Counts().Delayed; got != 1 {
				t.Errorf("%v: counted %d delays", fault, got)
			}
		})
	}
}

func TestADelayedRequestArrivesAfterTheClientGaveUp(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		n.Script(always(chttptest.Fault{Delay: time.Hour}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := post(ctx, n.Client(""), charge, "x"); !timedOut(err) {
			t.Errorf("got %v", err)
		}
		h.ran(t, 0)
		n.Quiet() // too late for this one
		pass(time.Hour)
		h.ran(t, 1)
	})
}

func TestDelaysReorderConcurrentRequests(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, h *counter) {
		n.Script(func(r *http.Request, _ int) chttptest.Fault {
			return map[string]chttptest.Fault{"/1": {Delay: 3 * time.Second}, "/2": {Delay: time.Second, AnswerDelay: 5 * time.Second}}[r.URL.Path]
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		var answered []string
		for _, name := range []string{"1", "2", "3"} {
			wg.Go(func() {
				if _, _, err := post(t.Context(), n.Client(""), "http://bank.example/"+name, name); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				answered = append(answered, name)
			})
			synctest.Wait()
		}
		wg.Wait()
		if got, want := h.bodies, []string{"3", "2", "1"}; !slices.Equal(got, want) {
			t.Errorf("arrived %q, want %q", got, want)
		}
		if got, want := answered, []string{"3", "1", "2"}; !slices.Equal(got, want) {
			t.Errorf("answered %q, want %q", got, want)
		}
	})
}

func TestASecondCopyIsItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, n *chttptest.Network, _ *counter) {
		var served []string
		n.Handle(bank, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
			served = append(served, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Idempotency-Key"), " ", string(b), r.Context().Err()))
		}))
		n.Script(always(chttptest.Fault{Kind: chttptest.Double, Again: time.Hour}))
		begun := time.Now()
		if status, _, err := post(t.Context(), n.Client("shop.example"), charge, "x"); status != 200 || err != nil {
			t.Errorf("got %d, %v", status, err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the client waited %v", took)
		}
		n.Down("shop.example") // The copy has long left.
		pass(2 * time.Hour)
		if want := "POST /charge key of x x<nil>"; !slices.Equal(served, []string{want, want}) {
			t.Errorf("got %q", served)
		}
	})
}
