package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// oneRead is a store of which, once asked for, only so many more reads succeed.
type oneRead struct {
	*memstore.Store
	left atomic.Int64
}

func (s *oneRead) Read(ctx context.Context, key store.Key) (*store.Record, error) {
	if s.left.Add(-1) < 0 {
		return nil, errors.New("input/output error")
	}
	return s.Store.Read(ctx, key)
}

// TestA3AnAcknowledgementThatCouldNotBeCheckedIsNotConfirmed names a time in the future: whether that is after until, only the record tells.
func TestA3AnAcknowledgementThatCouldNotBeCheckedIsNotConfirmed(t *testing.T) {
	st := &oneRead{Store: memstore.New()}
	st.left.Store(1000)
	n := newNode(t, st, &chttp.Options{Logger: quiet})
	s := &site{t: t, node: n, Handler: n.Handler("app", new(counter), &chttp.HandlerOptions{Principal: callers})}
	s.run()
	message := s.certified("a", "x").want(t, 201, "done").member("message")
	at := time.Now().Add(time.Hour).Unix()
	st.left.Store(1)
	s.ask("DELETE", message, "", "Certified", fmt.Sprintf("v=1, at=@%d", at)).want(t, 503, "running")
	st.left.Store(0)
	s.ask("POST", "/.well-known/chttp/acks", fmt.Sprintf(`{"acks":[{"message":%q,"at":%d}]}`, message, at)).want(t, 503, "running")
	st.left.Store(1000)
	s.certified("a", "x").want(t, 201, "done")
	s.ask("DELETE", message, "", "Certified", fmt.Sprintf("v=1, at=@%d", at)).want(t, 204, "gone")
	s.certified("a", "x").want(t, 410, "gone")
}
