package chttptest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// ContextOptions of Context. The zero value is ready to use for code that calls nobody.
type ContextOptions struct {
	// Peers answer what is sent. Default: none; a request to a host that is no peer fails the test, and is answered with 404.
	Peers []Peer

	// Node is what the node is made with. Its Transport is used for hosts that are no Peers. Default: the defaults of chttp.Options, and
	// nothing is logged.
	Node *chttp.Options

	// Functions are registered: those that are started. Default: none.
	Functions []chttp.Registrant

	// Fresh is given the node, before anything runs. Default: nothing.
	Fresh func(t testing.TB, n *chttp.Node)
}

// Context returns a context that belongs to an execution, for plain tests of code that makes operations. The execution is on a node in memory and
// ends with the test, which fails if it was parked. Time is the test's: in a testing/synctest bubble, give it the bubble's t.
func Context(t testing.TB, o *ContextOptions) context.Context {
	t.Helper()
	var opt ContextOptions
	if o != nil {
		opt = *o
	}
	tr := (&proof{opt: (&Options{Peers: opt.Peers}).withDefaults(), subject: &subject{}}).newTrial("context")
	var cancel context.CancelFunc
	tr.ctx, cancel = context.WithCancel(context.Background())
	tr.servePeers()
	n, err := chttp.New(memstore.New(), opt.nodeOptions(t, tr))
	if err != nil {
		cancel()
		t.Fatalf("chttptest.Context: %v", err)
	}
	if opt.Fresh != nil {
		opt.Fresh(t, n)
	}
	given, over := make(chan context.Context, 1), make(chan struct{})
	f := chttp.Resumable("chttptest.Context", func(ctx context.Context, _ struct{}) (struct{}, error) {
		given <- ctx
		<-over
		return struct{}{}, nil
	})
	n.Register(append(opt.Functions[:len(opt.Functions):len(opt.Functions)], f)...)
	done := make(chan error, 1)
	go func() { done <- n.Run(tr.ctx) }()
	x, err := f.Start(tr.ctx, n, "context", struct{}{})
	if err != nil {
		cancel()
		t.Fatalf("chttptest.Context: %v; %v", err, <-done)
	}
	t.Cleanup(func() {
		close(over)
		if _, err := x.Wait(context.Background()); err != nil {
			t.Errorf("chttptest.Context: the execution did not end well: %v", err)
		}
		cancel()
		<-done
		for _, p := range tr.peers {
			p.close()
		}
		tr.wg.Wait()
	})
	return <-given
}

// nodeOptions returns what the node is made with.
func (o *ContextOptions) nodeOptions(t testing.TB, tr *trial) *chttp.Options {
	var c chttp.Options
	if o.Node != nil {
		c = *o.Node
	}
	if c.Logger == nil {
		c.Logger = quiet
	}
	c.Transport = &beside{t, between{tr}, c.Transport}
	return &c
}

// beside takes requests to peers, or to what is beyond them.
type beside struct {
	t      testing.TB
	peers  between
	beyond http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *beside) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case b.peers.trial.peers[req.URL.Host] != nil:
		return b.peers.RoundTrip(req)
	case b.beyond != nil:
		return b.beyond.RoundTrip(req)
	}
	b.t.Errorf("chttptest.Context: %s %s is sent to a host that is no peer: add it to ContextOptions.Peers", req.Method, req.URL)
	body := fmt.Sprintf("%s is no peer", req.URL.Host)
	return &http.Response{
		StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Request: req,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}
