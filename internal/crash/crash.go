// Package crash lets processes die at every point at which something becomes durable or leaves: before and after the n-th call of
// a store, before a request leaves and after it was worked on, on either side. A World is some processes, each a node on a memory of
// its own, that talk over a network without sockets. It watches from outside what no process may ever do, and keeps a record of it. Use
// it in a testing/synctest bubble: then hours of retrying and forgetting cost nothing.
package crash

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// Point is where a process dies.
type Point struct {
	Victim string
	Caller string // of the request; "" for a call of the victim's store
	N      int    // the number of the victim's store call, or of the caller's request, from 1
	After  bool   // it was done, and nobody hears of it
}

// String names the point as a test's log does.
func (p Point) String() string {
	when := "before"
	if p.After {
		when = "after"
	}
	if p.Caller == "" {
		return fmt.Sprintf("%s dies %s its store call %d", p.Victim, when, p.N)
	}
	return fmt.Sprintf("%s dies %s request %d of %s", p.Victim, when, p.N, p.Caller)
}

// restartDelay is how long a process that died stays dead.
const restartDelay = 700 * time.Millisecond

// World is processes and the network between them. The zero value is not usable. Its methods are safe for concurrent use.
type World struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex // guards what follows, and every access to a disk
	processes map[string]*Process
	plan      []Point
	points    []Point // that there were, while counting
	counting  bool
	events    []string
	mistakes  []string
	fresh     int
	wire      wire
	weather   *rand.Rand // nil: nothing takes time
}

// NewWorld returns a world whose processes die as planned.
func NewWorld(plan ...Point) *World {
	w := &World{processes: make(map[string]*Process), plan: plan, counting: true, wire: newWire()}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Weather makes commits and requests take time: mostly little, sometimes seconds. Call it before Start.
func (w *World) Weather(seed uint64) { w.weather = rand.New(rand.NewPCG(seed, 0)) }

// delays are what commits and requests take, with equal chances.
var delays = [...]time.Duration{
	0, 0, time.Millisecond, 3 * time.Millisecond, 9 * time.Millisecond, 11 * time.Millisecond, 40 * time.Millisecond, 2500 * time.Millisecond,
}

// pass lets the time pass that something takes.
func (w *World) pass() {
	if w.weather == nil {
		return
	}
	w.mu.Lock()
	d := delays[w.weather.IntN(len(delays))]
	w.mu.Unlock()
	time.Sleep(d)
}

// Program sets up one life of a process, whose node does not run yet. What it returns serves requests, and is what the process
// does by itself: begun anew in each life until it has once returned in a process that lives. Either may be nil.
type Program func(l *Life) (http.Handler, func(ctx context.Context) error)

// Process is a node's memory and the lives that it has had.
type Process struct {
	world   *World
	name    string
	program Program
	disk    *memstore.Store

	// Guarded by the world's mu.
	life     *Life
	lives    int
	calls    int  // of its store
	requests int  // by it
	works    bool // it has something to do by itself
	done     bool // and has done it
	raw      bool // its program makes requests by hand
	history  history
}

// Start adds a process, reachable as http://name/, and starts it.
func (w *World) Start(name string, program Program) *Process {
	p := &Process{world: w, name: name, program: program, disk: memstore.New(), history: newHistory()}
	w.mu.Lock()
	w.processes[name] = p
	w.mu.Unlock()
	w.wg.Go(p.run)
	time.Sleep(2 * time.Millisecond) // Whoever is started next finds it listening.
	return p
}

// run lets the process live again and again until the world ends.
func (p *Process) run() {
	for p.world.ctx.Err() == nil {
		p.live()
		select {
		case <-p.world.ctx.Done():
		case <-time.After(restartDelay):
		}
	}
}

// Life is a process between its start and its death.
type Life struct {
	Node *chttp.Node

	process *Process
	ctx     context.Context // ends with the life
	end     context.CancelFunc
	dead    bool // guarded by the world's mu
	handler http.Handler
}

// quiet discards what nodes log.
var quiet = slog.New(slog.DiscardHandler)

// Times of the worlds' nodes: everything is forgotten within Until + Linger.
const (
	Until     = 15 * time.Minute
	Linger    = 10 * time.Minute
	Retention = 10 * time.Minute
)

// live is one life.
func (p *Process) live() {
	w := p.world
	l := &Life{process: p}
	l.ctx, l.end = context.WithCancel(w.ctx)
	defer l.end()
	w.mu.Lock()
	p.life = l
	p.lives++
	w.mu.Unlock()
	n, err := chttp.New(&disk{l}, &chttp.Options{
		Transport: l, Logger: quiet, Policy: chttp.Policy{Until: Until}, Linger: Linger, Retention: Retention,
	})
	if err != nil {
		w.complain(l, "New: %v", err)
		return
	}
	l.Node = n
	handler, main := p.program(l)
	w.mu.Lock()
	l.handler = handler
	p.works = main != nil
	w.mu.Unlock()
	w.wg.Go(func() {
		if err := n.Run(l.ctx); err != nil {
			w.complain(l, "Run: %v", err)
		}
	})
	time.Sleep(time.Millisecond) // Run waits for work.
	if main != nil {
		w.wg.Go(func() { p.main(l, main) })
	}
	<-l.ctx.Done()
}

// main does what the process does by itself, until that was done once.
func (p *Process) main(l *Life, main func(context.Context) error) {
	w := p.world
	w.mu.Lock()
	done := p.done
	w.mu.Unlock()
	if done {
		return
	}
	if err := main(l.ctx); err != nil {
		w.complain(l, "its program: %v", err)
		return
	}
	w.mu.Lock()
	p.done = p.done || !l.dead
	w.mu.Unlock()
}

// kill ends the life where it stands; called with the world's mu held. Nothing that it does any more gets anywhere.
func (l *Life) kill() {
	if l.dead {
		return
	}
	l.dead = true
	l.process.life = nil
	l.process.world.events = append(l.process.world.events, "death of "+l.process.name)
	l.end()
}

// dies tells whether the plan has victim die at the point, and takes it from the plan; called with mu held.
func (w *World) dies(p Point) bool {
	if w.counting {
		w.points = append(w.points, p)
	}
	for i, q := range w.plan {
		if p == q {
			w.plan = append(append([]Point(nil), w.plan[:i]...), w.plan[i+1:]...)
			return true
		}
	}
	return false
}

// complain records a mistake of a process, unless it is dead: the dead may say anything.
func (w *World) complain(l *Life, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !l.dead && w.ctx.Err() == nil {
		w.mistake("%s: %s", l.process.name, fmt.Sprintf(format, args...))
	}
}

// mistake records that something happened that must not; called with mu held.
func (w *World) mistake(format string, args ...any) {
	w.mistakes = append(w.mistakes, fmt.Sprintf(format, args...))
}

// Effect records an effect outside of all processes. The dead have none.
func (l *Life) Effect(name string) {
	w := l.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if !l.dead {
		w.events = append(w.events, "effect "+name)
	}
}

// ByHand says that the process's program makes requests by RoundTrip: what they are is not in its memory.
func (l *Life) ByHand() {
	w := l.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	l.process.raw = true
}

// Fresh returns a number that nobody was given before: what is not deterministic.
func (l *Life) Fresh() int {
	w := l.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh++
	return w.fresh
}

// Events returns effects and deaths in the order in which they happened.
func (w *World) Events() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.events...)
}

