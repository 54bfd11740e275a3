package chttp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

// Flags of a message to a scriptedPeer. What is above them says how often the last answer comes again.
const (
	knownCertified = 1 << iota // the peer is known to be certified when the message is sent
	asParcel                   // it is sent and forgotten
	asPlain                    // its destination is Plain
	flagBits       = iota
)

// scripted is an answer in parts. {id}, {until} and {digest} in the header stand for those of the request, and of the body.
type scripted struct {
	status       int
	header, body string
}

// The answers of a peer that has no more of its own.
var (
	goodAnswer = scripted{200, "Certified: v=1, id=\"{id}\", state=done, until={until}\r\nContent-Digest: {digest}\r\n", "good"}
	goodRead   = scripted{200, "Certified: v=1, id=\"{id}\", state=done, replayed\r\nContent-Digest: {digest}\r\n", "read"}
	goodAbout  = scripted{200, "Certified: v=1\r\n", `{"versions":[1]}`}
)

// exchanged is a request of the message, and what it was answered with.
type exchanged struct {
	method, url, body string
	header            http.Header
	id                string
	at                time.Time
	res               *http.Response // nil: none
	answer            string         // its body
	err               error          // the answer is not whole
}

// scriptedPeer is a peer that answers as a fuzzer says, as net/http would read it, and then well.
type scriptedPeer struct {
	mu     sync.Mutex // guards what follows
	script []scripted
	id     string // of the message
	seen   []*exchanged
	acks   []*exchanged
}

// RoundTrip implements http.RoundTripper.
func (p *scriptedPeer) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := &exchanged{method: r.Method, url: r.URL.String(), header: r.Header.Clone(), id: p.id, at: time.Now()}
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		x.body = string(b)
	}
	if r.Method == "DELETE" || r.URL.Path == "/.well-known/chttp/acks" {
		p.acks = append(p.acks, x)
		return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, nil
	}
	if id, ok := keyOf(r); ok {
		x.id, p.id = id, id
	}
	a := goodAnswer
	switch {
	case len(p.script) > 0:
		a, p.script = p.script[0], p.script[1:]
	case r.Method == "GET" && r.URL.Path == "/.well-known/chttp":
		a = goodAbout
	case r.Method == "GET":
		a = goodRead
	}
	p.seen = append(p.seen, x)
	x.res, x.err = a.read(r, x.id)
	if x.res == nil {
		return nil, x.err
	}
	body, err := io.ReadAll(x.res.Body)
	x.answer, x.err = string(body), err
	res := *x.res
	res.Header = x.res.Header.Clone()
	res.Body = io.NopCloser(strings.NewReader(x.answer))
	if err != nil {
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader(x.answer), cutShort{}))
	}
	return &res, nil
}

// read makes of a what net/http would.
func (a scripted) read(r *http.Request, id string) (*http.Response, error) {
	until := "@1"
	if at := untilOf(r); at != 0 {
		until = "@" + strconv.FormatInt(at, 10)
	}
	b := fmt.Appendf(nil, "HTTP/1.1 %03d X\r\n", a.status%1000)
	header := strings.NewReplacer("{id}", id, "{until}", until, "{digest}", digestOf(a.body)).Replace(a.header)
	lower := strings.ToLower(header)
	if !strings.Contains(lower, "content-length") && !strings.Contains(lower, "transfer-encoding") {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(a.body))
	}
	if header != "" && !strings.HasSuffix(header, "\n") {
		header += "\r\n"
	}
	b = append(b, header+"\r\n"+a.body...)
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), r)
	if err == nil && res.StatusCode/100 == 1 {
		return nil, errors.New("interim answers are the transport's")
	}
	return res, err
}

// ending is how a message ended: a response, or an error, or it is parked.
type ending struct {
	status int
	body   string
	err    error
	state  string // of its record
	took   time.Duration
}

// tried is for how long it is.
const tried = time.Hour

// receive sends a message to p and returns how it ended.
func (p *scriptedPeer) receive(t *testing.T, flags int) (e ending) {
	begin := time.Now()
	fn := func(ctx context.Context, _ string) (string, error) {
		res, err := chttp.Post(chttp.With(ctx, chttp.Policy{Until: tried}), peerURL, "text/plain", strings.NewReader("the message"))
		if err != nil {
			e.err = err
			return "", nil
		}
		b, _ := io.ReadAll(res.Body)
		e.status, e.body = res.StatusCode, string(b)
		return "", nil
	}
	h := newHome(t, p, fn, func(h *home) {
		h.opt.Destination = func(context.Context, *http.Request) (chttp.Destination, error) {
			return chttp.Destination{Plain: flags&asPlain != 0}, nil
		}
		if flags&knownCertified != 0 {
			learned(t, h.store, "peer http://peer.example", `{"certified":true,"store":"aaaa"}`)
		}
	})
	if flags&asParcel == 0 {
		h.start("f")
		e.state = h.ends("f").State
	} else {
		i := h.ends(h.put(peerURL, "the message", chttp.Policy{Until: tried}))
		e.state, e.status, e.err = i.State, i.Status, i.Err
	}
	e.took = time.Since(begin)
	time.Sleep(time.Minute) // for acknowledgements
	h.stop()
	return e
}

// learned puts a fact into a store, as an earlier process would have.
func learned(t *testing.T, s store.Store, name, value string) {
	t.Helper()
	id, err := s.Join(t.Context(), 0)
	if err == nil {
		_, err = s.Commit(t.Context(), &store.Batch{Token: id.Token, Facts: []store.Fact{{Name: name, Value: []byte(value)}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}
