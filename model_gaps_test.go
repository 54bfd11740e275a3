package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// The tests of this file are those that bugs planted by tools/mutants showed to be missing.

func TestS4UserCodeOfAKnownIDDoesNotStart(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	stamps := stamped(0, 0, time.Hour)
	s.post("a", "x", "Certified", stamps).done(t, 201, "run 1", false)
	s.leave("a", "x", stamps)
	app.ran(t, 1)
}

func TestS10WhatAStoreWithoutRoomDidNotTakeIsCommittedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var values atomic.Int64
		st := newFaulty()
		l := newLAN(certifiedPeer)
		var h *home
		h = newHome(t, l, func(ctx context.Context, _ string) (string, error) {
			if _, err := post(ctx, peerURL); err != nil {
				return "", err
			}
			got := ""
			for _, name := range []string{"one", "two"} {
				got += fmt.Sprint(chttp.Persist(ctx, name, func() int64 {
					st.fails(full)
					return values.Add(1)
				}))
				if _, err := h.node.Put(ctx, "http://peer.example/"+name, "text/plain", strings.NewReader("x")); err != nil {
					return "", err
				}
				if err := chttp.Sleep(ctx, time.Minute); err != nil {
					return "", err
				}
			}
			return got, chttp.Sleep(ctx, time.Hour)
		}, func(h *home) {
			h.over = func(s store.Store) store.Store {
				st.Store = s.(*memstore.Store)
				return st
			}
		})
		h.start("one")
		pass(3 * time.Minute)
		if n := len(l.requests("PUT")); n != 0 {
			t.Errorf("%d messages left that are not stored", n)
		}
		st.fails(nil)
		pass(time.Minute)
		h.crash()
		if got, err := h.outcome("one"); got != "12" || err != nil || values.Load() != 2 {
			t.Errorf("got %q, %v, and %d values were made, want the first two", got, err, values.Load())
		}
		if n := len(l.requests("PUT")); n != 2 {
			t.Errorf("%d messages were sent, want two", n)
		}
	})
}

func TestI6WhatIsRecordedDuringACommitThatFailsComesAfterWhatItHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		commit := make(chan struct{})
		var values atomic.Int64
		h := newHome(t, newLAN(certifiedPeer), func(ctx context.Context, _ string) (string, error) {
			if _, err := post(ctx, peerURL); err != nil {
				return "", err
			}
			value := func(name string) int64 { return chttp.Persist(ctx, name, func() int64 { return values.Add(1) }) }
			one := value("one")
			if values.Load() == 1 {
				st.fails(func(*store.Batch) (error, bool) { <-commit; return store.ErrFull, false })
				time.Sleep(time.Second) // The commit of the first begins.
			}
			return fmt.Sprint(one, value("two")), chttp.Sleep(ctx, time.Hour)
		}, func(h *home) {
			h.over = func(s store.Store) store.Store {
				st.Store = s.(*memstore.Store)
				return st
			}
		})
		h.start("one")
		pass(time.Minute)
		close(commit)
		synctest.Wait()
		st.fails(nil)
		pass(time.Minute)
		h.crash()
		if got, err := h.outcome("one"); got != "1 2" || err != nil || values.Load() != 2 {
			t.Errorf("got %q, %v, and %d values were made, want the first two", got, err, values.Load())
		}
	})
}

func TestA3AnAcknowledgementThatTheStoreDoesNotTakeIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		s := newSite(t, st, new(counter).ServeHTTP, nil)
		url := s.certified("a", "x").done(t, 201, "run 1", false).member("message")
		st.fails(func(*store.Batch) (error, bool) { return store.ErrFull, false })
		s.ask("DELETE", url, "").problem(t, 503, "in-progress", "running")
		s.ask("POST", "/.well-known/chttp/acks", fmt.Sprintf(`{"acks":[{"message":%q}]}`, url)).problem(t, 503, "in-progress", "running")
		st.fails(nil)
		s.certified("a", "x").done(t, 201, "run 1", true)
		s.ask("DELETE", url, "").want(t, 204, "gone")
	})
}

func TestS11ANodeThatAnotherHasReplacedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memstore.New()
		first := newNode(t, m, nil)
		done := make(chan error, 1)
		go func() { done <- first.Run(t.Context()) }()
		pass(time.Second)
		run(t, newNode(t, m, nil))
		pass(5 * time.Minute) // It commits now and then, and is told.
		select {
		case err := <-done:
			if !errors.Is(err, store.ErrFenced) {
				t.Errorf("Run: %v, want %v", err, store.ErrFenced)
			}
		default:
			t.Error("Run goes on")
		}
	})
}

