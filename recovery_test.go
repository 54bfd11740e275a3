package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

// TestI8ADamagedRecordKeepsNobodyWaiting damages one function and one message among others. The others end after a restart; the log names
// each of the two once, and nothing of them is done until they can be read again.
func TestI8ADamagedRecordKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, log := newDoor(), new(logbook)
		var runs sync.Map
		net := newLAN(script(func(w http.ResponseWriter, r *http.Request, n int) {
			if n <= 10 {
				panic(http.ErrAbortHandler)
			}
			certify(w, r, "done", 200, "yes")
		}))
		h := newHome(t, net, func(ctx context.Context, in string) (string, error) {
			door.pass(ctx)
			if err := ctx.Err(); err != nil {
				return "", err
			}
			runs.Store(in, true)
			return "out", nil
		}, func(h *home) { h.opt.Logger = log.logger() })
		var functions, messages []string
		for i := range 5 {
			functions = append(functions, fmt.Sprintf("function-%d", i))
			if _, err := h.f.Start(t.Context(), h.node, functions[i], functions[i]); err != nil {
				t.Fatal(err)
			}
			messages = append(messages, string(h.put(peerURL, "body", chttp.Policy{ID: fmt.Sprintf("message-%d-01989e4b-7c1f-7d6e", i)})))
			<-door.entered
			time.Sleep(time.Millisecond) // another time for each
		}
		s := h.store.Crash()
		h.stop()
		close(door.open)
		h.store = s
		damaged := []string{functions[1], messages[2]}
		for _, id := range damaged {
			s.Damage(store.Key{ID: id}, true)
		}
		h.open()
		pass(5 * time.Hour)
		for _, id := range append(functions, messages...) {
			i, err := h.node.Lookup(t.Context(), id)
			if id != damaged[0] && id != damaged[1] {
				if err != nil || i.State != "answered" {
					t.Errorf("%s is %s, %v, want it answered", id, i.State, err)
				}
				continue
			}
			if _, ran := runs.Load(id); ran || !errors.As(err, new(*store.DamagedError)) {
				t.Errorf("%s is %s, %v, ran: %v; want it left alone", id, i.State, err, ran)
			}
			if n := log.count("id=" + id); n != 1 {
				t.Errorf("%d lines of the log name %s, want 1", n, id)
			}
			s.Damage(store.Key{ID: id}, false)
		}
		for _, id := range damaged {
			if i := h.ends(id); i.State != "answered" {
				t.Errorf("%s is %s although it can be read again", id, i.State)
			}
		}
	})
}

// TestADamagedParkedRecordStopsNoStart: at the start a node looks through what is parked for want of a function.
func TestADamagedParkedRecordStopsNoStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, log := newDoor(), new(logbook)
		fn := func(ctx context.Context, _ string) (string, error) {
			door.pass(ctx)
			return "", ctx.Err()
		}
		g := chttp.Resumable("g", fn)
		h := newHome(t, nil, nil, func(h *home) {
			h.opt.Logger = log.logger()
			h.more = []chttp.Registrant{g}
		})
		ids := []string{"a", "b", "c"}
		for _, id := range ids {
			if _, err := g.Start(t.Context(), h.node, id, "in"); err != nil {
				t.Fatal(err)
			}
			<-door.entered
		}
		h.more = nil
		h.restart()
		for _, id := range ids {
			h.parked(id, "not registered")
		}
		close(door.open)
		h.store.Damage(store.Key{ID: "b"}, true)
		h.more = []chttp.Registrant{chttp.Resumable("g", fn)}
		h.restart()
		pass(time.Minute)
		for _, id := range []string{"a", "c"} {
			if i := h.ends(id); i.State != "answered" {
				t.Errorf("%s is %s", id, i.State)
			}
		}
		if n := log.count("id=b"); n == 0 {
			t.Error("the log does not name what is damaged")
		}
	})
}
