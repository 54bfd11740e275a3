package sim

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// promises takes note of what a call was told had not been done, or takes that back. Called with mu held.
func (e *exec) promises(o *recorded, n *record.Entry) {
	message, ok := strings.CutPrefix(o.name, opOfCall(""))
	if !ok {
		return
	}
	delete(e.p.w.promises, message)
	if n.Err != nil && slices.Contains(n.Err.Is, chttp.ErrNotDone.Error()) {
		e.p.w.promises[message] = true
		e.p.w.hit("promised: not done")
	}
}

// i1: an accepted message is executed. Accepted is what was once durable on a disk: it has ended, or a handler said "not now", or it is
// parked. And what a client was told had been done, or not done, was, or was not. It watches every disk from outside.
func (w *World) i1() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		for _, e := range p.memory.all {
			if !e.ended && !e.notNow && e.state != store.Parked {
				w.violate("I1", "%s has accepted %s %q, and it has no outcome: %v", p.name, e.function, e.name, e.state)
			}
			e.i1Delivered()
		}
	}
	for name := range w.promises {
		if e := w.received(name); e != nil {
			w.violate("I1", "the call %s was told that nothing was done, and %s has it: %v", name, e.p.name, e.state)
		}
		if n := w.effects["outside "+name]; n > 0 {
			w.violate("I1", "the call %s was told that nothing was done, and it was done %d times", name, n)
		}
	}
}

// received returns what the receiver of a message made of it; nil where it never did. Called with mu held.
func (w *World) received(name string) *exec {
	for _, p := range w.processes {
		if e := p.memory.named[name]; e != nil && e.key.Scope != "" {
			return e
		}
	}
	return nil
}

// i1Delivered checks that a sent message ended as its receiver's record says; called with mu held.
func (e *exec) i1Delivered() {
	if e.function != functionSend || !e.ended || e.tail == nil {
		return
	}
	w, name := e.p.w, strings.TrimPrefix(e.name, markSend)
	w.hit("end: " + e.firstState.String())
	host := hostOfURL(e.head.URL)
	r := w.received(name)
	done := w.effects["outside "+name] > 0 || r != nil
	switch {
	case e.firstState == store.Undelivered && done:
		w.violate("I1", "%s was undelivered, and has arrived", name)
	case e.firstState == store.Rejected && e.tail.Err != nil && done && !strings.HasSuffix(name, ".other"):
		w.violate("I1", "%s was refused, and was accepted: %v", name, e.tail.Err.Text)
	case w.process(host) == nil || e.tail.Response == nil || e.tail.Err != nil:
		if e.firstState == store.Answered && !done {
			w.violate("I1", "%s was answered, and nothing was done", name)
		}
	case r == nil || !r.ended || r.answer == nil:
		w.violate("I1", "%s ended %v, and %s has no outcome of it", name, e.firstState, host)
	case r.answer.Status != e.tail.Response.Status:
		w.violate("I3", "%s was answered %d, and its outcome is %d", name, e.tail.Response.Status, r.answer.Status)
	}
}

func hostOfURL(u string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(u, "http://"), "/")
	return host
}

// i2Begins: user code of an execution that has an outcome never runs again, nor twice at a time, nor after as many crashes as it is given. It
// watches user code as it begins, in processes that live. Called with mu held.
func (l *Life) i2Begins(name string) {
	w := l.p.w
	if l.runs[name] > 0 {
		w.violate("I2", "%s runs %s twice at a time", l.p.name, name)
	}
	e := l.p.memory.named[name]
	switch {
	case e == nil || e.notNow:
		w.event("%s: %s begins", l.p.name, name)
		return
	case e.ended:
		w.violate("I2", "%s runs %s again, which has ended %v", l.p.name, name, e.firstState)
	case e.crashes >= e.attempts():
		w.violate("I8", "%s runs %s again, which has crashed %d times", l.p.name, name, e.crashes)
	case e.state == store.Parked:
		w.violate("I8", "%s runs %s, which is parked", l.p.name, name)
	}
	w.hit("replayed")
	w.event("%s: %s begins again", l.p.name, name)
}