// Settle lets the world go on until every process lives and has nothing unfinished, at most for limit. What is unfinished then is a
// mistake (I8), as is what is parked.
func (w *World) Settle(limit time.Duration) {
	quietly := 0
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		if len(w.unfinished()) > 0 {
			quietly = 0
		} else if quietly++; quietly > 3 { // acknowledgements have gone out as well
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.unfinishedNow() {
		w.mistake("I8: after %v: %s", limit, u)
	}
}

func (w *World) unfinished() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unfinishedNow()
}

func (w *World) unfinishedNow() (list []string) {
	for _, p := range w.processes {
		if p.life == nil || p.life.handler == nil && p.life.Node == nil {
			list = append(list, p.name+" is dead")
		}
		for _, r := range p.records() {
			if !r.State.Finished() {
				list = append(list, fmt.Sprintf("%s has %s %q %s: %s", p.name, r.Function, r.ID, r.State, r.Tail))
			}
		}
	}
	for _, p := range w.processes {
		if p.life != nil && p.works && !p.done {
			list = append(list, p.name+" has not done its work")
		}
	}
	return list
}

// Points returns where processes could have died so far, and counts no further.
func (w *World) Points() []Point {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting = false
	return w.points
}

// Missed returns what of the plan was not reached: an earlier death can make that a request is not made.
func (w *World) Missed() []Point {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plan
}

// Leftover returns what is in the stores (I9).
func (w *World) Leftover() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		for _, r := range p.records() {
			list = append(list, fmt.Sprintf("%s keeps %s %q %s", p.name, r.Function, r.Key, r.State))
		}
	}
	return list
}

// Close stops every process, waits for all that it ever began, and returns what went wrong.
func (w *World) Close() []string {
	w.cancel()
	w.wg.Wait()
	return w.mistakes
}

// records returns everything that the process has stored; called with the world's mu held.
func (p *Process) records() []*store.Record {
	list, err := p.disk.List(context.Background(), store.Query{Limit: 1 << 20})
	if err != nil {
		panic("crash: list a memory: " + err.Error())
	}
	return list
}
