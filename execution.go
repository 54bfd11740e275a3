package chttp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// execution is one execution while it is in memory: a function's, a handler's or a message's. What it records goes to the journal
// through note; what leaves waits in flush for all of it (I5).
type execution struct {
	node      *Node
	key       store.Key
	run       uint64
	reg       *registration
	head      *record.Head
	headBytes []byte
	print     []byte
	created   int64
	certified bool
	size      int
	parcel    *parcel    // a send's
	rehearsal *rehearsal // nil but in a replay without effects

	life   context.Context // of the run under way: ends when it is stopped
	end    context.CancelCauseFunc
	ctx    context.Context // of its function: life, until it is cancelled
	cancel context.CancelCauseFunc

	mu       sync.Mutex // guards what follows
	version  int        // changes taken for the store so far
	stored   bool       // its record is durable
	dirty    bool       // it is in the journal's queue
	group    *group     // the batch that it last joined
	pos      int        // entries and other changes noted
	taken    int        // pos as of the change that is being committed
	durable  int        // pos as of the last change committed
	state    store.State
	due      int64
	bound    int64
	at       int64 // an insert is judged by it (S8); the largest of the copies that wait
	tail     []byte
	chunk    []byte
	children []child
	acks     []owedAck
	onTheWay delta // what the change being committed took
	forget   bool

	stop      *stop
	stopped   chan struct{}           // closed when stop is set
	active    bool                    // a run is under way
	leaving   bool                    // it leaves memory once what it noted is durable
	left      bool                    // it has left memory
	settled   bool                    // settle has been called
	attempted bool                    // a message's: before it was read from the store
	news      *event                  // for the watchers, once durable
	log       map[string][]*operation // recorded by earlier runs, by scope
	crashes   int
	canceled  *string
	applied   bool    // the cancellation has reached the context
	replaying bool    // every operation of the run so far had a recorded result
	effects   bool    // it has sent a message or begun a step (S7)
	users     int     // goroutines of the run that are in user code
	wakes     []int64 // of those that are not, until when they wait
	branches  sync.WaitGroup
}

// delta is what one change takes from an execution and gives back if it was not committed.
type delta struct {
	chunk    []byte
	children []child
	acks     []owedAck
}

// child is a record that begins with its parent's change.
type child struct {
	store.Child
	head   *record.Head
	chosen bool // the id is not ours alone: what has it may be there already, and have ended
}

// bytesOf is how much of the journal's room the children take.
func bytesOf(children []child) (n int) {
	for i := range children {
		n += len(children[i].Head)
	}
	return n
}

// event is what the watchers of an execution are told.
type event struct {
	kind   eventKind
	state  store.State
	tail   *record.Tail
	stored *store.Record
	err    error
}

type eventKind int

const (
	ended     eventKind = iota // it has an outcome, or is parked: state and tail
	crashed                    // a run crashed; it will be tried again
	notNow                     // S7: the answer in tail, and the execution is forgotten
	refused                    // err: certainly nothing was done
	stale                      // S8
	halted                     // the node stops; it goes on later
	elsewhere                  // the record is another's: stored
)

// watcher is somebody who waits for what becomes of an execution.
type watcher struct {
	key store.Key
	c   chan event
}

// watch registers for what becomes of key. A watcher gets at most one event until it watches again.
func (n *Node) watch(key store.Key) *watcher {
	w := &watcher{key, make(chan event, 1)}
	n.mu.Lock()
	n.watchers[key] = append(n.watchers[key], w)
	n.mu.Unlock()
	return w
}

func (n *Node) unwatch(w *watcher) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.watchers[w.key]
	for i, v := range list {
		if v == w {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(n.watchers, w.key)
	} else {
		n.watchers[w.key] = list
	}
}

// change notes that f changed what the store is to hold of x. It does nothing when x is stopping: then nothing more is recorded.
func (x *execution) change(f func()) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil {
		return false
	}
	f()
	x.touch()
	return true
}

// touch has what was changed committed with the next batch; called with x.mu held.
func (x *execution) touch() {
	x.pos++
	if !x.dirty {
		x.dirty = true
		x.group = x.node.journal.add(x)
	}
}

// flush returns true when everything noted so far is durable, false when x is stopping before that. I5: every output waits here.
func (x *execution) flush() bool {
	x.mu.Lock()
	target := x.pos
	for x.durable < target {
		g, stopped := x.group, x.stopped
		if x.stop != nil {
			break
		}
		x.mu.Unlock()
		x.node.journal.want(g)
		select {
		case <-g.done:
		case <-stopped:
		}
		x.mu.Lock()
	}
	ok := x.stop == nil
	x.mu.Unlock()
	return ok
}

// accepted waits until x's record is durable, and is false when x is over without one, or ctx ends before that is known.
func (x *execution) accepted(ctx context.Context) bool {
	for {
		x.mu.Lock()
		stored, over := x.stored, x.stop != nil || x.left
		if !stored && !over && x.version == 0 && !x.dirty {
			x.touch()
		}
		g := x.group
		x.mu.Unlock()
		if stored || over {
			return stored
		}
		if x.node.journal.wait(ctx, g) != nil {
			return false
		}
	}
}

