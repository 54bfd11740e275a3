package sim

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// memory is what was once durable on a process's disk, whatever has been forgotten since. The world's mu guards it.
type memory struct {
	execs   map[store.Key]*exec // the latest of a key
	named   map[string]*exec    // the latest of a name
	all     []*exec
	known   map[store.Key]*exec  // the latest of a key, also when it is forgotten
	located map[string]store.Key // what came over the network, by its message URL
	floor   int64
	first   int64     // the floor when it was first joined
	joined  bool      // it was
	since   time.Time // when
}

// exec is one execution as it was made durable: from its insert until it is forgotten.
type exec struct {
	p         *Process
	name      string // of the program, or of the message with what it is there
	key       store.Key
	run       uint64
	version   int
	function  string
	certified bool
	print     []byte
	head      *record.Head
	created   time.Time // the right time

	state      store.State
	tail       *record.Tail // of its end, or why it is parked
	tailRaw    []byte       // of its end
	first      *record.Tail // the outcome
	firstState store.State
	answer     *record.Response // in it
	ended      bool
	acked      bool // its outcome was dropped because its client has it
	notNow     bool // forgotten by S7
	swept      bool
	floorAt    int64 // when it was swept
	crashes    int
	canceled   bool // asked to end
	everParked bool
	said       string // how the outcome was answered first
	reports    int    // times that Options.Failed was told of it

	ops    map[string]*recorded // by name: programs give a name once
	places map[place]*recorded
	scopes map[string]int    // how many operations there are in each
	told   map[string]string // by path in the program: what a run was told that something has followed from
}

// recorded is what is durable of an operation.
type recorded struct {
	name  string
	stage stage
	trace bool  // something may have come of it
	tick  int64 // when it was first durable
}

// stage is how much of an operation is durable.
type stage uint8

const (
	begun stage = 1 << iota
	done
)

// place is that of an operation in an oplog.
type place struct {
	scope string
	seq   int
}

// Names of the built-in functions, and what names a record of theirs.
const (
	functionSend   = "chttp.send"
	functionFailed = "chttp.failed"
	markSend       = ">"
	markFailed     = "!"
)

func newMemory() memory {
	return memory{
		execs: map[store.Key]*exec{}, named: map[string]*exec{}, known: map[store.Key]*exec{},
		located: map[string]store.Key{},
	}
}

// nameOf returns what the program, or the message, is called whose record begins with head.
func (m *memory) nameOf(function string, head *record.Head) string {
	switch function {
	case functionSend:
		u, err := url.Parse(head.URL)
		if err != nil {
			return head.URL
		}
		return markSend + u.Query().Get("m")
	case functionFailed:
		var in struct{ Info struct{ ID string } }
		if err := json.Unmarshal(head.Input, &in); err != nil {
			return string(head.Input)
		}
		return markFailed + m.sentAs(in.Info.ID)
	}
	if head.URL != "" {
		u, err := url.Parse(head.URL)
		if err != nil {
			return head.URL
		}
		return u.Query().Get("m")
	}
	var in In
	if err := json.Unmarshal(head.Input, &in); err != nil {
		return string(head.Input)
	}
	return in.Name
}

// sentAs returns the name of the message with an id that was sent and not waited for; called with mu held.
func (m *memory) sentAs(id string) string {
	if e := m.known[store.Key{ID: id}]; e != nil {
		return strings.TrimPrefix(e.name, markSend)
	}
	return id
}

// found notes a floor that a new life has found; called with mu held.
func (m *memory) found(p *Process, floor int64) {
	if m.joined && floor < m.floor {
		p.w.violate("S8", "%s: the floor has fallen", p.name)
	}
	if !m.joined {
		m.first, m.since, m.joined = floor, time.Now(), true
	}
	m.floor = floor
}

// committed takes note of what b did; called with mu held.
func (m *memory) committed(l *Life, b *store.Batch, r *store.Report) {
	p := l.p
	for i := range b.Changes {
		c := &b.Changes[i]
		if r.Results[i].Status == store.Done {
			m.changed(p, c)
			p.s8Inserts(c, r.Floor)
		} else {
			p.w.hit(statusNames[r.Results[i].Status])
		}
	}
	for _, a := range b.Acks {
		if e := m.execs[a.Key]; e != nil && e.ended && !e.swept {
			e.acked, e.state = true, store.Acknowledged
			p.w.event("%s: %q is acknowledged", p.name, e.name)
		}
	}
	p.floorRises(b, r.Floor)
	if r.Swept > 0 {
		m.sweep(p)
	}
}

var statusNames = map[store.Status]string{store.Conflict: "conflict", store.Stale: "stale at the insert"}

