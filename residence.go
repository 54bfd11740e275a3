package chttp

import (
	"errors"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// errEvicted is what the context says of a run that was put out of memory: it goes on later.
var errEvicted = errors.New("put out of memory while it waits; it goes on later")

// newExecution makes an execution that is in no memory yet.
func (n *Node) newExecution(key store.Key, reg *registration, head *record.Head, print []byte) *execution {
	now := n.now().UnixMilli()
	x := &execution{
		node: n, key: key, reg: reg, head: head, print: print, created: now, due: now,
		run: n.runs.Add(1), state: store.Running, stopped: make(chan struct{}),
	}
	if n.registrar != nil {
		x.run, x.created = n.registrar.Born(key.Scope, key.ID, x.run, x.created)
	}
	x.headBytes = head.Append(make([]byte, 0, 128+len(head.Input)+len(head.Body)))
	x.size = len(x.headBytes)
	return x
}

// admit takes a new function's execution into memory, runs it where there is room, and has it stored; called with its stripe locked.
func (n *Node) admit(x *execution) {
	x.size = min(x.size, maxResidentBytes/4)
	room := n.running() && n.makeRoom(x)
	n.mu.Lock()
	n.residents[x.key] = x
	n.bytes += x.size
	n.mu.Unlock()
	x.mu.Lock()
	x.leaving = !room // Stored, and found again when there is room.
	x.touch()
	x.mu.Unlock()
	if room {
		x.launch()
	}
}

// hold makes x resident only until it is stored, so that others with its key find it.
func (n *Node) hold(x *execution) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.residents[x.key] == nil {
		n.residents[x.key] = x
		n.bytes += x.size
	}
}

// makeRoom tells whether there is room for x, after putting out one that only waits if there was none. So admitting one never waits
// for one that waits: nodes that call each other cannot lock up.
func (n *Node) makeRoom(x *execution) bool {
	n.mu.Lock()
	if len(n.residents) < n.opt.MaxResident && n.bytes+x.size <= maxResidentBytes {
		n.mu.Unlock()
		return true
	}
	var some []*execution
	for _, r := range n.residents { // in random order
		if r.parcel == nil && r != x {
			if some = append(some, r); len(some) == 64 {
				break
			}
		}
	}
	n.mu.Unlock()
	for _, r := range some {
		if wake, ok := r.resting(); ok {
			r.halt(&stop{cause: errEvicted, evict: wake})
			return true
		}
	}
	return false
}

// release takes x out of memory and tells the news, if there is any, to those who watched until then. Who watches from then on
// waits for what comes after x.
func (x *execution) release(news *event) {
	n := x.node
	n.lane(x.reg.parcel).leaves(x.key)
	var told []*watcher
	n.mu.Lock()
	if news != nil {
		told = n.watchers[x.key]
		delete(n.watchers, x.key)
	}
	if n.residents[x.key] == x {
		delete(n.residents, x.key)
		n.bytes -= x.size
		if x.parcel != nil {
			n.parcels--
		}
	}
	n.mu.Unlock()
	x.mu.Lock()
	unfinished := !x.state.Finished() && x.state != store.Parked && !x.forget && x.version > 0
	due := x.due
	x.mu.Unlock()
	n.lane(x.reg.parcel).released(unfinished, due)
	for _, w := range told {
		w.c <- *news
	}
}

// adopt takes a child into memory once it is durable, where there is room; otherwise it is found in the store.
func (n *Node) adopt(c *child) {
	reg := n.function(c.Function)
	now := n.now().UnixMilli()
	// I2: a chosen id may be of what was there before, which the store has left as it is. Only the store can tell.
	if reg == nil || c.chosen || c.State != store.Running || c.Due > now || !n.running() {
		n.lane(c.Function == functionSend).later(c.Due)
		return
	}
	x := &execution{
		node: n, key: c.Key, reg: reg, head: c.head, headBytes: c.Head, print: c.Print, created: c.Created, due: c.Due, size: len(c.Head),
		run: c.Run, state: store.Running, version: 1, stored: true, stopped: make(chan struct{}),
	}
	if !n.enter(x) {
		n.lane(reg.parcel).later(c.Due)
		return
	}
	if n.opt.Destination == nil || !reg.parcel {
		x.begin()
		return
	}
	if n.task() { // Options.Destination is the user's, and this is the journal's goroutine, for which everything waits.
		go func() {
			defer n.tasks.Done()
			x.begin()
		}()
	}
}

// enter makes x resident; false where there is no room, or it is already.
func (n *Node) enter(x *execution) bool {
	x.size = min(x.size, maxResidentBytes/4) // One larger than all the room would never get in, and keep out all behind it.
	if x.reg.parcel {
		n.mu.Lock()
		defer n.mu.Unlock()
		// Messages leave the other half to functions and handlers, which they may be waiting for.
		if n.residents[x.key] != nil || n.parcels >= max(1, n.opt.MaxResident/2) || n.bytes+x.size > maxResidentBytes/2 {
			return false
		}
		x.parcel = &parcel{}
		n.parcels++
		n.residents[x.key] = x
		n.bytes += x.size
		return true
	}
	if !n.makeRoom(x) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.residents[x.key] != nil {
		return false
	}
	n.residents[x.key] = x
	n.bytes += x.size
	return true
}

// begin lets a resident execution go on.
func (x *execution) begin() {
	if x.reg.parcel {
		x.node.courier.post(x)
		return
	}
	x.launch()
}
