package sim

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// Process is a machine: a memory, a clock, and one life after another on it, each a node.
type Process struct {
	w     *World
	name  string
	index int
	disk  *memstore.Store
	clock clock

	// Guarded by the world's mu.
	life     *Life // the latest that has joined the store
	lives    int
	calls    int // of its store
	requests map[string]int
	fullTill time.Time
	rotten   store.Key
	lag      time.Duration // of the floor, at lagAt
	lagAt    time.Time
	memory   memory
}

func newProcess(w *World, name string, index int) *Process {
	p := &Process{w: w, name: name, index: index, disk: memstore.New(), requests: map[string]int{}, memory: newMemory()}
	p.clock.p = p
	return p
}

// Life is a process between its start and its end.
type Life struct {
	p    *Process
	n    int
	node *chttp.Node
	fns  functions

	ctx  context.Context // of Run: ends when the process dies or is asked to stop
	stop context.CancelFunc
	over chan struct{} // closed when the next life may begin
	gone chan struct{} // closed when this one is dead
	born time.Time

	// Guarded by the world's mu.
	dead     bool
	leaving  bool // over is closed
	stopping bool // in order
	replaced bool // by a life that began while it went on
	lacks    bool // a function
	handler  http.Handler
	calls    int // of its store, since second
	second   time.Time
	runs     map[string]int // runs of programs under way
	unsure   *store.Batch   // what has to be committed again before anything else
}

// Times of the worlds' nodes. Clocks jump by less than retention, so that a name is given once.
const (
	retention = 3 * 24 * time.Hour
	linger    = 10 * time.Minute
)

// run lets the process live again and again until the world ends.
func (p *Process) run() {
	time.Sleep(time.Duration(p.index) * time.Millisecond) // in this order
	for p.w.ctx.Err() == nil {
		l := p.begin()
		if l != nil {
			<-l.over
		}
		if l == nil || !l.wasReplaced() {
			p.down()
		}
	}
}

// down is how long the process stays dead.
func (p *Process) down() {
	w := p.w
	w.mu.Lock()
	d := w.luck.span(20*time.Millisecond, 20*time.Second, "restart", p.name, p.lives)
	if w.strikes(Outage, 0.1, p.name, p.lives) {
		d = w.luck.span(time.Minute, time.Hour, "outage", p.name, p.lives)
	}
	if w.calm {
		d = time.Second
	}
	w.mu.Unlock()
	for end := time.Now().Add(d); time.Now().Before(end); { // The calm ends it.
		if !w.wait(min(time.Until(end), 10*time.Second)) {
			return
		}
	}
}

// quiet discards what nodes log.
var quiet = slog.New(slog.DiscardHandler)

// begin begins a life; nil where the store could not be opened.
func (p *Process) begin() *Life {
	w := p.w
	l := &Life{p: p, over: make(chan struct{}), gone: make(chan struct{}), born: time.Now(), runs: map[string]int{}}
	l.ctx, l.stop = context.WithCancel(w.ctx)
	w.mu.Lock()
	p.lives++
	l.n = p.lives
	w.event("%s: life %d begins", p.name, l.n)
	w.mu.Unlock()
	n, err := chttp.New(&disk{l}, l.options())
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.calm && !l.dead && w.ctx.Err() == nil {
			w.violate("I8", "%s: New: %v", p.name, err)
		}
		l.kill("its node cannot be made")
		w.hit("a node cannot be made")
		return nil
	}
	l.node = n
	handler := l.serve()
	w.mu.Lock()
	l.handler = handler
	w.mu.Unlock()
	w.wg.Go(func() { l.exit(n.Run(l.ctx)) })
	return l
}

// options are the node's.
func (l *Life) options() *chttp.Options {
	w, p := l.p.w, l.p
	until := 15 * time.Minute
	if w.luck.chance(0.2, "until", p.name, 0) {
		until = 3 * time.Hour
	}
	o := &chttp.Options{
		Transport: l, Logger: quiet, Policy: chttp.Policy{Until: until}, Linger: linger, Retention: retention,
		MaxResident: w.cfg.Resident, Destination: l.destination, Errors: []error{errOutcome, errStep, io.ErrUnexpectedEOF},
	}
	if p.hasFailed() {
		o.Failed = l.failed
	}
	return o
}

// secret is in every credential, and on no disk (S12).
const secret = "the secret of "

// destination knows the peer that keeps no keys, and signs requests with the process's name.
func (l *Life) destination(_ context.Context, req *http.Request) (chttp.Destination, error) {
	d := chttp.Destination{
		Plain: req.URL.Host == plainHost, Concurrency: 1 + l.p.w.luck.pick(8, "concurrency", l.p.name+req.URL.Host, 0),
		Authorize: func(req *http.Request) error {
			req.Header.Set(headerAuthorization, secret+l.p.name)
			return nil
		},
	}
	if l.p.w.luck.chance(0.2, "rate", l.p.name+req.URL.Host, 0) {
		d.Rate = 5
	}
	return d, nil
}

