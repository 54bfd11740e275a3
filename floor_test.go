package chttp_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

const (
	linger = 10 * time.Minute
	tick   = time.Minute // what the floor may be behind for being raised now and then only
)

// gauged is a store that tells the floor after each commit.
type gauged struct {
	*memstore.Store
	t *testing.T

	mu    sync.Mutex // guards what follows
	floor time.Time
}

func gauge(t *testing.T, m *memstore.Store) *gauged { return &gauged{Store: m, t: t} }

func (g *gauged) Commit(ctx context.Context, b *store.Batch) (*store.Report, error) {
	r, err := g.Store.Commit(ctx, b)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		f := time.UnixMilli(r.Floor)
		if f.Before(g.floor) {
			g.t.Errorf("the floor fell from %v to %v", g.floor, f)
		}
		if f.After(time.Now().Add(-linger)) {
			g.t.Errorf("the floor is %v, only %v behind now", f, time.Since(f))
		}
		g.floor = f
	}
	return r, err
}

func (g *gauged) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.floor
}

func TestS8TheFloorRisesWithTheClockALingerBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gauge(t, memstore.New())
		newSite(t, g, new(counter).ServeHTTP, nil)
		for range 100 {
			pass(3*time.Minute + 7*time.Second)
			if behind := time.Since(g.now()); behind > linger+tick {
				t.Fatalf("the floor is %v behind now", behind)
			}
		}
	})
}

func TestS8TheFloorNeverFallsOverARestartAndCatchesUpAtTwiceItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gauge(t, memstore.New())
		s := newSite(t, g, new(counter).ServeHTTP, nil)
		pass(time.Hour)
		before := g.now()
		m := g.Crash()
		s.stop()
		pass(5 * time.Hour)

		g2 := gauge(t, m)
		g2.floor = before
		var log bytes.Buffer
		n := newNode(t, g2, &chttp.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		again := &site{t: t, store: g2, node: n, Handler: n.Handler("app", new(counter), &chttp.HandlerOptions{Principal: callers})}
		again.run()
		start := time.Now()
		for time.Since(g2.now()) > linger+tick {
			pass(time.Minute)
			if rise, most := g2.now().Sub(before), 2*time.Since(start); rise > most {
				t.Fatalf("the floor rose by %v in %v", rise, time.Since(start))
			}
			if time.Since(start) > 6*time.Hour {
				t.Fatalf("the floor is %v behind now after %v", time.Since(g2.now()), time.Since(start))
			}
		}
		again.stop()
		if n := strings.Count(log.String(), "the floor lags"); n != 1 {
			t.Errorf("the lag was reported %d times, want once:\n%s", n, log.String())
		}
	})
}

func TestS8ANewStoreRefusesWhatIsOlderThanTheLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil, new(counter).ServeHTTP, nil)
		s.post("a", "x", "Certified", stamped(-time.Hour, -linger-time.Second, time.Hour)).problem(t, 412, "stale-attempt", "none")
		s.post("a", "x", "Certified", stamped(-time.Hour, -linger+time.Second, time.Hour)).done(t, 201, "run 1", false)
	})
}

func TestS8ACopyDelayedInTheNetworkIsNeverANewMessage(t *testing.T) {
	for _, c := range []struct {
		name  string
		until time.Duration
		ack   []string // of a DELETE, once it is done; nil: none is sent
	}{
		{"acknowledged with the largest at", 24 * time.Hour, []string{"Certified", "at"}},
		{"acknowledged without at", 2 * time.Hour, []string{}},
		{"never acknowledged", 2 * time.Hour, nil},
		{"never acknowledged, with a short until", time.Minute, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := new(counter)
				g := gauge(t, memstore.New())
				s := newSite(t, g, app.ServeHTTP, nil)
				sent := time.Now().Truncate(time.Second)
				copies := []string{stamped(0, 0, c.until), stamped(0, 40*time.Second, c.until)} // attempts that were made
				url := s.post("a", "x", "Certified", copies[0]).done(t, 201, "run 1", false).member("message")
				bound := sent.Add(c.until)
				want := "done"
				if c.ack != nil {
					want = "gone"
					header := c.ack
					if len(header) > 0 {
						bound = sent.Add(40 * time.Second)
						header = []string{"Certified", fmt.Sprintf("v=1, at=@%d", bound.Unix())}
					}
					s.ask("DELETE", url, "", header...).want(t, 204, "gone")
				}
				for time.Since(sent) < 4*time.Hour {
					if since := time.Since(sent); since > time.Hour && since <= time.Hour+time.Minute {
						m := g.Crash()
						s.stop()
						floor := g.now()
						g = gauge(t, m)
						g.floor = floor
						s = newSite(t, g, app.ServeHTTP, nil)
					}
					for i, stamps := range copies {
						at := sent.Add(time.Duration(i) * 40 * time.Second)
						switch r := s.post("a", "x", "Certified", stamps); {
						case !at.After(g.now()):
							r.problem(t, 412, "stale-attempt", "none")
						default:
							r.want(t, map[string]int{"done": 201, "gone": 410}[want], want)
						}
					}
					if g.now().Before(bound) && s.record("ann", "a") == nil {
						t.Fatalf("forgotten after %v, while the floor was %v before the bound", time.Since(sent), bound.Sub(g.now()))
					}
					pass(time.Minute)
				}
				app.ran(t, 1)
				if c.until < 4*time.Hour-linger-2*tick || want == "gone" {
					if n := s.records(); n != 0 {
						t.Errorf("%d records are left, want none", n)
					}
				}
			})
		})
	}
}

