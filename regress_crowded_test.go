package chttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// away is a network in which nobody can be reached.
type away struct{}

func (away) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
}

// TestI8AMessageToAPeerThatIsAwayEndsAlsoWhereThereIsNoRoomForOthers has one that is put out of memory because there is no room, which
// is for itself.
func TestI8AMessageToAPeerThatIsAwayEndsAlsoWhereThereIsNoRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memstore.New(), &chttp.Options{MaxResident: 2, Transport: away{}, Logger: quiet})
		ctx := chttp.With(t.Context(), chttp.Policy{Until: time.Minute})
		id, err := n.Put(ctx, "http://peer/", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- n.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		if i, err := n.Lookup(ctx, id); err != nil || i.State != "unknown" && i.State != "undelivered" {
			t.Errorf("nine minutes after its until it is %q, %v", i.State, err)
		}
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// TestA3AnAcknowledgementIsNotConfirmedWhenTheStoreCannotBeRead: its bound would have to be looked up.
func TestA3AnAcknowledgementIsNotConfirmedWhenTheStoreCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newFaulty()
		s := newSite(t, st, new(counter).ServeHTTP, nil)
		url := s.certified("a", "x").done(t, 201, "run 1", false).member("message")
		outage := errors.New("input/output error")
		st.read.Store(&outage)
		for _, r := range []reply{
			s.ask("DELETE", url, ""),
			s.ask("POST", "/.well-known/chttp/acks", `{"acks":[{"message":"`+url+`"}]}`, "Content-Type", "application/json"),
		} {
			if r.status != 503 {
				t.Errorf("got %d, want 503", r.status)
			}
		}
		st.read.Store(nil)
		s.certified("a", "x").done(t, 201, "run 1", true)
	})
}
