package sim

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// i5Leaves: a request leaves when the message, or the call's beginning, is durable, and everything that it follows from. It watches what
// leaves, and the sender's disk. Called with mu held.
func (v *voyage) i5Leaves(id string) {
	p, w := v.life.p, v.w
	if e := p.memory.known[store.Key{ID: id}]; id != "" && e != nil {
		e.i5Parent(v.name)
		return // A sent message.
	}
	exec, _ := parent(v.name)
	e := p.memory.named[exec]
	switch {
	case e == nil && p.memory.named[markSend+v.name] != nil: // to a peer that gets no ids
	case e == nil || e.notNow:
		w.violate("I5", "%s sends %s, and nothing of it is durable", p.name, v.name)
	case p.memory.named[markSend+v.name] != nil:
	case !e.has(opOfCall(v.name), begun):
		w.violate("I5", "%s sends %s, and its beginning is not durable", p.name, v.name)
	case v.life.current():
		e.i5Follows(v.name, w.sights[v.name])
	}
}

// i5Parent checks what a sent message follows from; called with mu held.
func (e *exec) i5Parent(name string) {
	exec, _ := parent(name)
	if m := e.p.memory.named[exec]; m != nil && !m.notNow {
		m.i5Follows(name, e.p.w.sights[name])
	}
}

// i5Follows: what something follows from is durable in e when it leaves, and what a run was told of it, every later run is told. Called
// with mu held.
func (e *exec) i5Follows(what string, seen *sight) {
	for s := seen; s != nil && !s.fixed; s = s.before {
		s.fixed = true
		if s.op != "" && !e.has(s.op, done) {
			e.p.w.violate("I5", "%s: %s leaves, and what %s told %s before it is not durable", e.p.name, what, s.op, e.name)
		}
		e.told[s.path] = s.value
	}
}

// i5Shown: what a caller is told to be stored is. It watches what Start, Put and Send return. Called with mu held.
func (p *Process) i5Shown(id, name string) {
	if e := p.memory.known[store.Key{ID: id}]; e == nil || e.swept && !e.ended {
		p.w.violate("I5", "%s says that %s is stored, and it is not", p.name, name)
	}
}

// i5Waited: an outcome that Wait returns is durable, and is the outcome. It watches what Wait returns, and tells whether that is the
// end: an outcome, or that it is parked for good.
func (w *World) i5Waited(l *Life, name, value string, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := l.p.memory.named[name]
	var own *chttp.Error
	switch {
	case !l.current():
		return false
	case err != nil && e != nil && e.ended && e.first.Err != nil && e.first.Err.Text == err.Error():
		return true
	case errors.Is(err, chttp.ErrParked):
		if e == nil || !e.everParked {
			w.violate("I5", "%s says that %s is parked, and it is not", l.p.name, name)
		}
		return w.calm && e != nil && e.state == store.Parked
	case errors.As(err, &own) && (own.Op == "wait" || own.Op == "attach"):
		return false // of the waiting itself
	case e == nil || !e.ended:
		w.violate("I5", "%s shows the outcome of %s, which is not durable: %q %v", l.p.name, name, value, err)
	case err != nil:
		w.violate("I3", "%s shows the error %v as the outcome of %s, which is %v", l.p.name, err, name, e.first.Err)
	case string(e.tailValue()) != fmt.Sprintf("%q", value):
		w.violate("I3", "%s shows %q as the outcome of %s, which is %s", l.p.name, value, name, e.tailValue())
	}
	return true
}

func (e *exec) tailValue() []byte {
	if e.first == nil {
		return nil
	}
	return e.first.Value
}