func TestS8TheInsertIsJudgedAgainByTheLargestAtOfTheCopiesThatWait(t *testing.T) {
	for _, copied := range []bool{false, true} {
		t.Run(fmt.Sprint("with a later copy: ", copied), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var app counter
				s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(15 * time.Minute):
					case <-r.Context().Done():
						return
					}
					app.ServeHTTP(w, r)
				}, nil)
				gone := func(stamps string) { // a client that goes away before the message was accepted
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					r := httptest.NewRequestWithContext(ctx, "POST", "/orders", strings.NewReader("x"))
					r.Header.Set("Idempotency-Key", "a")
					r.Header.Set("Certified", stamps)
					s.ServeHTTP(httptest.NewRecorder(), r)
				}
				first := stamped(0, 0, time.Hour)
				gone(first)
				pass(9 * time.Minute)
				if copied {
					gone(stamped(-9*time.Minute, 0, 51*time.Minute))
				}
				pass(7 * time.Minute)
				app.ran(t, 1)
				if r := s.record("ann", "a"); (r != nil) != copied {
					t.Errorf("the record is %+v", r)
				}
				s.post("a", "x", "Certified", first).problem(t, 412, "stale-attempt", "none")
				if copied {
					s.certified("a", "x").done(t, 201, "run 1", true)
				}
			})
		})
	}
}

func TestS9ACertifiedOutcomeIsKeptUntilUntilHasPassedTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := new(counter)
		s := newSite(t, nil, app.ServeHTTP, nil)
		sent := time.Now()
		until := sent.Add(5 * 24 * time.Hour)
		again := func() reply {
			return s.post("a", "x", "Certified", fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", sent.Unix(), time.Now().Unix(), until.Unix()))
		}
		again().done(t, 201, "run 1", false)
		for time.Until(until) > time.Hour {
			pass(time.Hour)
			again().done(t, 201, "run 1", true)
		}
		pass(time.Until(until))
		again().done(t, 201, "run 1", true)
		pass(linger - time.Minute)
		if s.record("ann", "a") == nil {
			t.Error("forgotten before until had passed the floor")
		}
		again().problem(t, 412, "stale-attempt", "none")
		pass(time.Minute + 2*tick)
		if n := s.records(); n != 0 {
			t.Errorf("%d records are left, want none", n)
		}
		app.ran(t, 1)
	})
}

func TestS9APlainOutcomeAndItsTombstoneAreKeptForADay(t *testing.T) {
	for _, acked := range []bool{false, true} {
		t.Run(fmt.Sprint("acknowledged: ", acked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := new(counter)
				s := newSite(t, nil, app.ServeHTTP, nil)
				url := s.post("a", "x").done(t, 201, "run 1", false).member("message")
				again := func() {
					t.Helper()
					if r := s.post("a", "x"); acked {
						r.problem(t, 410, "acknowledged", "gone")
					} else {
						r.done(t, 201, "run 1", true)
					}
				}
				if acked {
					s.ask("DELETE", url, "", "Certified", stamped(0, 0, time.Hour)).want(t, 204, "gone")
				}
				for range 23 {
					again()
					pass(time.Hour)
				}
				pass(59 * time.Minute)
				again()
				app.ran(t, 1)
				pass(time.Minute + tick)
				if n := s.records(); n != 0 {
					t.Errorf("%d records are left, want none", n)
				}
				s.post("a", "y").done(t, 201, "run 2", false)
			})
		})
	}
}

func TestS9WhatIsUnfinishedIsKeptUntilItFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		url := s.certified("a", "x", "Prefer", "respond-async").want(t, 202, "running").member("message")
		parked := newSite(t, nil, func(http.ResponseWriter, *http.Request) { panic("always") }, &chttp.HandlerOptions{Attempts: 1})
		parked.certified("a", "x").problem(t, 503, "parked", "running")
		pass(30 * 24 * time.Hour)
		s.ask("GET", url, "").want(t, 202, "running")
		s.ask("DELETE", url, "").problem(t, 409, "in-progress", "running")
		if r := parked.record("ann", "a"); r == nil || r.State != store.Parked {
			t.Errorf("the parked record is %+v", r)
		}
		close(app.open)
		synctest.Wait()
		s.ask("GET", url, "").done(t, 201, "run 1", true) // until has passed, and the floor too: it is forgotten with the next sweep
		pass(2 * tick)
		if n := s.records(); n != 0 {
			t.Errorf("%d records are left, want none", n)
		}
	})
}

func TestI9AfterADayOfEverythingTheStoreIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := new(counter)
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			if app.runs.Add(1)%7 == 0 {
				panic("now and then")
			}
			if err := chttp.Run(r.Context(), "step", func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
			if err := chttp.Sleep(r.Context(), time.Minute); err != nil {
				t.Error(err)
			}
			w.WriteHeader([]int{200, 400, 500, 503}[len(r.URL.RawQuery)%4])
		}, nil)
		for i := range 200 {
			id := fmt.Sprintf("id-%03d", i)
			header := []string{"Idempotency-Key", id, "Prefer", []string{"respond-async", "wait=0", "return=minimal"}[i%3]}
			if i%2 == 0 {
				header = append(header, "Certified", stamped(0, 0, time.Duration(1+i)*time.Minute))
			}
			if i%5 == 0 {
				header = append(header, "Certified-Ack", fmt.Sprintf(`"id-%03d"`, i-10))
			}
			s.ask("POST", "/orders?"+strings.Repeat("x", i%4), "x", header...)
			if i%50 == 0 {
				s = s.crash()
			}
			pass(time.Minute)
		}
		pass(25 * time.Hour)
		if n := s.records(); n != 0 {
			t.Errorf("%d records are left, want none", n)
		}
		facts, err := s.store.Facts(context.Background())
		if err != nil || len(facts) != 0 {
			t.Errorf("facts %v, %v", facts, err)
		}
	})
}
