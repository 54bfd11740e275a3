// Package sim is whole worlds of nodes in which everything is left to chance under one seed, and all faults happen at once: processes that
// die at their stores, their requests and in user code, that are stopped, or replaced while they live; stores that are full, slow, unread,
// or do not know what they did; clocks that differ and jump; a network that loses, doubles, delays, reorders, breaks and answers by itself.
// In them run random programs (functions and handlers that call each other, to and fro), clients without certification, clients made by
// hand, and peers without certification. A World watches from outside what no node may ever do, and when the faults have stopped, that
// everything comes to its end: I1 to I10 of docs/guarantees.md, as functions of those numbers.
//
// A World lives in a testing/synctest bubble, where days take a second. Its network is a RoundTripper, without connections: that is what
// can be controlled to the request.
//
// # How far a seed repeats itself
//
// What is drawn, is drawn of the seed and a name: of a message and its attempt, of a process and the number of its commit, of a program and
// the place in it. Programs, schedules and clocks are the same in every run of a seed. What is not: which of several goroutines goes first,
// the ids of messages and the secrets of stores, and the back-off of nodes. So the same message meets the same fault at the same attempt,
// but a commit may hold other changes in another run, and a process that dies at its 40th commit dies at another moment of its programs.
// TestASeedRepeatsItself says how much that is. Package crash is the place for faults at an exact point.
package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

// World is processes, whom they talk to, the network between them, and who watches. Its methods are safe for concurrent use.
type World struct {
	cfg    Config
	luck   luck
	begin  time.Time
	ctx    context.Context // ends with the world
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed chan struct{} // closed when something has gone wrong

	mu             sync.Mutex // guards what follows, and every access to a disk
	calm           bool       // no more faults
	fading         bool       // clocks are set ahead, so that everything is forgotten
	doers          map[string]doer
	processes      []*Process
	outside        map[string]outsider  // peers without a node, by host
	letters        map[string]*letter   // what went over the network, by id
	ids            map[string]string    // the ids of messages, by name
	sights         map[string]*sight    // what a message's sender was told before it, by the message's name
	tallies        map[string]int       // how often something happened, by name: what programs remember of earlier runs, by no right
	effects        map[string]int       // effects outside of all processes, by name
	asked          map[string]bool      // executions that were asked to end
	twins          map[string]bool      // executions that may be parked for an id that another has
	moments        map[string]time.Time // when something happened first, by name
	diverges       map[string]bool      // executions whose programs may differ from run to run
	early          map[string]bool      // those that ended before what was recorded
	outsideAnswers map[string]string    // what peers without a node have answered, by the message's name
	dealings       map[string]*dealing  // money, by chain
	promises       map[string]bool      // calls whose messages were certainly not done, by the messages' names
	histories      map[string][]Exchange
	fresh          int
	tick           int64
	flying         int             // copies of requests on their way
	jobs           map[string]bool // what is asked of nodes, and not done yet
	events         []event
	broken         []Violation
	counts         map[string]int
}

// Violation is something that happened and must not.
type Violation struct {
	Rule string // the invariant's name, or the rule's
	Text string
	At   time.Duration // since the world began
}

// String names rule, time and what happened.
func (v Violation) String() string { return fmt.Sprintf("%s at %v: %s", v.Rule, v.At, v.Text) }

// event is a line of a world's log.
type event struct {
	at     time.Duration
	format string
	args   []any
}

func (e *event) String() string {
	return fmt.Sprintf("%12v  %s", e.at, fmt.Sprintf(e.format, e.args...))
}

// NewWorld returns a world that has not begun.
func NewWorld(c Config) *World {
	w := &World{
		cfg: c, luck: luck(c.Seed), begin: time.Now(), failed: make(chan struct{}),
		outside: map[string]outsider{}, letters: map[string]*letter{}, ids: map[string]string{}, sights: map[string]*sight{},
		tallies: map[string]int{}, effects: map[string]int{}, dealings: map[string]*dealing{}, promises: map[string]bool{},
		histories: map[string][]Exchange{}, counts: map[string]int{},
		moments: map[string]time.Time{}, diverges: map[string]bool{}, early: map[string]bool{}, asked: map[string]bool{}, twins: map[string]bool{},
		jobs: map[string]bool{}, outsideAnswers: map[string]string{}, doers: doers(),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Play plays the whole life of a world, or until something goes wrong, and returns what is known of it at the end.
func (w *World) Play() *Result {
	w.start()
	if w.live() && w.settle() {
		w.fade()
	}
	w.end()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Result{Config: w.cfg, Broken: w.broken, Counts: w.counts, Histories: w.histories}
	for i := range w.events {
		r.Log = append(r.Log, w.events[i].String())
	}
	return r
}

// Result is what came of a world.
type Result struct {
	Config    Config
	Broken    []Violation
	Counts    map[string]int        // how often each thing was reached
	Histories map[string][]Exchange // of messages that clients made by hand, by id
	Log       []string
}

// start starts peers and processes.
func (w *World) start() {
	w.outside[dedupHost] = newRemembering(w)
	w.outside[plainHost] = &forgetting{w: w}
	for i := range w.cfg.Nodes {
		p := newProcess(w, hostOf(i), i)
		w.processes = append(w.processes, p)
		w.wg.Go(p.run)
		if w.has(Skew) || w.has(Jump) || w.has(Far) {
			w.wg.Go(p.clock.run)
		}
		if w.has(Rot) {
			w.wg.Go(p.rot)
		}
		if w.has(Stop) || w.has(Fence) {
			w.wg.Go(p.disturb)
		}
	}
}

// live lets faults happen for the world's length, while jobs are done; false when something has gone wrong.
func (w *World) live() bool {
	w.drive()
	return w.sleep(w.cfg.Length)
}

// sleep lets d pass, unless something goes wrong: then it is false.
func (w *World) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.failed:
		return false
	}
}