// attempts is how many crashes the execution is given.
func (e *exec) attempts() int {
	switch {
	case e.key.Scope != "":
		return handlerAttempts
	case e.function == "brittle":
		return brittleAttempts
	}
	return attempts
}

// i2Accepted: what is forgotten is not accepted again. It watches what is inserted on a disk. Called with mu held.
func (e *exec) i2Accepted(prev *exec) {
	if prev == nil || prev.notNow {
		return
	}
	e.p.w.violate("I2", "%s accepts %s %q again, which was %v, swept %t", e.p.name, e.function, e.name, prev.firstState, prev.swept)
}

// i2Effect counts a step's effect. It comes once a beginning that led to it is durable (I5), never after its result is, and once where
// that was asked for. It watches the effects themselves.
func (f *frame) i2Effect(step string, policy chttp.Policy, seen *sight) {
	w := f.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !f.l.current() {
		return
	}
	name := f.name + " " + step
	w.effects[name]++
	w.event("%s: effect %s, number %d", f.l.p.name, name, w.effects[name])
	e := f.l.p.memory.named[f.name]
	if policy.ReadOnly {
		return
	}
	switch {
	case e == nil || e.notNow:
		w.violate("I5", "%s: the effect %s begins, and nothing of %s is durable", f.l.p.name, step, f.name)
		return
	case !e.has(step, begun):
		w.violate("I5", "%s: the effect %s of %s begins, and its beginning is not durable", f.l.p.name, step, f.name)
	case e.has(step, done):
		w.violate("I2", "%s: the effect %s of %s is had again, and its result is recorded", f.l.p.name, step, f.name)
	case f.ends && e.ops[step].tick > f.tick:
		w.violate("I8", "%s: %s, which was asked to end, begins the effect %s", f.l.p.name, f.name, step)
	case policy.AtMostOnce && w.effects[name] > 1:
		w.violate("I2", "%s: the effect %s of %s, which is to be had once, is had again", f.l.p.name, step, f.name)
	}
	if w.effects[name] > 1 {
		w.hit("an effect is had again")
	}
	e.i5Follows(f.name+" "+step, seen)
}

// i3Ends: an outcome, once durable, is the outcome. It watches what is stored. Called with mu held.
func (e *exec) i3Ends(c *store.Change) {
	w := e.p.w
	if e.ended {
		if e.firstState != c.State || !bytes.Equal(e.tailRaw, c.Tail) {
			w.violate("I3", "%s changes the outcome of %s", e.p.name, e.name)
		}
		return
	}
	e.ended, e.firstState, e.tailRaw, e.first, e.answer = true, c.State, bytes.Clone(c.Tail), e.tail, e.tail.Response
	w.hit("outcome: " + kindOfFunction(e.function) + " " + c.State.String())
	w.event("%s: %q ends %v", e.p.name, e.name, c.State)
	if c.State == store.Canceled && !w.asked[e.name] {
		w.violate("I7", "%s: %s ends canceled, which nobody asked for", e.p.name, e.name)
	}
	e.i7Ends()
	e.moneyMoves()
	e.i10Ends(c)
}

// i7Ends: a run that ends before what was recorded has no outcome; nor has a handler's that said "not now" and did nothing (S7). It watches
// what is stored. Called with mu held.
func (e *exec) i7Ends() {
	w := e.p.w
	text := ""
	if e.first.Err != nil {
		text = e.first.Err.Text
	}
	if e.answer != nil {
		text = string(e.answer.Body)
	}
	if w.early[e.name] && strings.Contains(text, errEarly.Error()) {
		w.violate("I7", "%s: the run of %s that ended before what was recorded has an outcome: %s", e.p.name, e.name, text)
	}
	if e.key.Scope == "" || e.answer == nil || !slices.Contains(notNows, e.answer.Status) {
		return
	}
	for _, o := range e.places {
		if o.trace {
			return
		}
	}
	w.violate("S7", "%s: %s said not now, had done nothing, and that is its outcome", e.p.name, e.name)
}