// exit is the end of a life whose Run has returned.
func (l *Life) exit(err error) {
	w := l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case l.dead, w.ctx.Err() != nil:
	case err == nil && l.stopping:
		w.hit("stopped in order")
	case errors.Is(err, store.ErrFenced) && l.replaced:
		w.hit("fenced")
	case errors.Is(err, store.ErrUnknown) && l.stopping:
		w.hit("stopped without knowing")
	default:
		w.violate("I8", "%s: Run of life %d: %v", l.p.name, l.n, err)
	}
	l.kill("exit")
}

// kill ends the life where it stands: nothing that it does any more gets anywhere. Called with mu held.
func (l *Life) kill(why string) {
	if l.dead {
		return
	}
	l.dead = true
	close(l.gone)
	l.p.w.event("%s: life %d ends: %s", l.p.name, l.n, why)
	l.stop()
	l.leave()
}

// leave lets the next life begin; called with mu held.
func (l *Life) leave() {
	if !l.leaving {
		l.leaving = true
		close(l.over)
	}
}

// current tells whether what the life does counts: it is not dead, and nobody has taken its place. Called with mu held.
func (l *Life) current() bool { return !l.dead && l.p.life == l }

// serving tells whether the life takes requests; called with mu held.
func (l *Life) serving() bool { return l != nil && !l.dead && l.handler != nil }

func (l *Life) wasReplaced() bool {
	l.p.w.mu.Lock()
	defer l.p.w.mu.Unlock()
	return l.replaced
}

// disturb stops the process in order, or has another one take over its store, now and then.
func (p *Process) disturb() {
	w := p.w
	for n := 1; w.wait(w.luck.span(30*time.Second, 30*time.Minute, "disturb", p.name, n)); n++ {
		w.mu.Lock()
		l := p.life
		switch {
		case !l.serving() || l.stopping || l.replaced:
		case w.strikes(Fence, 0.4, p.name, n):
			w.event("%s: life %d is replaced", p.name, l.n)
			l.replaced = true
			l.leave()
		case w.strikes(Stop, 0.4, p.name, n):
			w.event("%s: life %d is asked to stop", p.name, l.n)
			l.stopping = true
			l.stop()
		}
		w.mu.Unlock()
	}
}

// recoveryTime is how long after its beginning a life is said to recover.
const recoveryTime = 2 * time.Second

// dies lets the process die by f, with a probability, and says where; called with mu held.
func (l *Life) dies(f Fault, rate float64, name string, n int, where string) bool {
	w := l.p.w
	if l.dead || l.replaced || !w.strikes(f, rate, l.p.name+" "+name, n) {
		return false
	}
	w.hit("dies " + where)
	if time.Since(l.born) < recoveryTime && l.n > 1 {
		w.hit("dies during recovery")
	}
	l.kill("dies " + where)
	return true
}

// records returns everything that the process has stored; called with mu held.
func (p *Process) records() []*store.Record {
	list, err := p.disk.List(context.Background(), store.Query{Limit: 1 << 20})
	if err != nil {
		panic("sim: list a memory: " + err.Error())
	}
	return list
}

// record returns the record of key, nil if there is none; called with mu held.
func (p *Process) record(key store.Key) *store.Record {
	r, err := p.disk.Read(context.Background(), key)
	if err != nil {
		return nil
	}
	return r
}

// lacks tells whether there is certainly no record of key; called with mu held.
func (p *Process) lacks(key store.Key) bool {
	_, err := p.disk.Read(context.Background(), key)
	return errors.Is(err, store.ErrNotFound)
}

// mend makes good what is damaged; called with mu held.
func (p *Process) mend() { p.disk.Damage(p.rotten, false) }

// rot damages a record for a while, now and then.
func (p *Process) rot() {
	w := p.w
	for n := 1; w.wait(w.luck.span(10*time.Second, 20*time.Minute, "rot", p.name, n)); n++ {
		w.mu.Lock()
		var key store.Key
		for _, e := range p.memory.all[max(0, len(p.memory.all)-8):] { // of the latest
			if !e.swept && !e.notNow {
				key = e.key
				break
			}
		}
		struck := key.ID != "" && w.strikes(Rot, 0.5, p.name, n)
		if struck {
			w.event("%s: the record of %q is damaged", p.name, p.memory.known[key].name)
			p.rotten = key
			p.disk.Damage(key, true)
		}
		w.mu.Unlock()
		if struck {
			w.wait(w.luck.span(time.Second, 10*time.Minute, "rots", p.name, n))
			w.mu.Lock()
			p.mend()
			w.mu.Unlock()
		}
	}
}

// called returns what a record is called in the world; called with mu held.
func (p *Process) called(r *store.Record) string {
	if e := p.memory.execs[r.Key]; e != nil {
		return e.name
	}
	return r.ID
}

// hasFailed tells whether the node has an Options.Failed.
func (p *Process) hasFailed() bool { return p.w.luck.chance(0.7, "failed", p.name, 0) }

// knows tells whether it is durable that a host is certified; called with mu held.
func (p *Process) knows(host string) bool {
	facts, err := p.disk.Facts(context.Background())
	if err != nil {
		return false
	}
	for _, f := range facts {
		if f.Name == "peer http://"+host {
			return strings.Contains(string(f.Value), `"certified":true`)
		}
	}
	return false
}
