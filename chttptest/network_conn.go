package chttptest

import (
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// window is how many bytes a direction of a connection holds that nobody has read: who writes more waits, as with TCP.
const window = 64 << 10

// stream is one direction of a connection.
type stream struct {
	mu      sync.Mutex // guards what follows
	changed sync.Cond
	buf     []byte
	read    int   // bytes of buf that were read
	end     error // what comes behind buf, and why nothing can be written any more: io.EOF, or a reset
	left    bool  // the reader has closed its end
	held    bool  // by a partition: nothing comes through, the end neither
	readBy  deadline
	writeBy deadline
}

// deadline is a time after which reads, or writes, fail.
type deadline struct {
	timer *time.Timer
	sets  int
	past  bool
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.left:
			return 0, net.ErrClosed
		case s.readBy.past:
			return 0, os.ErrDeadlineExceeded
		case !s.held && s.read < len(s.buf):
			n := copy(p, s.buf[s.read:])
			s.read += n
			if s.read == len(s.buf) {
				s.buf, s.read = s.buf[:0], 0
			}
			s.changed.Broadcast()
			return n, nil
		case !s.held && s.end != nil:
			return 0, s.end
		}
		s.changed.Wait()
	}
}

func (s *stream) Write(p []byte) (written int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		room := window - (len(s.buf) - s.read)
		switch {
		case s.end == io.EOF:
			return written, net.ErrClosed
		case s.end != nil:
			return written, s.end
		case s.left && !s.held:
			return written, syscall.EPIPE
		case s.writeBy.past:
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		case room > 0:
			n := min(room, len(p))
			if len(s.buf)+n > cap(s.buf) {
				s.buf, s.read = append(s.buf[:0], s.buf[s.read:]...), 0
			}
			s.buf = append(s.buf, p[:n]...)
			p, written = p[n:], written+n
			s.changed.Broadcast()
			continue
		}
		s.changed.Wait()
	}
}

// update changes s and wakes whoever waits.
func (s *stream) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

// finish ends s behind what was written.
func (s *stream) finish(end error) {
	s.update(func() {
		if s.end == nil {
			s.end = end
		}
	})
}

// reset ends s at once, with what was on the way.
func (s *stream) reset() {
	s.update(func() { s.buf, s.read, s.end, s.held = nil, 0, syscall.ECONNRESET, false })
}

// set sets d, a deadline of s.
func (s *stream) set(d *deadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.sets++
	d.past = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.past = true
		s.changed.Broadcast()
		return
	}
	this := d.sets
	d.timer = time.AfterFunc(wait, func() {
		s.update(func() { d.past = d.past || d.sets == this })
	})
}

// link is a connection between two hosts.
type link struct {
	network  *Network
	from, to string
	out      *stream // what the client writes
	back     *stream // what the server writes
	open     atomic.Int32

	broken bool               // guarded by network.mu
	cancel context.CancelFunc // guarded by network.mu; nil before the server has the connection
}

// newLink makes a connection and returns its ends.
func newLink(n *Network, from, to string, port int) (client, server *conn) {
	l := &link{network: n, from: from, to: to, out: newStream(), back: newStream()}
	l.open.Store(2)
	near, far := address{from, port}, address{to, 80}
	return &conn{link: l, in: l.back, out: l.out, local: near, remote: far}, &conn{link: l, in: l.out, out: l.back, local: far, remote: near}
}

// reset breaks the connection, as seen from both of its ends; called with network.mu held.
func (l *link) reset() {
	l.broken = true
	if l.cancel != nil {
		l.cancel()
	}
	l.out.reset()
	l.back.reset()
}

// hold stops the connection, or lets it go on.
func (l *link) hold(held bool) {
	l.out.update(func() { l.out.held = held })
	l.back.update(func() { l.back.held = held })
}

// conn is an end of a link, and a net.Conn with the errors of TCP.
type conn struct {
	link          *link
	in, out       *stream
	local, remote address
	closed        atomic.Bool
}

// Read reads what the other end wrote.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	return n, c.fault("read", err)
}

// Write writes; it waits while the other end reads too slowly.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	return n, c.fault("write", err)
}

// Close ends the connection. The other end reads what was written before.
func (c *conn) Close() error {
	c.finish(io.EOF)
	return nil
}

// reset ends the connection with an error. The other end reads what was written before.
func (c *conn) reset() { c.finish(syscall.ECONNRESET) }

func (c *conn) finish(end error) {
	if c.closed.Swap(true) {
		return
	}
	c.out.finish(end)
	c.in.update(func() { c.in.left = true })
	if c.link.open.Add(-1) == 0 {
		c.link.network.forget(c.link)
	}
}

// LocalAddr is this end's.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	c.in.set(&c.in.readBy, t)
	c.out.set(&c.out.writeBy, t)
	return nil
}

// SetReadDeadline sets when Read fails.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.readBy, t)
	return nil
}

// SetWriteDeadline sets when Write fails.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.writeBy, t)
	return nil
}

// fault makes of err what package net would.
func (c *conn) fault(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// address is a host's, with a port.
type address struct {
	host string
	port int
}

// Network is what package net calls TCP.
func (address) Network() string { return "tcp" }

// String is host:port.
func (a address) String() string {
	host := a.host
	if host == "" {
		host = nobody
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host // names its port
	}
	return net.JoinHostPort(host, strconv.Itoa(a.port))
}

// nobody stands in addresses of clients that have no name.
const nobody = "client.invalid"