// i5Acknowledged: an acknowledgement that is confirmed is durable. It watches what is answered. Called with mu held.
func (w *World) i5Acknowledged(q *Process, v *voyage) {
	var list []string
	switch {
	case v.req.Method == http.MethodDelete:
		list = []string{v.req.URL.Path}
	case strings.HasSuffix(v.req.URL.Path, pathOfAcks):
		for _, a := range bulkAcks(v.body) {
			list = append(list, a.Message)
		}
	}
	for _, path := range list {
		e := q.memory.known[q.memory.located[path]]
		if e != nil && e.ended && !e.acked && !e.swept {
			w.violate("I5", "%s confirms the acknowledgement of %s, which is not durable", q.name, e.name)
		}
	}
}

// i6: what is durable in an oplog never changes: each place has one beginning and one result. It watches what is stored. Called with mu held.
func (e *exec) i6(o *recorded, s stage, n *record.Entry) {
	w := e.p.w
	switch {
	case o == nil && s&begun == 0:
		w.violate("I6", "%s: %s records a result at %q %d, where nothing has begun", e.p.name, e.name, n.Scope, n.Seq)
	case o == nil && n.Seq != e.scopes[n.Scope]:
		w.violate("I6", "%s: %s records operation %d of %q, where %d is next", e.p.name, e.name, n.Seq, n.Scope, e.scopes[n.Scope])
	case o != nil && o.stage&s != 0:
		w.violate("I6", "%s: %s records %q at %q %d, where there is %q", e.p.name, e.name, n.Name, n.Scope, n.Seq, o.name)
	}
}

// i7: a replay is told what the run before it was told, if anything has followed from that. It watches user code. Called with mu held.
func (f *frame) i7(path, value string) {
	e := f.l.p.memory.named[f.name]
	if e == nil || e.notNow {
		return
	}
	if first, ok := e.told[path]; ok && first != value && !f.l.p.w.diverges[f.name] {
		f.l.p.w.violate("I7", "%s: at %s a run was told %q, and now %q", f.name, path, first, value)
	}
}

// parks takes note of why an execution is parked; called with mu held.
func (e *exec) parks() {
	w, why := e.p.w, e.tail.Why
	e.everParked = true
	reason := "unknown"
	for _, r := range reasons {
		if strings.Contains(why, r.text) {
			reason = r.name
			if r.fault != none && !w.has(r.fault) && !w.twins[e.name] {
				w.violate("I7", "%s parks %s, for which there is no reason in this world: %s", e.p.name, e.name, why)
			}
			break
		}
	}
	w.hit("parked: " + reason)
	w.event("%s: %q is parked: %s", e.p.name, e.name, why)
	switch {
	case reason == "unknown":
		w.violate("I8", "%s parks %s for an unknown reason: %s", e.p.name, e.name, why)
	case reason == "differs" && !w.diverges[e.name]:
		w.violate("I7", "%s parks %s, whose program is the same in every run: %s", e.p.name, e.name, why)
	case reason == "crashed" && e.crashes < e.attempts():
		w.violate("I8", "%s parks %s after %d crashes: %s", e.p.name, e.name, e.crashes, why)
	}
}

// reasons are those for which executions are parked, and the fault that makes them.
var reasons = []struct {
	name, text string
	fault      Fault
}{
	{"damaged", " is damaged", Rot},
	{"unread", "could not be read", Unread},
	{"crashed", "crashed ", Panic},
	{"at most once", "to have it at most once", none},
	{"differs", "the replay differs", Diverge},
	{"not registered", "function not registered", Strange},
	{"refused by the store", "the store refuses what it recorded", Fail},
}

// forgotten takes note that a handler said "not now", and the execution is forgotten: nothing has followed from it (S7). Called with mu held.
func (e *exec) forgotten() {
	w := e.p.w
	e.notNow = true
	w.hit("not now, and forgotten")
	w.event("%s: %q is forgotten: not now", e.p.name, e.name)
	for _, o := range e.places {
		if o.trace {
			w.violate("S7", "%s forgets %s, which has begun %q", e.p.name, e.name, o.name)
		}
	}
	if e.ended {
		w.violate("I3", "%s forgets %s as never begun, which has ended", e.p.name, e.name)
	}
}
