package conform

import (
	"net/http"
	"time"
)

// messageChecks are about new messages and those that are done.
var messageChecks = []check{
	{"S4", "a new id runs the handler, and its answer is no replay", needCertified, func(t *trial) {
		t.once(func() { t.first(t.message()) })
	}},
	{"S4", "what was answered is durable: killed right after, it is answered so again", needCertified | needRestart, func(t *trial) {
		q := t.message()
		a := t.first(q)
		t.later = func() { t.kept(q, a) }
	}},
	{"S6", "a copy gets the recorded answer and runs nothing", needCertified, func(t *trial) {
		t.once(func() {
			q := t.message()
			a := t.first(q)
			t.replay(q, a)
			t.replay(q.clone(), a)
		})
	}},
	{"S6", "an error is an outcome as well", needCertified, func(t *trial) {
		q := t.to(t.opt.Error)
		a := t.answered(q)
		if !t.over() && a.status != http.StatusInternalServerError {
			t.lack("there is no error: %s answers %d", t.opt.Error, a.status)
			return
		}
		if !t.over() && !a.is(stateDone) {
			t.fail("a handler that answers 500: got %s, want state=done", a)
		}
		t.replay(q, a)
	}},
	{"S6", "after a kill, a copy gets it still", needCertified | needRestart, func(t *trial) {
		q := t.message()
		a := t.first(q)
		t.later = func() { t.replay(q, a) }
	}},
	{"S6", "what was accepted is finished after a kill, without its client", needCertified | needSlow | needRestart, func(t *trial) {
		q, url := t.running()
		t.limit = time.Time{}
		t.later = func() {
			limit := time.Now().Add(t.opt.Timeout)
			get := &request{method: http.MethodGet, url: url}
			a := t.answered(get)
			for ; !t.over() && a.is(stateRunning) && time.Now().Before(limit); a = t.answered(get) {
				t.pause(100 * time.Millisecond)
			}
			if !t.over() && !a.is(stateDone) {
				t.fail("the message URL answers %s, want the outcome", a)
			}
			t.kept(q, a)
		}
	}},
	{"S7", "a handler's 503 is passed on with none, and forgotten", needCertified, func(t *trial) {
		q := t.to(t.opt.Busy)
		for range 2 {
			a := t.answered(q)
			switch {
			case t.over():
			case a.status != http.StatusServiceUnavailable && !a.is(stateDone) || a.status < http.StatusBadRequest:
				t.lack("there is nothing busy: %s answers %d", t.opt.Busy, a.status)
			case a.status != http.StatusServiceUnavailable || a.mark.state != stateNone || a.mark.replayed:
				t.fail("got %s, want 503 and state=none", a)
			}
		}
	}},
	{"S7", "a crash is no outcome: 500 crashed, running", needCertified, func(t *trial) {
		a := t.answered(t.to(t.opt.Crash))
		switch {
		case t.over() || a.is(stateRunning) && a.status == http.StatusAccepted: // tried again already
		case a.is(stateDone) && a.status < http.StatusInternalServerError:
			t.lack("there is no crash: %s answers %d", t.opt.Crash, a.status)
		case a.is(stateRunning) && a.problem.Code == "parked":
		default:
			t.none(a, http.StatusInternalServerError, stateRunning, "crashed")
		}
	}},
}