func TestC2RetryAfterOfACertifiedAnswerIsObeyed(t *testing.T) {
	for _, state := range []string{"none", "running"} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
					if n > 1 {
						certify(w, r, "done", 200, "")
						return
					}
					w.Header().Set("Retry-After", "90")
					certify(w, r, state, 503, "")
				}))
				h := newHome(t, l, nil)
				h.ends(h.put(peerURL, "x", chttp.Policy{}))
				all := l.requests("PUT")
				if wait := all[1].at.Sub(all[0].at); wait < 90*time.Second || wait > 100*time.Second {
					t.Errorf("it came again after %v", wait)
				}
			})
		})
	}
}

func TestC1TheSameRequestInTwoBranchesIsTwoMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(certifiedPeer)
		h := newHome(t, l, func(ctx context.Context, _ string) (string, error) {
			call := func(ctx context.Context) (string, error) { return post(ctx, peerURL) }
			one, two := chttp.Go(ctx, "one", call), chttp.Go(ctx, "two", call)
			_, err := one.Wait(ctx)
			_, err2 := two.Wait(ctx)
			return "", errors.Join(err, err2)
		})
		if _, err := h.do("one"); err != nil {
			t.Fatal(err)
		}
		if all := l.requests("POST"); len(all) != 2 || all[0].key() == all[1].key() {
			t.Errorf("%d requests, want two with ids of their own", len(all))
		}
	})
}

func TestC6WhatEndedWithoutSuccessIsListedForTheRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := map[string]http.HandlerFunc{
			"answered": certifiedPeer,
			"rejected": func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 400, "no") },
			"unknown":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		}
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			if end := ends[strings.TrimPrefix(r.URL.Path, "/")]; end != nil {
				end(w, r)
			}
		})
		h := newHome(t, l, nil, func(h *home) { h.opt.Retention = 24 * time.Hour })
		ids := map[string]string{"undelivered": h.put("http://nobody.example/", "x", chttp.Policy{Until: time.Minute})}
		for end := range ends {
			ids[end] = h.put("http://peer.example/"+end, "x", chttp.Policy{Until: time.Minute})
		}
		for end, id := range ids {
			if i := h.ends(id); i.State != end {
				t.Errorf("the message to be %s is %s", end, i.State)
			}
		}
		for _, c := range []struct {
			after time.Duration
			kept  bool
		}{{time.Hour, true}, {22 * time.Hour, true}, {2 * time.Hour, false}} {
			pass(c.after)
			for end, id := range ids {
				i, err := h.node.Lookup(t.Context(), id)
				if want := c.kept && end != "answered"; want && (err != nil || i.State != end) || !want && !errors.Is(err, chttp.ErrNotFound) {
					t.Errorf("%v later the message that was %s is %q, %v", c.after, end, i.State, err)
				}
			}
		}
	})
}

func TestC4WhatIsLearnedOfAPeerWhileTheStoreIsFullIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		l := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				st.fails(full)
			}
			certify(w, r, "done", 200, "")
		}))
		h := newHome(t, l, nil, func(h *home) {
			h.over = func(s store.Store) store.Store {
				st.Store = s.(*memstore.Store)
				return st
			}
		})
		h.put(peerURL, "x", chttp.Policy{})
		pass(time.Minute)
		st.fails(nil)
		pass(time.Minute)
		h.crash()
		h.ends(h.put(peerURL, "x", chttp.Policy{}))
		puts := l.requests("PUT")
		if last := puts[len(puts)-1]; !strings.HasPrefix(last.header.Get("Idempotency-Key"), `"`) {
			t.Errorf("that the peer is certified is forgotten: it is sent the key %s", last.header.Get("Idempotency-Key"))
		}
	})
}

func TestS13NoCallIsSentToAPeerThatWasRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := `"aaaa"`
		l := newLAN(func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 200, "", "store", name) })
		h := newHome(t, l, func(ctx context.Context, _ string) (string, error) { return post(ctx, peerURL) })
		h.do("one")
		pass(time.Minute)
		name = `"bbbb"`
		h.do("two") // by which it shows
		h.start("three")
		pass(time.Hour)
		if n := len(l.requests("POST")); n != 2 {
			t.Errorf("%d calls were sent, want two", n)
		}
	})
}

