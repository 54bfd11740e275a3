package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fault is what the network does to a request.
type fault int

// The faults. The last is what it does to a request whose party is not there.
const (
	faultNone     fault = iota
	dropRequest         // it never arrives
	dropResponse        // the work is done, and the answer is lost
	doubleRequest       // it arrives twice
	delayRequest        // it arrives later than others that were sent after it
	resetResponse       // the answer breaks off in the middle
	partyDown           // nobody is there
	faultKinds
)

var faultNames = [faultKinds]string{"none", "requests dropped", "responses dropped", "requests doubled", "requests delayed", "responses cut off", "requests to nobody"}

// odds are how often a fault happens, in per mille of all requests.
type odds [faultKinds]int

// badNetwork is the network of the demonstration.
var badNetwork = odds{dropRequest: 30, dropResponse: 45, doubleRequest: 30, delayRequest: 50, resetResponse: 20}

const (
	// maxDelay is how late a delayed request is at the most, and the copy of a doubled one.
	maxDelay = 150 * time.Millisecond

	// maxProxied is the longest body that the proxy carries.
	maxProxied = 16 << 20

	// proxyIdle is how many connections to a party are kept.
	proxyIdle = 128
)

// proxy is the network between the parties: everybody reaches everybody else through an address of its own here, which stays the
// same however often the process behind it dies. It draws the faults from a seed; which request they hit depends on the weather.
type proxy struct {
	faulty    atomic.Bool // whether there are faults
	odds      odds
	transport *http.Transport
	servers   []*http.Server
	serving   sync.WaitGroup
	copies    sync.WaitGroup // second copies of doubled requests, under way

	mu       sync.Mutex // guards what follows
	rng      *rand.Rand
	backends map[string]string // address of each party's process; "" while there is none
	counts   traffic
}

// traffic is what the proxy has seen.
type traffic struct {
	Requests int // that reached the proxy
	Replayed int // answers from the record: duplicates that were suppressed
	Faults   [faultKinds]int
}

// faults is how many there were in all, those not counted that are a dead process's.
func (t *traffic) faults() (n int) {
	for f, k := range t.Faults {
		if fault(f) != partyDown {
			n += k
		}
	}
	return n
}

func newProxy(seed uint64, o odds) *proxy {
	return &proxy{
		odds: o, rng: rand.New(rand.NewPCG(seed, 2)), backends: map[string]string{},
		transport: &http.Transport{MaxIdleConnsPerHost: proxyIdle, DisableCompression: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext},
	}
}

// listen opens an address for a party and returns its URL.
func (p *proxy) listen(party string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(party, w, r) }), ReadHeaderTimeout: 10 * time.Second}
	p.servers = append(p.servers, srv)
	p.serving.Go(func() { srv.Serve(l) })
	return "http://" + l.Addr().String(), nil
}

// close ends the proxy.
func (p *proxy) close() {
	for _, srv := range p.servers {
		srv.Close()
	}
	p.serving.Wait()
	p.copies.Wait()
	p.transport.CloseIdleConnections()
}

// setBackend says where a party's process is now; "" if there is none.
func (p *proxy) setBackend(party, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backends[party] = address
}

func (p *proxy) backend(party string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.backends[party]
}

// traffic returns what the proxy has seen so far.
func (p *proxy) traffic() traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// draw decides what happens to a request, and counts it.
func (p *proxy) draw() (fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Requests++
	n, delay := p.rng.IntN(1000), time.Duration(p.rng.Int64N(int64(maxDelay)))
	if !p.faulty.Load() {
		return faultNone, 0
	}
	for f, odds := range p.odds {
		if n -= odds; n < 0 {
			p.counts.Faults[f]++
			return fault(f), delay
		}
	}
	return faultNone, 0
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// serve carries one request to a party, and its answer back, or not.
func (p *proxy) serve(party string, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxProxied))
	if err != nil {
		hangUp(w, false)
		return
	}
	f, delay := p.draw()
	switch f {
	case dropRequest:
		hangUp(w, false)
		return
	case delayRequest:
		time.Sleep(delay)
	case doubleRequest:
		again := r.Clone(context.WithoutCancel(r.Context()))
		p.copies.Go(func() {
			time.Sleep(delay)
			p.forward(party, again, body)
		})
	}
	a, err := p.forward(party, r, body)
	switch {
	case err != nil:
		hangUp(w, false) // as a port does on which nobody listens, or whose process has died
	case f == dropResponse:
		hangUp(w, false)
	case f == resetResponse:
		a.write(w, true)
		hangUp(w, true)
	default:
		a.write(w, false)
	}
}

// errDown says that a party has no process just now.
var errDown = errors.New("nobody is there")

// forward sends a request to the party's process and reads all of its answer.
func (p *proxy) forward(party string, r *http.Request, body []byte) (*answer, error) {
	address := p.backend(party)
	if address == "" {
		p.down()
		return nil, errDown
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+address+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header, req.Host = r.Header.Clone(), r.Host
	req.GetBody = nil // a copy of ours is a fault, and none that the transport makes
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		p.down()
		return nil, err
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if replayed(resp.Header) {
		p.mu.Lock()
		p.counts.Replayed++
		p.mu.Unlock()
	}
	return a, nil
}

func (p *proxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Faults[partyDown]++
}

// replayed tells whether an answer was given before, and comes from the record.
func replayed(h http.Header) bool {
	return strings.Contains(h.Get("Certified"), "replayed") || h.Get("Idempotent-Replayed") == "true"
}

// write writes an answer, or the first half of it.
func (a *answer) write(w http.ResponseWriter, half bool) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", fmt.Sprint(len(a.body)))
	w.WriteHeader(a.status)
	if half {
		w.Write(a.body[:len(a.body)/2])
		http.NewResponseController(w).Flush()
		return
	}
	w.Write(a.body)
}

// hangUp closes the connection without another byte; hard means that what is still on its way is lost as well.
func hangUp(w http.ResponseWriter, hard bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the server closes it then
	}
	if tcp, ok := conn.(*net.TCPConn); ok && hard {
		tcp.SetLinger(0)
	}
	conn.Close()
}