// runningChecks are about messages that take a while.
var runningChecks = []check{
	{"S5", "a certified client is told 202, running, with Retry-After", needCertified | needSlow, func(t *trial) {
		q := t.to(t.opt.Slow).with(headerPrefer, "respond-async")
		a := t.answered(q)
		switch {
		case t.over():
		case a.is(stateDone):
			t.obscure("the server waits longer than the slow endpoint takes, and does not heed Prefer: respond-async")
		case a.status != http.StatusAccepted || !a.is(stateRunning):
			t.fail("got %s, want 202 and state=running", a)
		case a.header.Get(headerRetryAfter) == "":
			t.fail("there is no Retry-After: %s", a)
		}
		t.outcome(q)
	}},
	{"S5", "a plain client is told 409 in-progress", needCertified | needSlow, func(t *trial) {
		q := t.to(t.opt.Slow).plain()
		t.meanwhile(q, func() {
			a := t.answered(q.with(headerPrefer, "wait=0"))
			switch {
			case t.over():
			case a.mark.replayed:
				t.obscure("the server waits longer than the slow endpoint takes, and does not heed Prefer: wait=0")
			default:
				t.none(a, http.StatusConflict, stateRunning, "in-progress")
			}
		})
	}},
	{"S5", "while a message runs, its copies wait or are told so", needCertified | needSlow, func(t *trial) {
		q := t.to(t.opt.Slow)
		t.meanwhile(q, func() {
			a := t.answered(q.with(headerPrefer, "respond-async"))
			switch took, _ := t.slow(); {
			case t.over():
			case !a.is(stateRunning) && !a.is(stateDone):
				t.fail("a copy of a message that runs: got %s, want state=running, or done in the end", a)
			case a.is(stateDone) && a.took < took/8: // It did not wait, so it came too late.
				t.late = true
				t.fail("the message was done already: %s", a)
			}
		})
	}},
	{"S5", "fifty copies at once run the handler once", needCertified | needDistinct, func(t *trial) {
		t.atOnce(50, []string{t.slowest()}, (*request).clone)
	}},
	{"S11", "copies at two nodes at once run the handler once", needDistinct | needAlso, func(t *trial) {
		t.atOnce(20, append([]string{t.opt.URL}, t.opt.Also...), (*request).clone)
	}},
	{"S12", "the client goes away, the work is done", needCertified | needSlow, func(t *trial) {
		took, _ := t.slow()
		q := t.to(t.opt.Slow)
		q.leaveAfter = took * time.Duration(t.number) / 4
		t.chancy = true // It may have gone before it came.
		t.once(func() {
			if a := t.attempt(q); a.err == nil && !a.is(stateRunning) {
				t.obscure("it was answered at once: %s", a)
			}
			t.note("wait until the slow endpoint has done it")
			t.pause(took + took/4)
		})
		q.leaveAfter = 0
		if a := t.outcome(q); !t.over() && !a.mark.replayed {
			t.fail("it was not done meanwhile: %s, after %d ms", a, a.took.Milliseconds())
		}
	}},
}

// slowest is the slow endpoint, if there is one.
func (t *trial) slowest() string {
	if _, missing := t.slow(); missing != "" {
		return t.opt.URL
	}
	return t.opt.Slow
}

// atOnce sends copies of one message to the URLs at once, and wants one execution and one outcome.
func (t *trial) atOnce(n int, urls []string, as func(*request) *request) {
	t.once(func() {
		all := t.together(n, urls, as(t.to(urls[0])))
		for _, a := range all {
			switch {
			case t.over():
			case a.status != all[0].status || string(a.body) != string(all[0].body):
				t.fail("one copy got %s, %s, another %s, %s", all[0], all[0].excerpt(a), a, a.excerpt(all[0]))
			}
		}
	})
}

// meanwhile calls f while q, which goes to the slow endpoint, is worked on.
func (t *trial) meanwhile(q *request, f func()) {
	took, missing := t.slow()
	if missing != "" {
		t.lack("%s", missing)
		return
	}
	t.limit = time.Now().Add(took * 3 / 4)
	done := make(chan *answer, 1)
	go func() { done <- t.outcome(q.clone()) }()
	select {
	case <-t.ctx.Done():
	case <-time.After(took / 4):
		f()
	}
	t.limit = time.Time{}
	<-done
}

// running has a message accepted that takes a while, and returns it and its URL. The trial's limit is how long it runs.
func (t *trial) running() (*request, string) {
	took, _ := t.slow()
	t.limit = time.Now().Add(took * 3 / 4)
	q := t.to(t.opt.Slow).with(headerPrefer, "respond-async")
	a := t.answered(q)
	switch {
	case t.over():
	case a.is(stateDone):
		t.obscure("the server waits longer than the slow endpoint takes, and does not heed Prefer: respond-async")
	case a.status != http.StatusAccepted || !a.is(stateRunning) || a.mark.message == "":
		t.obscure("there is no 202 that names a message URL: %s", a)
	}
	return q, t.origin + a.mark.message
}
