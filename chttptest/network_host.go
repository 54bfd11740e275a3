package chttptest

import (
	"context"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Between two hosts that are parted, a connection attempt takes so long to fail, and ports of clients are numbered from here.
const (
	dialTimeout = 30 * time.Second // as http.DefaultTransport
	firstPort   = 49152
	ports       = 65536 - firstPort
)

// host is a server on the network.
type host struct {
	network *Network
	name    string
	handler http.Handler // guarded by network.mu
	arrived chan net.Conn
}

// newHost makes a host and lets it listen; called with n.mu held.
func (n *Network) newHost(name string, h http.Handler) *host {
	x := &host{network: n, name: name, handler: h, arrived: make(chan net.Conn)}
	server := &http.Server{Handler: x, ConnContext: n.connContext, ConnState: n.connState}
	n.tasks.Go(func() { _ = server.Serve(x) }) // until Accept fails
	return x
}

// ServeHTTP lets the handler of the moment answer.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.network.tasks.Add(1) // Its connection's task ends where it hijacks it.
	defer h.network.tasks.Done()
	h.network.mu.Lock()
	now := h.handler
	h.network.mu.Unlock()
	now.ServeHTTP(w, r)
}

// connContext returns the context of what a server does for a connection. net/http itself would not notice that the connection breaks before
// a handler has read its request's body.
func (n *Network) connContext(ctx context.Context, c net.Conn) context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := c.(*conn).link
	ctx, l.cancel = context.WithCancel(ctx)
	if l.broken {
		l.cancel()
	}
	return ctx
}

// connState lets Close wait for servers' connections: net/http closes some of them half a second after the last answer.
func (n *Network) connState(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		n.tasks.Add(1) // while the task of its host goes on
	case http.StateClosed, http.StateHijacked:
		n.tasks.Done()
	}
}

// Accept returns the next connection, until the network is closed.
func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.arrived:
		return c, nil
	case <-h.network.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close does nothing: hosts end with their network.
func (h *host) Close() error { return nil }

// Addr is the host's.
func (h *host) Addr() net.Addr { return address{h.name, 80} }

// Down takes a host off the network, as when its process dies: connections from and to it break, and new ones are refused, until Up. The
// contexts of the requests that its handler works on are cancelled. What is delayed on its way to the host still arrives, if the host is
// up by then.
func (n *Network) Down(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := hostName(host)
	n.down[name] = true
	for l := range n.links {
		if l.from == name || l.to == name {
			l.reset()
		}
	}
}

// Up brings a host back.
func (n *Network) Up(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.down, hostName(host))
}

// Partition lets nothing through between two hosts, until Heal. Nobody is told of it: what they send each other arrives when it is healed,
// as with TCP; a new connection is tried for 30 s.
func (n *Network) Partition(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parted[pair(hostName(a), hostName(b))] = true
	n.holdLinks()
}

// Heal ends what Partition began between two hosts.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.parted, pair(hostName(a), hostName(b)))
	n.holdLinks()
	close(n.healed)
	n.healed = make(chan struct{})
}

// holdLinks stops and resumes connections as the partitions say; called with n.mu held.
func (n *Network) holdLinks() {
	for l := range n.links {
		l.hold(n.parted[pair(l.from, l.to)])
	}
}

// pair names two hosts, in whatever order.
func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// route is where a connection leads. Under way is what has left its host already, whatever became of that since.
type route struct {
	from, to string
	underway bool
}

// dial connects two hosts. The error is what package net would say of a connection that could not be made.
func (n *Network) dial(ctx context.Context, r route) (*conn, error) {
	client, server, err := n.connect(ctx, r)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	h := n.hosts[r.to]
	n.mu.Unlock()
	select {
	case h.arrived <- server:
		return client, nil
	case <-n.ctx.Done():
		client.Close()
		server.Close()
		return nil, dialError(r.to, net.ErrClosed)
	}
}

// connect makes a connection between two hosts that can reach each other. Nobody has accepted it yet.
func (n *Network) connect(ctx context.Context, r route) (client, server *conn, err error) {
	late := time.NewTimer(dialTimeout)
	defer late.Stop()
	for {
		client, server, wait, err := n.tryConnect(r)
		if wait == nil {
			return client, server, err
		}
		select {
		case <-wait:
		case <-late.C:
			return nil, nil, dialError(r.to, os.ErrDeadlineExceeded)
		case <-ctx.Done():
			return nil, nil, dialError(r.to, ctx.Err())
		case <-n.ctx.Done():
			return nil, nil, dialError(r.to, net.ErrClosed)
		}
	}
}

// tryConnect is connect, without waiting: it returns a channel where nobody answers, to try again when it is closed.
func (n *Network) tryConnect(r route) (client, server *conn, wait <-chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, nil, nil, dialError(r.to, net.ErrClosed)
	case n.hosts[r.to] == nil:
		return nil, nil, nil, dialError(r.to, &net.DNSError{Err: "no such host", Name: r.to, IsNotFound: true})
	case n.down[r.from] && !r.underway:
		return nil, nil, nil, dialError(r.to, os.NewSyscallError("connect", syscall.ENETUNREACH))
	case n.parted[pair(r.from, r.to)]:
		return nil, nil, n.healed, nil
	case n.down[r.to]:
		return nil, nil, nil, refused(r.to)
	}
	client, server = newLink(n, r.from, r.to, firstPort+n.ports%ports)
	n.ports++
	n.links[client.link] = struct{}{}
	return client, server, nil, nil
}

// forget forgets a connection whose ends are both closed.
func (n *Network) forget(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
}

func refused(to string) error {
	return dialError(to, os.NewSyscallError("connect", syscall.ECONNREFUSED))
}

func dialError(to string, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: address{to, 80}, Err: err}
}