// settle ends all faults and waits until everything has come to its end (I8); false when something has gone wrong.
func (w *World) settle() bool {
	w.mu.Lock()
	w.calm = true
	w.event("calm")
	for _, p := range w.processes {
		p.clock.calm()
		p.mend()
		p.lag, p.lagAt = p.behind(), time.Now()
		if p.life != nil && p.life.lacks {
			p.life.kill("lacks a function")
		}
	}
	w.mu.Unlock()
	quiet := 0
	for end := time.Now().Add(settleLimit); time.Now().Before(end) && quiet < 3; {
		if !w.sleep(settlePoll) {
			return false
		}
		if !w.stillBusy() && len(w.unfinished()) == 0 {
			quiet++
		} else {
			quiet = 0
		}
	}
	w.i1()
	w.i8()
	w.i10()
	w.money()
	return w.sleep(0)
}

// The limits of what comes after the faults. A clock that was hours ahead may have written down times that are hours ahead.
const (
	settleLimit = 30 * time.Hour
	settlePoll  = 5 * time.Second
)

// fade lets time pass until everything is forgotten: what the floor rules by the time that passes, the rest by clocks that are all set
// ahead by as much.
func (w *World) fade() {
	for end := time.Now().Add(settleLimit); time.Now().Before(end) && w.kept(true) > 0; {
		if !w.sleep(time.Minute) {
			return
		}
	}
	if !w.sleep(linger + 2*time.Minute) {
		return
	}
	w.i9Lingers()
	w.s8Lag()
	w.mu.Lock()
	w.fading = true
	for _, p := range w.processes {
		p.clock.offset += retention + 25*time.Hour
	}
	w.mu.Unlock()
	for end := time.Now().Add(time.Hour); time.Now().Before(end) && w.kept(false) > 0; {
		if !w.sleep(time.Minute) {
			return
		}
	}
	w.i9()
}

// end stops every process and waits for all that the world ever began.
func (w *World) end() {
	w.cancel()
	done := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Hour):
		w.mu.Lock()
		w.violate("I9", "an hour after the end goroutines are left")
		w.mu.Unlock()
	}
}

// has tells whether the world has a fault at all.
func (w *World) has(f Fault) bool { return w.cfg.Faults.Has(f) }

// strikes tells whether the fault f happens to number n of name, and counts it. rate is its probability. Called with mu held.
func (w *World) strikes(f Fault, rate float64, name string, n int) bool {
	if w.calm || !w.has(f) || !w.luck.chance(min(rate*w.cfg.Scale, 0.7), f.String(), name, n) {
		return false
	}
	w.counts["fault: "+f.String()]++
	return true
}

// hit counts something that was reached; called with mu held.
func (w *World) hit(what string) { w.counts[what]++ }

// reached is hit; called without mu held.
func (w *World) reached(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hit(what)
}

// event writes a line of the log; called with mu held, or before anything else runs. What args point to does not change.
func (w *World) event(format string, args ...any) {
	w.events = append(w.events, event{time.Since(w.begin), format, args})
}

// violate records that something happened that must not; called with mu held.
func (w *World) violate(rule, format string, args ...any) {
	v := Violation{rule, fmt.Sprintf(format, args...), time.Since(w.begin)}
	if len(w.broken) == 0 {
		close(w.failed)
	}
	if len(w.broken) < maxViolations && !slices.ContainsFunc(w.broken, func(b Violation) bool { return b.Rule == v.Rule && b.Text == v.Text }) {
		w.broken = append(w.broken, v)
	}
	w.event("VIOLATION %v", v)
}

// wrong is violate; called without mu held.
func (w *World) wrong(rule, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violate(rule, format, args...)
}

// maxViolations bounds what is reported: the first one counts.
const maxViolations = 20

// number returns one that nobody was given before: what is not deterministic.
func (w *World) number() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh++
	return w.fresh
}

// count counts what happens under a name, from 1, outside of all memories.
func (w *World) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tallies[name]++
	return w.tallies[name]
}

// stillBusy tells, at less cost than unfinished, that something is unfinished for certain.
func (w *World) stillBusy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flying > 0 {
		return true
	}
	for _, p := range w.processes {
		for _, e := range p.memory.execs {
			if !e.state.Finished() && e.state != store.Parked {
				return true
			}
		}
	}
	return false
}

// unfinished says what is not at its end: dead processes, jobs, records.
func (w *World) unfinished() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.jobs)) {
		list = append(list, "job "+name+" is not done")
	}
	for _, p := range w.processes {
		if !p.life.serving() {
			list = append(list, p.name+" is dead")
		}
		for _, r := range p.records() {
			if !r.State.Finished() && r.State != store.Parked {
				list = append(list, fmt.Sprintf("%s has %s %q %s until %v", p.name, r.Function, p.called(r), r.State, time.UnixMilli(r.Due).Sub(w.begin)))
			}
		}
	}
	return list
}

// kept counts the records that are left, or only those that the floor rules. What is parked is kept.
func (w *World) kept(certified bool) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		for _, r := range p.records() {
			if r.State.Finished() && (r.Certified || !certified) {
				n++
			}
		}
	}
	return n
}

// hostOf returns the name of process i.
func hostOf(i int) string { return string(rune('a' + i)) }

// hosts returns the names of all processes.
func (w *World) hosts() []string {
	list := make([]string, w.cfg.Nodes)
	for i := range list {
		list[i] = hostOf(i)
	}
	return list
}

// parent returns the name of the program that made what is called name, and the place in it.
func parent(name string) (exec, path string) {
	i := strings.LastIndexByte(name, '~')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}
