package chttp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// courier delivers messages: attempt after attempt, one at a time for each, until an answer or the message's end (C2, C6).
type courier struct {
	node   *Node
	acks   *acknowledger
	ctx    context.Context // of the attempts for parcels
	cancel context.CancelCauseFunc

	mu           sync.Mutex // guards what follows
	peers        map[string]*peer
	destinations map[string]*destination
	timers       map[*execution]*time.Timer // parcels in back-off
}

func newCourier(n *Node) *courier {
	c := &courier{
		node: n, peers: make(map[string]*peer), destinations: make(map[string]*destination), timers: make(map[*execution]*time.Timer),
	}
	c.acks = newAcknowledger(c)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// message is a message on its way out.
type message struct {
	id      ID
	method  string
	url     *url.URL
	header  http.Header
	body    []byte
	sent    int64 // Unix milliseconds
	until   int64
	dest    string // Policy.Destination
	info    Info
	derived bool // the id is ours (C1)
	minimal bool // Prefer: return=minimal
	bare    bool // not a message of its own: an acknowledgement

	left     bool  // a byte of some attempt may have left (C6)
	earlier  bool  // attempts may have been made whose at is not known here: an acknowledgement names until (A5)
	before   bool  // left, as it was before the last attempt
	at       int64 // the largest at of the attempts made here, Unix seconds
	tries    int
	failed   error  // why the last attempt got no answer, if it got none
	unmarked int    // answers without Certified from a certified peer (C4)
	resource string // the message's URL at the peer, once known
}

// end is how a message ended.
type end struct {
	state    store.State
	response *record.Response // of an answered or rejected one
	err      error            // of every other
	ack      *owedAck         // once that is durable
}

// next is what an attempt leads to: the end, or another attempt after a while.
type next struct {
	end   *end
	after time.Duration
	sign  sign
}

// certify tells whether the message is certified: reading is not, nor is acknowledging.
func (m *message) certify() bool {
	return !m.bare && m.method != http.MethodGet && m.method != http.MethodHead
}

// target names where the message goes, for people: without the query, which may hold a secret.
func (m *message) target() string { return m.method + " " + m.authority() + m.url.Path }

func (m *message) authority() string { return m.url.Scheme + "://" + m.url.Host }

// destinationOf asks what holds for the message's destination now.
func (c *courier) destinationOf(ctx context.Context, m *message) (*destination, *Destination, error) {
	var o Destination
	if c.node.opt.Destination != nil {
		req, err := m.request(context.WithValue(ctx, infoKey{}, m.info))
		if err != nil {
			return nil, nil, err
		}
		if o, err = c.node.opt.Destination(req.Context(), req); err != nil {
			return nil, nil, fmt.Errorf("Options.Destination: %w", err)
		}
	}
	name := firstOf(m.dest, o.Name, m.url.Host)
	c.mu.Lock()
	d := c.destinations[name]
	if d == nil {
		d = &destination{name: name}
		c.destinations[name] = d
	}
	c.mu.Unlock()
	d.configure(&o)
	return d, &o, nil
}

type infoKey struct{}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// deliver makes attempts until the message ends or ctx does.
func (c *courier) deliver(ctx context.Context, m *message) *end {
	if err := pause(ctx, c.node.until(time.UnixMilli(m.sent))); err != nil {
		return m.broken(err)
	}
	for {
		if e := m.expired(c.node.now()); e != nil {
			return e
		}
		n, err := c.once(ctx, m)
		switch {
		case err != nil:
			return m.broken(err)
		case n.end != nil:
			return n.end
		}
		if err := pause(ctx, min(n.after, c.node.until(m.last())+time.Millisecond)); err != nil {
			return m.broken(err)
		}
	}
}

// pause waits for d, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ending(ctx)
	}
}

// once makes one attempt, when there is a place for it. Its error is ctx's.
func (c *courier) once(ctx context.Context, m *message) (next, error) {
	d, o, err := c.destinationOf(ctx, m)
	if err != nil {
		return c.unsent(m, err), nil
	}
	if c.peerOf(m, o).paused() != "" {
		return next{after: pausedWait}, nil
	}
	switch err := d.acquire(ctx, time.Now().Add(c.node.until(m.last()))); {
	case ctx.Err() != nil:
		if err == nil {
			d.release(nothing)
		}
		return next{}, ending(ctx)
	case err != nil:
		return next{end: m.broken(m.timeUp())}, nil
	}
	n := c.attempt(ctx, m, o)
	d.release(n.sign)
	if ctx.Err() != nil && n.end == nil {
		return next{}, ending(ctx)
	}
	return n, nil
}

// pausedWait is how long a message of a paused destination waits before it looks again.
const pausedWait = 10 * time.Second

