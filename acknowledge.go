package chttp

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// acknowledger tells peers that outcomes are kept: with the next request to the same place, or, when none is due soon, in bulk (A1).
// What it holds is in memory only: an acknowledgement that is lost harms nothing (A4).
type acknowledger struct {
	courier *courier
	wake    chan struct{}

	mu   sync.Mutex // guards what follows
	owed map[ackTarget][]owedAck
	n    int
}

// ackTarget is where acknowledgements can go together: one authority, one principal there, one handler.
type ackTarget struct {
	authority string
	dest      string
	path      string
}

// owedAck is an acknowledgement to be sent once the outcome is durable.
type owedAck struct {
	target   ackTarget
	id       ID
	at       int64 // Unix seconds
	resource string
	tries    int
	since    time.Time
}

// maxAckBytes bounds the ids in one field: proxies commonly take 8 KiB of header in all.
const maxAckBytes = 3 << 10

// ackTries is how often an acknowledgement in bulk is tried.
const ackTries = 3

func newAcknowledger(c *courier) *acknowledger {
	return &acknowledger{courier: c, wake: make(chan struct{}, 1), owed: make(map[ackTarget][]owedAck)}
}

// owe returns the acknowledgement of m's outcome. Its at is no earlier than any that may have been sent for the id (A5).
func (c *courier) owe(m *message) *owedAck {
	a := &owedAck{target: m.ackTarget(), id: m.id, at: m.at, resource: m.resource}
	if m.earlier {
		a.at = m.until / 1000
	}
	return a
}

func (m *message) ackTarget() ackTarget {
	return ackTarget{m.authority(), m.dest, m.url.EscapedPath()}
}

// add takes an acknowledgement whose outcome, and what goes on from it, is durable.
func (k *acknowledger) add(a owedAck) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n >= maxAcksOwed {
		return // A4
	}
	if a.since.IsZero() {
		a.since = time.Now()
	}
	k.owed[a.target] = append(k.owed[a.target], a)
	k.n++
	if k.n == 1 {
		signal(k.wake)
	}
}

// ride takes acknowledgements that the next attempt of m can carry.
func (k *acknowledger) ride(m *message, o *Destination) []owedAck {
	if !m.certify() || o.Plain {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.owed[m.ackTarget()]
	if len(list) == 0 {
		return nil
	}
	n, size := 0, 0
	for n < min(len(list), maxAcks) && size < maxAckBytes {
		size += len(list[n].id)
		n++
	}
	k.keep(m.ackTarget(), list[n:], n)
	return list[:n:n]
}

// acksField is the value of Certified-Ack for what rides.
func acksField(riding []owedAck) string {
	acks := make([]ack, len(riding))
	for i, a := range riding {
		acks[i] = ack{ID: a.id, At: a.at}
	}
	return formatAcks(acks)
}

// keep leaves rest of what was owed to t, n having been taken; called with k.mu held.
func (k *acknowledger) keep(t ackTarget, rest []owedAck, n int) {
	k.n -= n
	if len(rest) == 0 {
		delete(k.owed, t)
	} else {
		k.owed[t] = rest
	}
}

// rode takes back the acknowledgements of an attempt that did not come to the peer's handler, as far as its answer tells.
func (k *acknowledger) rode(riding []owedAck, v *verdict) {
	if v != nil && (v.State == stateDone || v.State == stateRunning) {
		return
	}
	for _, a := range riding {
		k.add(a)
	}
}

// run sends in bulk what found no request to ride on, until ctx ends.
func (k *acknowledger) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		for k.waiting() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(ackDelay):
			}
			k.flush(ctx, time.Now().Add(-ackDelay))
		}
	}
}

func (k *acknowledger) waiting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n > 0
}

// last sends what is owed when the node stops, for a short while.
func (k *acknowledger) last() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownAcks)
	defer cancel()
	k.flush(ctx, time.Now())
}

// flush sends what has waited since before, to several peers at once: one that hangs keeps no other waiting for long.
func (k *acknowledger) flush(ctx context.Context, before time.Time) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, defaultConcurrency)
	for _, list := range k.ripe(before) {
		places <- struct{}{}
		wg.Go(func() {
			k.sendAll(ctx, list)
			<-places
		})
	}
}

// ackTimeout is how long all that is sent in one go may take.
const ackTimeout = 5 * time.Second

// sendAll sends list, which is of one authority and principal, and keeps for another time what was not answered.
func (k *acknowledger) sendAll(ctx context.Context, list []owedAck) {
	for len(list) > 0 {
		n := min(len(list), maxBulkAcks)
		if ctx.Err() != nil || !k.send(ctx, list[:n]) {
			break
		}
		list = list[n:]
	}
	for _, a := range list {
		if a.tries++; a.tries < ackTries {
			a.since = time.Now()
			k.add(a)
		}
	}
}

// ripe takes what has waited since before and has an URL, by authority and principal. What has no URL can only ride.
func (k *acknowledger) ripe(before time.Time) map[ackTarget][]owedAck {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[ackTarget][]owedAck)
	for t, list := range k.owed {
		if list[0].since.After(before) {
			continue
		}
		k.keep(t, nil, len(list))
		to := ackTarget{authority: t.authority, dest: t.dest}
		for _, a := range list {
			if a.resource != "" {
				all[to] = append(all[to], a)
			}
		}
	}
	return all
}

// send acknowledges list, which is of one authority, with one request. It is false when that was not answered.
func (k *acknowledger) send(ctx context.Context, list []owedAck) bool {
	base, err := url.Parse(list[0].target.authority)
	if err != nil {
		return true
	}
	m := &message{method: http.MethodDelete, bare: true, dest: list[0].target.dest, header: http.Header{}}
	if len(list) == 1 {
		if m.url, err = base.Parse(list[0].resource); err != nil {
			return true
		}
		m.header.Set(headerCertified, stamps{At: list[0].at}.String())
	} else {
		var bulk bulkAcks
		for _, a := range list {
			bulk.Acks = append(bulk.Acks, bulkAck{Message: a.resource, At: a.at})
		}
		m.method, m.url = http.MethodPost, base.ResolveReference(&url.URL{Path: pathAcks})
		m.header.Set(headerContentType, typeJSON)
		if m.body, err = json.Marshal(bulk); err != nil {
			return true
		}
	}
	_, o, err := k.courier.destinationOf(ctx, m)
	if err != nil {
		return false
	}
	p := k.courier.peerOf(m, o)
	if p.paused() != "" {
		return false
	}
	a := k.courier.exchange(ctx, m, o, p, nil)
	return a.response != nil
}