func TestC6AMessageThatWasOutOfMemoryMayHaveLeftBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(503)
		})
		h := newHome(t, l, nil, func(h *home) { h.opt.MaxResident = 4 }) // room for two messages
		h.put("http://peer.example/other", "x", chttp.Policy{Until: time.Hour})
		pass(time.Second)
		id := h.put(peerURL, "x", chttp.Policy{Until: time.Hour})
		pass(time.Minute)
		if r, err := h.store.Read(t.Context(), store.Key{ID: id}); err != nil || r.State != store.Waiting {
			t.Fatalf("the record is %+v, %v, want it waiting out of memory", r, err)
		}
		l.mu.Lock()
		l.hosts = nil // nobody can be dialled any more
		l.mu.Unlock()
		if i := h.ends(id); i.State != "unknown" {
			t.Errorf("it is %s, want unknown: its first attempt was answered", i.State)
		}
	})
}

func TestC6ACallThatACrashInterruptedMayHaveBeenMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		h := newHome(t, l, func(ctx context.Context, _ string) (string, error) {
			return post(chttp.With(ctx, chttp.Policy{Until: time.Hour}), peerURL)
		})
		h.start("one")
		pass(time.Minute)
		l.mu.Lock()
		l.hosts = nil // nobody can be dialled any more
		l.mu.Unlock()
		h.crash()
		if _, err := h.outcome("one"); !errors.Is(err, chttp.ErrUnknownOutcome) || errors.Is(err, chttp.ErrNotDone) {
			t.Errorf("the call's error is %v, want %v", err, chttp.ErrUnknownOutcome)
		}
	})
}

func TestA5AfterACrashTheAcknowledgementOfACallNamesUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door := newDoor()
		l := newLAN(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "DELETE" {
				w.WriteHeader(204)
				return
			}
			door.pass(r.Context())
			certify(w, r, "done", 200, "")
		})
		h := newHome(t, l, func(ctx context.Context, _ string) (string, error) { return post(ctx, peerURL) })
		h.start("one")
		<-door.entered
		h.crash()
		<-door.entered
		close(door.open)
		if _, err := h.outcome("one"); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		last, del := l.requests("POST")[1], l.requests("DELETE")
		if len(del) != 1 || del[0].stamp("at") != last.stamp("until") {
			t.Errorf("%d acknowledgements, want one that names until of %v", len(del), last.header["Certified"])
		}
	})
}

func TestS8AReusedIDDoesNotRaiseTheAtOfTheRunThatItMeets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newGate()
		s := newSite(t, nil, app.ServeHTTP, nil)
		s.leave("a", "x", stamped(0, 0, time.Hour))
		pass(linger - tick)
		s.certified("a", "another").problem(t, 422, "key-reused", "refused")
		pass(6 * tick)
		close(app.open)
		synctest.Wait()
		app.ran(t, 1)
		if r := s.record("ann", "a"); r != nil {
			t.Errorf("the floor has passed the one attempt of the message, and the record is %+v", r)
		}
	})
}

// slowDue is a store that takes its time to say what is due, once it is told to.
type slowDue struct {
	*memstore.Store
	door atomic.Pointer[door]
}

func (s *slowDue) Due(ctx context.Context, after store.Cursor, limit int) ([]*store.Record, error) {
	page, err := s.Store.Due(ctx, after, limit)
	if d := s.door.Swap(nil); d != nil {
		d.pass(ctx)
	}
	return page, err
}

func TestI2WhatEndsWhileThePageIsReadIsNotRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &slowDue{}
		var runs atomic.Int64
		open := make(chan struct{})
		h := newHome(t, nil, func(ctx context.Context, in string) (string, error) {
			runs.Add(1)
			<-open
			return "", nil
		}, func(h *home) {
			h.over = func(s store.Store) store.Store {
				st.Store = s.(*memstore.Store)
				return st
			}
			h.more = []chttp.Registrant{chttp.Resumable("panics", func(context.Context, string) (string, error) { panic("now and then") })}
		})
		pass(time.Second) // What was there at the start has been looked for.
		h.start("one")
		pass(time.Second) // It runs, and its record is durable.
		reading := newDoor()
		st.door.Store(reading)
		if _, err := h.more[0].(*chttp.Function[string, string]).Start(t.Context(), h.node, "two", ""); err != nil {
			t.Fatal(err)
		}
		<-reading.entered // What has crashed is looked for, and the page has what runs too.
		close(open)
		if _, err := h.outcome("one"); err != nil {
			t.Fatal(err)
		}
		close(reading.open)
		pass(time.Minute)
		if n := runs.Load(); n != 1 {
			t.Errorf("it ran %d times, want once", n)
		}
	})
}
