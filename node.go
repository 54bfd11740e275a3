package chttp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certifiedhttp/chttp/internal/probe"
	"github.com/certifiedhttp/chttp/store"
)

// Node is a process's durable identity: client and server at once. Make one with New; it is safe for concurrent use.
type Node struct {
	opt          Options
	store        store.Store
	clock        func() time.Time
	watcher      probe.Watcher // nil but in the project's own test helpers, as is the next
	registrar    probe.Registrar
	id           store.Identity
	idKey        []byte // derives message ids (C1)
	caps         *capabilities
	journal      *journal
	courier      *courier
	runs         atomic.Uint64 // numbers the records that this incarnation makes
	floor        atomic.Int64  // F of S8, Unix milliseconds, as last committed
	phase        atomic.Int32
	fenced       chan struct{} // closed when another process has taken over, or the store is gone
	over         chan struct{} // closed when Run has returned
	fence        sync.Once
	fenceBy      error
	ownTransport bool
	looks        bool           // the store is open for reading only
	lanes        [2]*scanner    // of executions that run user code, and of parcels
	tasks        sync.WaitGroup // runs, branches and attempts under way
	stripes      [256]sync.Mutex
	seed         maphash.Seed

	mu        sync.Mutex // guards what follows
	functions map[string]*registration
	mistakes  []error
	residents map[store.Key]*execution
	bytes     int // of the residents' heads and oplogs
	parcels   int // residents that are sends
	watchers  map[store.Key][]*watcher
}

// The phases of a node's life.
const (
	phaseNew int32 = iota
	phaseRunning
	phaseStopping
	phaseStopped
)

// errStopped is what a node answers that no longer takes work.
var errStopped = errors.New("the node has stopped: its Run has returned or was asked to; start the process again, or make a new node")

// errReadOnly is what a node answers that is only to look.
var errReadOnly = fmt.Errorf("%w, so this node looks and does nothing else; make one of a store that is open for writing", store.ErrReadOnly)

// New makes a node of the store. It joins the store, which fences an earlier node on it, and starts nothing: messages and
// executions are stored at once, and done while Run runs.
//
// Of a store that is open for reading only, such as sqlitestore.OpenReader opens beside a process that runs, it makes a node that looks
// and disturbs nobody: Lookup, Attach, Wait for what has ended, CheckReplay and message URLs work; what would run or store something is
// refused with store.ErrReadOnly, and nothing is done.
func New(s store.Store, o *Options) (*Node, error) {
	if s == nil {
		return nil, errors.New("chttp: New: the store is nil; open one with sqlitestore.Open, or memstore.New in a test")
	}
	opt, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("chttp: New: %w", err)
	}
	clock := time.Now
	if c, ok := s.(probe.Clock); ok {
		clock = c.Now
	}
	id, err := s.Join(context.Background(), clock().Add(-opt.Linger).UnixMilli())
	looks := errors.Is(err, store.ErrReadOnly)
	if err != nil && !looks {
		return nil, fmt.Errorf("chttp: New: join the store: %w", err)
	}
	n := &Node{
		opt: opt, store: s, clock: clock, id: id, idKey: deriveKey(id.Secret, "message ids"), caps: newCapabilities(id.Secret),
		over: make(chan struct{}), fenced: make(chan struct{}), seed: maphash.MakeSeed(),
		functions: make(map[string]*registration), residents: make(map[store.Key]*execution),
		watchers: make(map[store.Key][]*watcher), ownTransport: o == nil || o.Transport == nil,
		looks: looks,
	}
	n.watcher, _ = s.(probe.Watcher)
	n.registrar, _ = s.(probe.Registrar)
	n.floor.Store(id.Floor)
	n.runs.Store(id.Token.Incarnation << 32)
	n.journal = newJournal(n)
	n.lanes = [2]*scanner{newScanner(false), newScanner(true)}
	n.courier = newCourier(n)
	facts, err := s.Facts(context.Background())
	if err != nil {
		return nil, fmt.Errorf("chttp: New: read the facts: %w", err)
	}
	n.courier.learn(facts)
	n.Register(sendFunction{}, failedFunction{})
	return n, nil
}

func deriveKey(secret []byte, purpose string) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(purpose))
	return m.Sum(nil)
}

// Registrant is what Register takes: a *Function.
type Registrant interface{ register(*Node) }

// Register makes functions known, so that executions of them can be started and, after a crash, found again. Do it before Run, which
// returns an error for a nil function or a name that is registered twice. What is registered later is not known: it is logged.
func (n *Node) Register(fns ...Registrant) {
	for _, f := range fns {
		f.register(n)
	}
}

// registration is what a name in a record stands for.
type registration struct {
	name     string
	attempts int // crashes until parked
	parcel   bool
	server   *server
	run      func(ctx context.Context, x *execution) (*result, error)
}