// changed takes note of one change; called with mu held.
func (m *memory) changed(p *Process, c *store.Change) {
	e := m.execs[c.Key]
	switch {
	case c.Forget:
		if e != nil && e.run == c.Run && !e.notNow {
			e.forgotten()
			delete(m.execs, c.Key)
		}
		return
	case e != nil && e.run == c.Run && e.version >= c.Version:
		return // It was there already.
	case c.Version == 1:
		e = m.insert(p, c)
	case e == nil || e.run != c.Run:
		p.w.violate("I6", "%s: an update of %q, which is not there, is done", p.name, c.Key)
		return
	}
	e.update(c)
	for i := range c.Children {
		ch := &c.Children[i]
		if m.execs[ch.Key] == nil {
			child := m.insert(p, &store.Change{
				Key: ch.Key, Run: ch.Run, Version: 1, Function: ch.Function, State: ch.State, Created: ch.Created, Bound: ch.Bound,
				Print: ch.Print, Head: ch.Head,
			})
			child.state, child.version = ch.State, 1
		}
	}
}

// insert takes note of a new record; called with mu held.
func (m *memory) insert(p *Process, c *store.Change) *exec {
	e := &exec{
		p: p, key: c.Key, run: c.Run, function: c.Function, certified: c.Certified, print: c.Print, created: time.Now(),
		ops: map[string]*recorded{}, places: map[place]*recorded{}, scopes: map[string]int{}, told: map[string]string{}, state: c.State,
	}
	if bytes.Contains(c.Head, []byte(secret)) {
		p.w.violate("S12", "%s stores a credential with %q", p.name, c.Key)
	}
	var err error
	if e.head, err = record.ParseHead(bytes.Clone(c.Head)); err != nil {
		p.w.violate("I6", "%s: the head of %q cannot be read: %v", p.name, c.Key, err)
		e.head = &record.Head{}
	}
	e.name = m.nameOf(c.Function, e.head)
	e.i2Accepted(m.named[e.name])
	m.execs[c.Key], m.named[e.name] = e, e
	m.all, m.known[c.Key] = append(m.all, e), e
	p.w.event("%s: %s %q is durable", p.name, c.Function, e.name)
	return e
}

// update takes note of a version of e; called with mu held.
func (e *exec) update(c *store.Change) {
	w := e.p.w
	e.version = c.Version
	entries, err := record.ParseEntries(bytes.Clone(c.Chunk))
	if err != nil {
		w.violate("I6", "%s: what is recorded of %q cannot be read: %v", e.p.name, e.name, err)
	}
	for i := range entries {
		e.entry(&entries[i])
	}
	crashed := len(entries) > 0 && entries[len(entries)-1].Phase == record.Crash
	if e.state == store.Running && c.State == store.Waiting && !crashed {
		w.hit("evicted: " + kindOfFunction(e.function))
		w.event("%s: %q leaves memory", e.p.name, e.name)
	}
	if e.state == store.Parked && c.State == store.Running {
		w.hit("goes on after it was parked")
	}
	e.state = c.State
	if !c.State.Finished() && c.State != store.Parked {
		return
	}
	tail, err := record.ParseTail(bytes.Clone(c.Tail))
	if err != nil {
		w.violate("I6", "%s: the tail of %q cannot be read: %v", e.p.name, e.name, err)
		tail = &record.Tail{}
	}
	e.tail = tail
	if c.State == store.Parked {
		e.parks()
		return
	}
	e.i3Ends(c)
}

// entry takes note of an oplog's entry; called with mu held.
func (e *exec) entry(n *record.Entry) {
	switch n.Phase {
	case record.Crash:
		e.crashes++
		e.p.w.hit("crashed")
		return
	case record.Cancel:
		e.canceled = true
		return
	}
	at := place{n.Scope, n.Seq}
	o := e.places[at]
	stage := map[record.Phase]stage{record.Begin: begun, record.End: done, record.Whole: begun | done}[n.Phase]
	e.i6(o, stage, n)
	if o == nil {
		e.p.w.tick++
		o = &recorded{name: n.Name, tick: e.p.w.tick}
		e.places[at], e.ops[n.Name] = o, o
		e.scopes[n.Scope]++
	}
	o.stage |= stage
	e.promises(o, n)
	switch n.Kind {
	case record.Step, record.Call:
		o.trace = o.trace || n.Phase == record.Begin
	case record.Send, record.Start:
		o.trace = o.trace || n.Err == nil
	}
	if n.Kind != 0 {
		e.p.w.hit("recorded: " + n.Kind.String())
	}
}

// has tells whether so much of the operation called name is durable.
func (e *exec) has(name string, s stage) bool {
	o := e.ops[name]
	return o != nil && o.stage&s == s
}

// sweep finds out what a sweep has deleted; called with mu held.
func (m *memory) sweep(p *Process) {
	for key, e := range m.execs {
		if !e.ended {
			continue
		}
		if p.lacks(key) {
			e.swept, e.floorAt = true, m.floor
			p.w.hit("forgotten")
			p.w.event("%s: %q is forgotten", p.name, e.name)
			e.s8()
			delete(m.execs, key)
		}
	}
}