// notNows are the answers of a handler that mean "not now" (S7).
var notNows = []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// kindOfFunction tells messages, handlers and functions apart.
func kindOfFunction(function string) string {
	switch function {
	case functionSend:
		return "message"
	case functionFailed:
		return "report"
	case routeA, routeB, routeAnonymous:
		return "handler"
	}
	return "function"
}

// i3Answers: the same id gets the same answer, byte for byte, which is durable (I5), and only for the request that it was accepted with (I4).
// It watches what is answered. Called with mu held.
func (w *World) i3Answers(q *Process, e *exec, v *voyage, r *reply) {
	h := r.header.Clone()
	for _, k := range []string{headerCertified, headerReplayed, "Date"} {
		h.Del(k)
	}
	if e == nil || !e.ended || e.answer == nil {
		w.violate("I5", "%s answers %s with an outcome that is not durable", q.name, v.name)
		return
	}
	answer := fmt.Sprint(r.status, h, string(r.body))
	if e.said != "" && e.said != answer && h.Get("Preference-Applied") == "" {
		w.violate("I3", "the answer to %s was\n%s and is\n%s", v.name, e.said, answer)
	}
	e.said = answer
	if r.status != e.answer.Status || !bytes.Equal(r.body, e.answer.Body) {
		w.violate("I3", "%s answers %s with %d %q, and its outcome is %d %q", q.name, v.name, r.status, r.body, e.answer.Status, e.answer.Body)
	}
	if e.head.URL != v.req.URL.RequestURI() || !bytes.Equal(e.head.Body, v.body) {
		w.violate("I4", "%s answers %s with the outcome of another request: %s %q", q.name, v.name, e.head.URL, e.head.Body)
	}
}

// i3Told: what a program is told of a message is its outcome. It compares what user code got with the receiver's disk.
func (f *frame) i3Told(name string, status int, body string) {
	w := f.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if !f.l.current() {
		return
	}
	if first, ok := w.outsideAnswers[name]; ok {
		if got := fmt.Sprint(status, " ", body); first != "" && got != first {
			w.violate("I3", "%s is told %q of %s, which was answered %q", f.name, got, name, first)
		}
		return
	}
	e := w.received(name)
	switch {
	case e == nil || !e.ended || e.answer == nil:
		w.violate("I5", "%s is told %d %q of %s, whose receiver has no outcome", f.name, status, body, name)
	case e.answer.Status != status || string(e.answer.Body) != body:
		w.violate("I3", "%s is told %d %q of %s, whose outcome is %d %q", f.name, status, body, name, e.answer.Status, e.answer.Body)
	}
}

// i4Refuses: a request is refused under a used id only if it is another request. It watches what is answered. Called with mu held.
func (w *World) i4Refuses(q *Process, e *exec, v *voyage, r *reply) {
	if r.status != http.StatusUnprocessableEntity {
		return
	}
	w.hit("refused: the id was used")
	switch {
	case e != nil && (e.head.URL != v.req.URL.RequestURI() || !bytes.Equal(e.head.Body, v.body)):
	case e == nil && v.life == nil: // Another request of a client by hand came first, and is not durable yet.
	case v.fate.garbled == 1:
	default:
		w.violate("I4", "%s refuses %s, which is the request that it knows: %s", q.name, v.name, r.body)
	}
}

// s8: a certified record is deleted when the floor has passed every time at which its client can have sent it. It watches the sweeps, and
// what was seen on the wire. Called with mu held.
func (e *exec) s8() {
	w := e.p.w
	if e.key.Scope == "" {
		return
	}
	l := w.letters[e.key.ID]
	switch {
	case !e.certified:
		if !w.fading && !e.acked && time.Since(e.created) < 24*time.Hour-2*farMost {
			w.violate("S9", "%s forgets %s after %v", e.p.name, e.name, time.Since(e.created))
		}
	case l != nil && l.at*1000 > e.floorAt:
		w.violate("S8", "%s forgets %s at the floor %d, and it was sent at %d", e.p.name, e.name, e.floorAt/1000, l.at)
	case l != nil && !e.acked && e.head.Until > e.floorAt:
		w.violate("S9", "%s forgets %s, which nobody has acknowledged, before its until", e.p.name, e.name)
	}
}