// take puts into b what x has noted; false when there is nothing.
func (x *execution) take(b *store.Batch) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dirty = false
	if x.stop != nil && x.stop.discard || x.forget && x.version == 0 {
		return false
	}
	x.version++
	c := store.Change{
		Key: x.key, Run: x.run, Version: x.version, State: x.state, Due: x.due, Bound: x.bound, Tail: x.tail,
		Chunk: x.chunk, Forget: x.forget,
	}
	if x.version == 1 {
		c.Function, c.Created, c.Certified, c.Print, c.Head, c.At = x.reg.name, x.created, x.certified, x.print, x.headBytes, x.at
	}
	for i := range x.children {
		c.Children = append(c.Children, x.children[i].Child)
	}
	x.onTheWay = delta{x.chunk, x.children, x.acks}
	x.chunk, x.children, x.acks = nil, nil, nil
	x.taken = x.pos
	b.Changes = append(b.Changes, c)
	return true
}

// committed is told what became of the change c.
func (x *execution) committed(c *store.Change, r *store.Result) {
	switch r.Status {
	case store.Done:
		x.done()
	case store.Stale:
		x.halt(&stop{cause: errStale, discard: true, news: &event{kind: stale}})
	default:
		if r.Key != x.key {
			x.refused(c, fmt.Errorf("%w: %q is the id of another message or execution", ErrReused, r.Key.ID))
			return
		}
		// Who loses a conflict is not the owner (S11): unwind, nothing of this run has left.
		x.halt(&stop{cause: errNotOwner, discard: true, news: &event{kind: elsewhere, stored: r.Stored}})
	}
}

var (
	errStale    = errors.New("the attempt was stale when it came to be stored")
	errNotOwner = errors.New("the execution is another run's")
)

func (x *execution) done() {
	x.mu.Lock()
	x.stored = true
	x.durable = x.taken
	d := x.onTheWay
	x.onTheWay = delta{}
	leave := x.leaving && !x.dirty && !x.left
	news := x.news
	if leave {
		x.left = true
	}
	x.mu.Unlock()
	for _, a := range d.acks {
		x.node.courier.acks.add(a) // A1: what it continues with is durable.
	}
	for i := range d.children {
		x.node.adopt(&d.children[i])
	}
	if leave {
		x.release(news)
	}
}

// refused says that the store certainly did not take the change c, and never will.
func (x *execution) refused(c *store.Change, err error) {
	if c.Version == 1 {
		x.halt(&stop{cause: err, discard: true, news: &event{kind: refused, err: err}})
		return
	}
	s := &stop{cause: err, park: fmt.Sprintf("the store refuses what it recorded: %v", err), refused: true}
	x.mu.Lock()
	if x.stop != nil && x.stop.refused && x.settled { // Not even that it is parked: what is stored stays, and nothing more is tried here.
		x.node.opt.Logger.Error("chttp: the store takes nothing of an execution, which does not go on in this process", "function", x.reg.name, "id", x.key.ID, "err", err)
		x.haltLocked(&stop{cause: err, discard: true, news: &event{kind: halted, err: err}})
		return
	}
	x.version--
	x.onTheWay = delta{}
	x.chunk, x.children, x.acks = nil, nil, nil
	if !x.leaving || x.left {
		x.haltLocked(s)
		return
	}
	// What it was to leave memory with is refused: it leaves parked instead (I8).
	if x.stop == nil {
		close(x.stopped)
	}
	x.stop, x.settled, x.forget, x.bound = s, true, false, 0
	x.shelve(s)
	x.touch()
	g := x.group
	x.mu.Unlock()
	x.node.journal.want(g)
}

// shelve notes that x is parked because of s; called with x.mu held.
func (x *execution) shelve(s *stop) {
	x.state, x.due = store.Parked, 0
	t := record.Tail{Why: s.park, Cause: s.because, Ended: x.node.now().UnixMilli()}
	x.tail = t.Append(nil)
	x.news = &event{kind: ended, state: store.Parked, tail: &t}
	x.node.opt.Logger.Error("chttp: parked", "function", x.reg.name, "id", x.key.ID, "why", s.park)
}

// untake gives back what the change c took, since the store has no room: what is new is refused, the rest is committed later.
func (x *execution) untake(c *store.Change, err error) {
	if c.Version == 1 {
		x.halt(&stop{cause: err, discard: true, news: &event{kind: refused, err: err}})
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.version--
	d := x.onTheWay
	x.onTheWay = delta{}
	x.chunk = record.Join(d.chunk, x.chunk)
	x.children = append(d.children, x.children...)
	x.acks = append(d.acks, x.acks...)
	x.node.journal.bytes.Add(int64(len(d.chunk) + bytesOf(d.children)))
	if !x.dirty {
		x.dirty = true
		x.group = x.node.journal.add(x)
	}
}
