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
		h := newHome(t, newLAN(certifiedPeer), func(ctx context.Context, _ string) (string, error) {
			if _, err := post(ctx, peerURL); err != nil {
				return "", err
			}
			v := chttp.Persist(ctx, "value", func() int64 {
				st.fails(full)
				return values.Add(1)
			})
			if err := chttp.Sleep(ctx, time.Hour); err != nil {
				return "", err
			}
			return fmt.Sprint(v), nil
		}, func(h *home) {
			h.over = func(s store.Store) store.Store {
				st.Store = s.(*memstore.Store)
				return st
			}
		})
		h.start("one")
		pass(time.Minute)
		st.fails(nil)
		pass(time.Minute)
		h.crash()
		if got, err := h.outcome("one"); got != "1" || err != nil || values.Load() != 1 {
			t.Errorf("got %q, %v, and %d values were made, want the first", got, err, values.Load())
		}
	})
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
