package chttp

import (
	"errors"
	"fmt"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// stop is why a run ends before its function does.
type stop struct {
	cause   error  // what its context says
	park    string // park it, for this reason
	because string // the reason for programs
	crash   string // it crashed like this
	evict   int64  // put it out of memory until then
	discard bool   // nothing of it is ours any more
	refused bool   // the store refused what it recorded
	news    *event // for the watchers
}

// halt stops x: its context ends, its operations unwind, and nothing more is recorded for it. The first reason counts, but that
// nothing of x is ours counts always.
func (x *execution) halt(s *stop) {
	x.mu.Lock()
	x.haltLocked(s)
}

// haltLocked is halt; called with x.mu held, which it releases.
func (x *execution) haltLocked(s *stop) {
	if x.stop != nil && (!s.discard || x.stop.discard) || x.leaving && !s.discard || x.left && (!s.discard || x.stored) {
		x.mu.Unlock()
		return
	}
	if x.stop == nil {
		close(x.stopped)
	}
	x.stop = s
	end, active := x.end, x.active
	x.mu.Unlock()
	if end != nil {
		end(s.cause)
	}
	if !active {
		x.settle()
	}
}

// settle does what the reason for stopping asks for, once no user code runs any more.
func (x *execution) settle() {
	x.mu.Lock()
	s := x.stop
	now := x.node.now().UnixMilli()
	if x.left || x.settled && !s.discard {
		x.mu.Unlock()
		return
	}
	x.settled = true
	switch {
	case s.discard:
		x.depart(s.news)
		return
	case s.park != "":
		x.shelve(s)
	case s.crash != "":
		x.crash(s.crash, now)
	case s.evict != 0:
		x.state, x.due = store.Waiting, s.evict
		x.news = nil
	default: // The node stops. What was noted is committed at the end, unless nothing tells anyone that it exists.
		if x.version == 0 && x.reg.server != nil {
			x.forget = true
			x.depart(&event{kind: refused, err: s.cause})
			return
		}
		x.depart(&event{kind: halted, err: s.cause})
		return
	}
	x.leaving = true
	x.touch()
	g := x.group
	x.mu.Unlock()
	x.node.journal.want(g)
}

// crash notes that a run crashed; called with x.mu held.
func (x *execution) crash(how string, now int64) {
	x.crashes++
	x.node.opt.Logger.Error("chttp: a run crashed", "function", x.reg.name, "id", x.key.ID, "crashes", x.crashes, "how", how)
	x.chunk = record.AppendEntry(x.chunk, &record.Entry{Phase: record.Crash, Data: []byte(how)})
	if x.crashes >= x.reg.attempts {
		t := record.Tail{Why: fmt.Sprintf("crashed %d times, at last: %s", x.crashes, how), Ended: now}
		x.state, x.due, x.tail = store.Parked, 0, t.Append(nil)
		x.news = &event{kind: ended, state: store.Parked, tail: &t}
		return
	}
	x.state, x.due = store.Waiting, now+backoff(x.crashes+crashPause).Milliseconds()
	x.news = &event{kind: crashed, err: errors.New(how)}
}

// depart takes x out of memory at once; called with x.mu held, which it releases.
func (x *execution) depart(news *event) {
	x.left = true
	x.mu.Unlock()
	x.release(news)
}

// finish notes x's outcome, unless x is stopping.
func (x *execution) finish(r *result) {
	x.mu.Lock()
	if x.stop != nil {
		x.mu.Unlock()
		x.settle()
		return
	}
	if r.notNow {
		x.forget = true
		x.news = &event{kind: notNow, tail: r.tail}
		if x.version == 0 { // Nobody was told of it and nothing has left: it never was.
			x.depart(x.news)
			return
		}
	} else {
		r.tail.Ended = x.node.now().UnixMilli()
		x.state, x.due, x.bound, x.tail = r.state, 0, r.bound, r.tail.Append(nil)
		x.news = &event{kind: ended, state: r.state, tail: r.tail}
		x.children = append(x.children, r.children...)
		x.acks = append(x.acks, r.acks...)
	}
	x.leaving = true
	x.touch()
	g := x.group
	x.mu.Unlock()
	x.node.journal.want(g)
}

// result is what a run ended with.
type result struct {
	state  store.State
	tail   *record.Tail
	bound  int64
	notNow bool // S7

	children []child   // that begin with it
	acks     []owedAck // sent once it is durable
}
