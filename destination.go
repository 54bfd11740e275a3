package chttp

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// destination is where messages of one name go: its places, its rate, and its breaker. While it does not answer, one message at a time
// tries it, with back-off; the others wait here. When it answers again, they go.
type destination struct {
	name string

	mu      sync.Mutex // guards what follows
	limit   *rate.Limiter
	places  int
	taken   int
	queue   []ticket
	failed  int       // connections that failed in a row
	broke   time.Time // when the breaker opened, if it is open
	probing bool
	retryAt time.Time
	timer   *time.Timer
}

// ticket is somebody who waits for a place: a channel to close, or a parcel to deliver.
type ticket struct {
	c chan struct{}
	x *execution
}

// breakAfter is how many connections in a row must fail before the breaker opens, breakMost its longest pause.
const (
	breakAfter = 3
	breakMost  = 5 * time.Second
)

// configure takes over what Options.Destination says now.
func (d *destination) configure(o *Destination) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places = o.Concurrency
	if d.places <= 0 {
		d.places = defaultConcurrency
	}
	switch {
	case o.Rate <= 0:
		d.limit = nil
	case d.limit == nil:
		d.limit = rate.NewLimiter(rate.Limit(o.Rate), max(1, int(o.Rate)))
	case d.limit.Limit() != rate.Limit(o.Rate):
		d.limit.SetLimit(rate.Limit(o.Rate))
		d.limit.SetBurst(max(1, int(o.Rate)))
	}
}

// free takes a place if one is free now; called with d.mu held.
func (d *destination) free() bool {
	if d.taken >= d.places {
		return false
	}
	if d.failed >= breakAfter {
		if wait := time.Until(d.retryAt); d.probing || wait > 0 {
			if d.timer == nil && !d.probing {
				d.timer = time.AfterFunc(wait, d.retry)
			}
			return false
		}
		d.probing = true
	}
	d.taken++
	return true
}

// retry lets the next try a destination that did not answer.
func (d *destination) retry() {
	d.mu.Lock()
	d.timer = nil
	next := d.grant()
	d.mu.Unlock()
	d.run(next)
}

// grant gives free places to those who wait, in their order; called with d.mu held. The parcels among them are returned, to be run.
func (d *destination) grant() (parcels []*execution) {
	for len(d.queue) > 0 && d.free() {
		t := d.queue[0]
		d.queue[0] = ticket{}
		d.queue = d.queue[1:]
		if t.c != nil {
			close(t.c)
		} else {
			parcels = append(parcels, t.x)
		}
	}
	return parcels
}

// run makes the attempts of parcels, each in a goroutine that the node's tasks count.
func (d *destination) run(parcels []*execution) {
	for _, x := range parcels {
		go x.node.courier.work(d, x)
	}
}

// acquire waits for a place, and for the rate, until ctx ends or the time has come after which nothing is sent (C2).
func (d *destination) acquire(ctx context.Context, last time.Time) error {
	d.mu.Lock()
	if len(d.queue) == 0 && d.free() {
		d.mu.Unlock()
		return d.pace(ctx, last)
	}
	t := ticket{c: make(chan struct{})}
	d.queue = append(d.queue, t)
	next := d.grant()
	d.mu.Unlock()
	d.run(next)
	timer := time.NewTimer(time.Until(last))
	defer timer.Stop()
	err := errUntil
	select {
	case <-t.c:
		return d.pace(ctx, last)
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	d.mu.Lock()
	for i := range d.queue {
		if d.queue[i].c == t.c {
			d.queue = append(d.queue[:i], d.queue[i+1:]...)
			d.mu.Unlock()
			return err
		}
	}
	d.mu.Unlock()
	d.release(nothing)
	return err
}

// pace waits for the rate; on an error, which also says that its turn would come after last, the place is given back.
func (d *destination) pace(ctx context.Context, last time.Time) error {
	d.mu.Lock()
	l := d.limit
	d.mu.Unlock()
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, last)
	defer cancel()
	if err := l.Wait(ctx); err != nil {
		d.release(nothing)
		return err
	}
	return nil
}

// broken tells whether the breaker is open and lets nobody try just now, and for how long it has been open.
func (d *destination) broken() (down time.Duration, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed < breakAfter || !d.probing && !time.Now().Before(d.retryAt) {
		return 0, false
	}
	return time.Since(d.broke), true
}

// post queues the parcel x for a place.
func (d *destination) post(x *execution) {
	d.mu.Lock()
	d.queue = append(d.queue, ticket{x: x})
	next := d.grant()
	d.mu.Unlock()
	d.run(next)
}

// sign is what an attempt tells of the destination.
type sign int

const (
	nothing sign = iota
	answers
	silent // no connection, or it broke before the answer was there
)

// release gives a place back, with what the attempt told.
func (d *destination) release(s sign) {
	d.mu.Lock()
	d.taken--
	switch s {
	case answers:
		d.failed = 0
		d.probing = false
	case silent:
		d.failed++
		d.probing = false
		if d.failed == breakAfter {
			d.broke = time.Now()
		}
		if d.failed >= breakAfter {
			d.retryAt = time.Now().Add(min(backoff(min(d.failed-breakAfter, 6)), breakMost))
		}
	default:
		d.probing = false
	}
	next := d.grant()
	d.mu.Unlock()
	d.run(next)
}
