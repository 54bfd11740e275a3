package chttptest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// NetworkOptions of a Network. The zero value is a network without faults.
type NetworkOptions struct {
	Seed   uint64       // of the faults. Default: 0, a seed like any other
	Faults Faults       // Default: none
	Logger *slog.Logger // is told what each request meets: faults at level info, the others at level debug. Default: nobody
}

// Network is an in-memory HTTP network. Each host on it is a real http.Server, and Transport returns a real http.Transport: what they see
// of each other is what they would see over TCP, but for TLS. It must be closed. Its methods are safe for concurrent use.
//
// What a request meets is drawn from the seed, its method, URL and body, and the number of the attempt. So the same attempt of the same
// request meets the same in each run, whatever the order in which goroutines take turns, and though Idempotency-Keys may be random.
// Requests that differ in nothing but their Idempotency-Keys are told apart by the order in which they first come. A body counts where
// net/http could send it again (Request.GetBody).
//
// A request that meets a fault travels on a connection of its own, and is read to its end before it goes on. So net/http does not send it
// again by itself, as it may when a connection breaks that it has kept: one RoundTrip is one attempt, but where Down breaks a connection.
//
// In a testing/synctest bubble, make the network inside of the bubble and close it there: delays cost no time, and a network on which
// nothing happens is durably blocked.
type Network struct {
	seed   uint64
	logger *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	tasks   sync.WaitGroup
	closed  bool
	plan    plan
	seen    history
	counts  Counts
	hosts   map[string]*host
	links   map[*link]struct{}
	clients map[string]*transport
	down    map[string]bool
	parted  map[[2]string]bool
	healed  chan struct{} // closed, and made anew, when hosts or connections come back
	ports   int
}

// plan decides what a request meets.
type plan func(from string, r *http.Request, like uint64, attempt int) Fault

// Counts is what happened on a network so far. What was decided and then did not come to pass is not counted.
type Counts struct {
	Requests int               // that were made
	Faults   map[FaultKind]int // that really happened, Pass aside
	Silent   int               // losses that nobody was told of
	Delayed  int               // requests and answers
}

// NewNetwork returns a network without hosts. opt may be nil. It panics when the options make no sense.
func NewNetwork(opt *NetworkOptions) *Network {
	if opt == nil {
		opt = &NetworkOptions{}
	}
	n := &Network{
		seed: opt.Seed, logger: opt.Logger, seen: newHistory(), counts: Counts{Faults: make(map[FaultKind]int)},
		hosts: make(map[string]*host), links: make(map[*link]struct{}), clients: make(map[string]*transport), down: make(map[string]bool),
		parted: make(map[[2]string]bool), healed: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.SetFaults(opt.Faults)
	return n
}

// Handle lets h answer the requests to host, "bank.example" or "bank.example:8080", from now on. Both http://bank.example and
// https://bank.example lead there.
func (n *Network) Handle(host string, h http.Handler) {
	if h == nil {
		panic("chttptest: Handle of a nil handler; Down takes a host off the network")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	name := hostName(host)
	if there := n.hosts[name]; there != nil {
		there.handler = h
		return
	}
	if !n.closed {
		n.hosts[name] = n.newHost(name, h)
	}
}

// Transport returns the transport of programs on host, for http.Client and chttp.Options. The host need not answer requests itself; its
// name is what Down and Partition know it by, and what the server finds in Request.RemoteAddr. A client that needs no name has "".
func (n *Network) Transport(host string) http.RoundTripper {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := hostName(host)
	if n.clients[name] == nil {
		n.clients[name] = newTransport(n, name)
	}
	return n.clients[name]
}

// Client returns a client on host, without a timeout.
func (n *Network) Client(host string) *http.Client { return &http.Client{Transport: n.Transport(host)} }

// SetFaults lets requests meet these faults from now on, instead of what was said before. It panics when they make no sense.
func (n *Network) SetFaults(f Faults) {
	f.check()
	n.setPlan(f.plan(n.seed))
}

// Script lets fn say what each request meets from now on, instead of what was said before. attempt is 1 for the first request with this
// method, URL and Idempotency-Key (without a key: with this body), from whichever host. RemoteAddr is the host that the request comes
// from. fn must leave the body unread, and may be called concurrently.
//
//	n.Script(func(r *http.Request, attempt int) chttptest.Fault {
//		if r.URL.Path == "/charge" && attempt == 2 {
//			return chttptest.Fault{Kind: chttptest.LoseAnswer}
//		}
//		return chttptest.Fault{}
//	})
func (n *Network) Script(fn func(r *http.Request, attempt int) Fault) {
	n.setPlan(func(from string, r *http.Request, _ uint64, attempt int) Fault {
		r = r.WithContext(r.Context()) // a copy
		r.RemoteAddr = from
		return fn(r, attempt)
	})
}

// Quiet ends the faults: requests from now on meet none. What is delayed still comes later, second copies of requests too.
func (n *Network) Quiet() { n.setPlan(nil) }

func (n *Network) setPlan(p plan) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plan = p
}

// Counts returns what happened so far. A test that means to meet a fault fails where it is 0.
func (n *Network) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.counts
	c.Faults = make(map[FaultKind]int)
	for _, k := range FaultKinds() {
		c.Faults[k] = n.counts.Faults[k]
	}
	return c
}

// Close breaks all connections, and waits until the handlers have returned. Requests fail from then on.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	n.cancel()
	for l := range n.links {
		l.reset()
	}
	n.mu.Unlock()
	n.tasks.Wait()
}

// start runs fn as a task that Close waits for, unless the network is closed.
func (n *Network) start(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.tasks.Go(fn)
	}
}

// sleep lets d pass, and tells whether the network is still there.
func (n *Network) sleep(d time.Duration) bool {
	if d <= 0 {
		return n.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// count notes what happened.
func (n *Network) count(f func(*Counts)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.counts)
}

// hostName is how a host is known: in lower case, without the port that its scheme implies.
func hostName(authority string) string {
	name := strings.ToLower(authority)
	for _, port := range []string{":80", ":443"} {
		name = strings.TrimSuffix(name, port)
	}
	return name
}