// unsent is an attempt that the node's own configuration prevented.
func (c *courier) unsent(m *message, err error) next {
	m.tries++
	c.node.opt.Logger.Warn("chttp: an attempt could not be made", "id", m.id, "to", m.target(), "err", err)
	return next{after: backoff(m.tries)}
}

// broken is the end that ctx makes of a message whose answer it did not wait for.
func (m *message) broken(err error) *end {
	if m.left {
		return &end{state: store.Unknown, err: unknownOutcome(err)}
	}
	return &end{state: store.Undelivered, err: notDone(err)}
}

var errUntil = errors.New("no answer came before the time until which it was to be tried")

// last is until, as a time.
func (m *message) last() time.Time { return time.UnixMilli(m.until) }

// expired ends a message whose until has passed (C6).
func (m *message) expired(now time.Time) *end {
	if now.UnixMilli() <= m.until {
		return nil
	}
	return m.broken(m.timeUp())
}

// timeUp says that until has passed, and why the last attempt got no answer.
func (m *message) timeUp() error {
	if m.failed == nil {
		return errUntil
	}
	return fmt.Errorf("%w; the last attempt: %w", errUntil, m.failed)
}

// parcel is a sent message in memory: an execution that runs no user code.
type parcel struct {
	message *message
}

// post delivers the parcel x, which is resident, as soon as its destination has a place.
func (c *courier) post(x *execution) {
	if x.parcel.message == nil {
		m, err := x.outgoing()
		if err != nil {
			x.halt(&stop{cause: err, park: err.Error()})
			return
		}
		x.parcel.message = m
	}
	if e := x.parcel.message.expired(c.node.now()); e != nil {
		x.delivered(e)
		return
	}
	d, _, err := c.destinationOf(c.ctx, x.parcel.message)
	if err != nil {
		c.unposted(x, err)
		return
	}
	if down, open := d.broken(); open && c.crowded() { // Its place is wanted by messages to peers that answer.
		// Away for about as long again as the peer has been: after a short outage, back soon.
		away := min(max(down, longWait), backoffMost/2)
		x.halt(&stop{cause: errEvicted, evict: c.node.now().Add(away + rand.N(away)).UnixMilli()})
		return
	}
	d.post(x)
}

// unposted tries later what the node's own configuration prevented.
func (c *courier) unposted(x *execution, err error) {
	m := x.parcel.message
	if e := m.expired(c.node.now()); e != nil {
		x.delivered(e)
		return
	}
	c.later(x, c.unsent(m, err).after)
}

// work makes one attempt for the parcel x, for which d has given a place.
func (c *courier) work(d *destination, x *execution) {
	if !c.node.task() {
		d.release(nothing)
		return
	}
	defer c.node.tasks.Done()
	m := x.parcel.message
	_, o, err := c.destinationOf(c.ctx, m) // By another name now, it still goes by the place that it has.
	if err != nil {
		d.release(nothing)
		c.unposted(x, err)
		return
	}
	if e := m.expired(c.node.now()); e != nil {
		d.release(nothing)
		x.delivered(e)
		return
	}
	if err := d.pace(c.ctx, time.Now().Add(c.node.until(m.last()))); err != nil {
		if c.ctx.Err() == nil { // Its turn would come too late: it ends then.
			c.later(x, c.node.until(m.last())+time.Millisecond)
		}
		return
	}
	n := next{after: pausedWait}
	if c.peerOf(m, o).paused() == "" {
		n = c.attempt(c.ctx, m, o)
	}
	d.release(n.sign)
	switch {
	case n.end != nil:
		x.delivered(n.end)
	case c.ctx.Err() == nil:
		c.later(x, n.after)
	}
}

// later posts the parcel x again after a while; a long one it spends out of memory.
func (c *courier) later(x *execution, wait time.Duration) {
	due := c.node.now().Add(wait)
	if until := time.UnixMilli(x.parcel.message.until); due.After(until) {
		due, wait = until.Add(time.Millisecond), c.node.until(until)+time.Millisecond
	}
	if wait > longWait && c.crowded() {
		x.halt(&stop{cause: errEvicted, evict: due.UnixMilli()})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.timers[x] = time.AfterFunc(wait, func() {
		c.mu.Lock()
		delete(c.timers, x)
		c.mu.Unlock()
		if c.ctx.Err() == nil {
			c.post(x)
		}
	})
}

// longWait is what a parcel waits out of memory when others want its place.
const longWait = 2 * time.Second

func (c *courier) crowded() bool {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.node.parcels >= max(1, c.node.opt.MaxResident/2)
}

// stop ends the attempts for parcels; their messages stay in the store.
func (c *courier) stop() {
	c.cancel(errStopped)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.timers {
		t.Stop()
	}
	clear(c.timers)
	for _, d := range c.destinations {
		d.mu.Lock()
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
		d.mu.Unlock()
	}
}
