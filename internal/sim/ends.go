package sim

import (
	"context"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

// i8: when the faults stop, everything unfinished finishes, or is parked for a reason. It watches disks and jobs after the faults.
func (w *World) i8() {
	for _, u := range w.unfinished() {
		w.wrong("I8", "%v after the faults: %s", settleLimit, u)
	}
}

// i9: nothing is left over: when everything has ended, and time has passed, the disks are empty, but for what is parked. That no goroutine
// is left, World.end and the bubble see.
func (w *World) i9() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		for _, r := range p.records() {
			if r.State != store.Parked {
				w.violate("I9", "%s keeps %s %q %s, due to be forgotten %v before", p.name, r.Function, p.called(r), r.State,
					p.clock.now().Sub(time.UnixMilli(r.Bound)))
			}
		}
		facts, err := p.disk.Facts(context.Background())
		if err != nil || len(facts) > 2*(w.cfg.Nodes+3) {
			w.violate("I9", "%s keeps %d facts, of %d peers: %v", p.name, len(facts), w.cfg.Nodes+3, err)
		}
	}
}

// i9Lingers: a message that was sent, and answered, is forgotten after the linger, unless its sender gave it an id.
func (w *World) i9Lingers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.has(Far) { // It was written down in hours to come.
		return
	}
	for _, p := range w.processes {
		for _, r := range p.records() {
			if e := p.memory.execs[r.Key]; r.Function == functionSend && r.State == store.Answered && e != nil && !e.head.Chosen {
				w.violate("I9", "%s keeps the message %s, which was answered", p.name, e.name)
			}
		}
	}
}

// i10: every message that ended without an outcome is listed with its reason, and Options.Failed is told of it. It watches the disks.
func (w *World) i10() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		for _, e := range p.memory.all {
			if e.function != functionSend || !e.ended || e.firstState == store.Answered {
				continue
			}
			r := p.record(e.key)
			if r == nil || r.State != e.firstState {
				w.violate("I10", "%s: the message %s ended %v, and is not listed", p.name, e.name, e.firstState)
			}
			if p.life == nil || p.life.node == nil || !p.hasFailed() {
				continue
			}
			told := p.memory.named[markFailed+strings.TrimPrefix(e.name, markSend)]
			if told == nil || !told.ended && told.state != store.Parked || told.ended && e.reports == 0 {
				w.violate("I10", "%s: Options.Failed is not told of %s, which ended %v", p.name, e.name, e.firstState)
			}
		}
	}
}

// i10Ends: a message that ends without an outcome says why. Called with mu held.
func (e *exec) i10Ends(c *store.Change) {
	if e.function != functionSend || c.State == store.Answered {
		return
	}
	if e.first.Err == nil && (e.first.Response == nil || e.first.Response.Status < 400) {
		e.p.w.violate("I10", "%s: the message %s ended %v, and does not say why", e.p.name, e.name, c.State)
	}
}

// i10Told takes note that Options.Failed is told of a message.
func (w *World) i10Told(l *Life, name string, m chttp.Info) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := l.p.memory.known[store.Key{ID: m.ID}]
	if !l.current() {
		return
	}
	switch {
	case e == nil || !e.ended || e.firstState.String() != m.State:
		w.violate("I10", "%s: Options.Failed is told that %s is %s, and it is not", l.p.name, name, m.State)
	case m.Err == nil && m.Status < 400:
		w.violate("I10", "%s: Options.Failed is not told why %s is %s", l.p.name, name, m.State)
	default:
		e.reports++
	}
}

// floorRises checks that the floor never falls, rises by no more than twice the time that passes (decision 0002), and to no more than the
// linger behind (S8). Called with mu held.
func (p *Process) floorRises(b *store.Batch, floor int64) {
	m := &p.memory
	if floor < m.floor {
		p.w.violate("S8", "%s: the floor falls from %d to %d", p.name, m.floor, floor)
	}
	if most := m.first + 2*time.Since(m.since).Milliseconds() + 1000; floor > most {
		p.w.violate("S8", "%s: the floor has risen to %d, faster than twice the time", p.name, floor)
	}
	if floor > m.floor {
		p.w.hit("the floor rises")
		if floor > b.Now-linger.Milliseconds()+1000 && !p.w.has(Jump) && !p.w.has(Far) {
			p.w.violate("S8", "%s: the floor has risen to %d at %d, which is less than the linger behind", p.name, floor, b.Now)
		}
	}
	m.floor = floor
}

// behind is how far the floor is behind where it may be; called with mu held.
func (p *Process) behind() time.Duration {
	return p.clock.now().Add(-linger).Sub(time.UnixMilli(p.memory.floor))
}

// s8Lag checks that a floor which was behind has caught up, at twice the time that passed since there are no more faults (decision 0002).
func (w *World) s8Lag() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		most := max(linger, p.lag-time.Since(p.lagAt)) + 3*time.Minute
		if lag := p.behind(); lag > most {
			w.violate("S8", "%s: the floor is %v behind, and was %v behind %v ago", p.name, lag, p.lag, time.Since(p.lagAt))
		}
	}
}

// s8Inserts checks that a message which is inserted was sent after the floor, as that is in the same commit. Called with mu held.
func (p *Process) s8Inserts(c *store.Change, floor int64) {
	e := p.memory.execs[c.Key]
	if c.Version == 1 && c.Certified && e != nil && max(c.At, e.head.At) <= floor {
		p.w.violate("S8", "%s accepts %s, which was sent at %d, below its floor %d", p.name, e.name, max(c.At, e.head.At)/1000, floor/1000)
	}
}