// registerFunction makes r known, or returns what is wrong with it, which Run then says too.
func (n *Node) registerFunction(r *registration) (mistake error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case r.name == "":
		mistake = errors.New("a function or handler was registered without a name: the name finds it again after a crash")
	case r.run == nil && !r.parcel:
		mistake = fmt.Errorf("function %q is nil", r.name)
	case n.functions[r.name] != nil:
		mistake = fmt.Errorf("the name %q is registered twice: a name finds one function again after a crash", r.name)
	case n.phase.Load() != phaseNew:
		mistake = fmt.Errorf("%q is registered after Run: what is unfinished may already be parked for want of it", r.name)
	default:
		n.functions[r.name] = r
		return nil
	}
	if n.phase.Load() != phaseNew { // Run says nothing any more, and what was registered in time goes on.
		n.opt.Logger.Error("chttp: a function or handler cannot be used", "err", mistake)
		return mistake
	}
	n.mistakes = append(n.mistakes, mistake)
	return mistake
}

func (n *Node) function(name string) *registration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.functions[name]
}

// mistake returns what was wrong with the registrations, or nil.
func (n *Node) mistake() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.mistakes...)
}

// Run recovers what is unfinished, delivers, retries and forgets, until ctx ends; then it stops what runs, which goes on at the next Run
// on the same store, and waits for it. It returns nil when ctx ended, and an error when the node cannot go on: a
// mistake in its registrations, another process that has taken over the store, a store that was closed. It can be called once.
func (n *Node) Run(ctx context.Context) error {
	if err := n.mistake(); err != nil {
		return fmt.Errorf("chttp: Run: %w", err)
	}
	if n.looks {
		return fmt.Errorf("chttp: Run: %w", errReadOnly)
	}
	if !n.phase.CompareAndSwap(phaseNew, phaseRunning) {
		return errors.New("chttp: Run was called before on this node; make a new node to run again")
	}
	defer close(n.over)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { n.journal.run(background) })
	if err := n.unparkRegistered(background); err != nil {
		n.opt.Logger.Error("chttp: cannot look for parked executions", "err", err)
	}
	for _, s := range n.lanes {
		wg.Go(func() { s.run(background, n) })
	}
	wg.Go(func() { n.keepFloor(background) })
	wg.Go(func() { n.courier.acks.run(background) })

	select {
	case <-ctx.Done():
	case <-n.fenced:
	}
	n.phase.Store(phaseStopping)
	n.stopAll()
	n.courier.acks.last()
	n.phase.Store(phaseStopped)
	stop()
	wg.Wait()
	n.journal.write()
	if t, ok := n.opt.Transport.(interface{ CloseIdleConnections() }); ok && n.ownTransport {
		t.CloseIdleConnections()
	}
	select {
	case <-n.fenced:
		return fmt.Errorf("chttp: Run: %w", n.fenceBy)
	default:
		return nil
	}
}

// stopAll stops every run and waits for user code to come back.
func (n *Node) stopAll() {
	n.mu.Lock()
	all := make([]*execution, 0, len(n.residents))
	for _, x := range n.residents {
		all = append(all, x)
	}
	n.mu.Unlock()
	for _, x := range all {
		x.halt(&stop{cause: errStopped})
	}
	n.courier.stop()
	slow := time.AfterFunc(slowStop, func() {
		n.opt.Logger.Warn("chttp: Run is stopping and still waits for functions, handlers or steps that ignore their context")
	})
	defer slow.Stop()
	n.tasks.Wait()
}

// lost is called when the store is no longer ours: everything stops, nothing more is recorded.
func (n *Node) lost(err error) {
	n.fence.Do(func() {
		n.fenceBy = err
		close(n.fenced)
		n.mu.Lock()
		all := make([]*execution, 0, len(n.residents))
		for _, x := range n.residents {
			all = append(all, x)
		}
		n.mu.Unlock()
		for _, x := range all {
			x.halt(lostStore(err))
		}
	})
}

// lostStore stops an execution whose store is no longer ours: whoever has the store now goes on with it, if it was stored.
func lostStore(err error) *stop {
	return &stop{cause: err, discard: true, news: &event{kind: halted, err: err}}
}

// open tells whether the node takes new work: nil, or why not.
func (n *Node) open() error {
	if err := n.mistake(); err != nil {
		return err
	}
	if n.looks {
		return errReadOnly
	}
	select {
	case <-n.fenced:
		return n.fenceBy
	default:
	}
	if n.phase.Load() >= phaseStopping {
		return errStopped
	}
	return nil
}

// now is the time by the wall clock: what is written down, and compared with what others wrote down.
func (n *Node) now() time.Time { return n.clock() }

// until is how long it is until t, by the wall clock.
func (n *Node) until(t time.Time) time.Duration { return t.Sub(n.now()) }

// isFenced tells whether the store is no longer ours: whoever has it goes on with what is in it.
func (n *Node) isFenced() bool {
	select {
	case <-n.fenced:
		return true
	default:
		return false
	}
}

func (n *Node) running() bool { return n.phase.Load() == phaseRunning }

// stripe is locked while it is decided whether the execution of key is new (S4): so two copies cannot both find it so.
func (n *Node) stripe(key store.Key) *sync.Mutex {
	return &n.stripes[maphash.Comparable(n.seed, key)%uint64(len(n.stripes))]
}

func (n *Node) resident(key store.Key) *execution {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.residents[key]
}

// Info is what is known of an execution.
type Info struct {
	ID        ID
	Function  string
	State     string // running, waiting, parked, answered, rejected, undelivered, unknown, canceled
	Principal string
	Labels    map[string]string
	Status    int
	Replaying bool
	Err       error
}
