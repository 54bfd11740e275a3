package chttptest

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

// Resumes proves that fn, run with input, has everything that it needs to go on after a crash. It runs fn once undisturbed, against
// Options.Peers, and then again for every place where its process can die: before an operation, after it was recorded and before that
// was durable, after that, before a request arrives and after its work was done, before and after the outcome is stored; and then with
// two deaths, the second in the recovery from the first. Whatever the world answers is what it answered the first time. So fn must make the
// same operations, send the same requests under the same ids, have the same effects and come to the same outcome, byte for byte; where
// it does not, the test fails, and shows where, and what is likely the cause.
//
// It also finds what needs no crash to be wrong: clocks, random numbers, map order and variables outside that are not recorded, goroutines that
// make operations or race with them, values that the codec changes, deadlines that are not derived from chttp.Now, and locks or
// transactions that are held across an operation.
//
// Every run is in a testing/synctest bubble of its own, where time costs nothing and begins in the year 2000: call Resumes outside of one, and make
// in Options.Setup and Options.Fresh what has channels, timers or goroutines of its own. Runs share the variables of the process:
// tests that run in parallel with it must not change what fn reads.
func Resumes[In, Out any](t TB, fn *chttp.Function[In, Out], input In, o *Options) {
	t.Helper()
	prove(t, o, &subject{
		kind: "function",
		register: func(n *chttp.Node) http.Handler {
			n.Register(fn)
			return nil
		},
		start: func(ctx context.Context, n *chttp.Node) error {
			_, err := fn.Start(ctx, n, rootID, input)
			return err
		},
	})
}

// proof is one use of Resumes.
type proof struct {
	t       TB
	test    *testing.T // in which bubbles can be made
	opt     Options
	subject *subject
	world   *world // of the undisturbed run; nil during it
	works   map[string]map[work]int
	name    string // of the function

	delay time.Duration // of a trial, behind the undisturbed run
	gap   time.Duration // between two lives
	found []*finding
	runs  int
	text  string

	missed []point // deaths that did not come about

	number int    // of this proof in its test
	jobs   int    // given to processes
	files  string // where they are
}

// mostFindings is how many different findings are printed.
const mostFindings = 3

// prove proves s. It is false when something was found.
func prove(t TB, o *Options, s *subject) bool {
	t.Helper()
	if bubbleOf(goroutineHeader()) != "" {
		t.Fatal("chttptest: Resumes makes bubbles of its own: call it outside of testing/synctest.Test")
	}
	p := &proof{t: t, opt: o.withDefaults(), subject: s, number: count(t)}
	if err := p.opt.validate(); err != nil {
		t.Fatalf("chttptest: %v", err)
	}
	job, mine := p.child()
	if !mine {
		return true
	}
	if test, ok := t.(*testing.T); ok {
		p.prove(test, job)
	} else {
		t.Run("resumes", func(test *testing.T) { p.prove(test, job) })
	}
	switch {
	case p.text != "":
		t.Error(p.text)
	case !p.test.Failed():
		t.Logf("chttptest: %s resumes: %d operations, %d runs, seed %d", p.title(), len(p.world.order), p.runs, p.opt.Seed)
		if len(p.missed) > 0 { // Branches and messages have no order between them: one may have ended before another is asked for.
			t.Logf("chttptest: %d deaths did not come about, such as %v", len(p.missed), p.missed[0])
		}
	}
	return p.text == "" && !p.test.Failed()
}

func (p *proof) prove(test *testing.T, j *job) {
	p.test = test
	if j != nil {
		p.do(j)
	}
	p.search()
	p.text = p.report()
}

// search looks for what is wrong.
func (p *proof) search() {
	if !p.undisturbed() {
		return
	}
	if p.opt.Only != "" {
		p.only()
		return
	}
	if f := p.locks(); f != nil {
		p.found = append(p.found, f)
		return // What is locked may stay so after a crash.
	}
	if !p.steady() {
		return
	}
	points := p.sample(p.world.points(), p.opt.Singles)
	for _, at := range points {
		if len(p.found) >= mostFindings || p.test.Failed() {
			return
		}
		tr := p.disturbed(at)
		if p.try(tr) && len(tr.plan) > 0 {
			p.missed = append(p.missed, at)
		}
	}
	p.pairs()
	if p.opt.Process {
		p.processes()
	}
}

// undisturbed does the run that the others are compared with. It is false when there is nothing to compare.
func (p *proof) undisturbed() bool {
	tr := p.newTrial("undisturbed")
	ok := p.play(tr)
	if h := tr.histories[tr.root]; h != nil {
		p.name = h.function
	}
	h := tr.histories[tr.root]
	for _, x := range tr.histories {
		if how := x.crashes(); len(how) > 0 {
			p.found = []*finding{{what: foundCrashed, trial: tr, text: crashedIn(how[0])}}
			return false
		}
	}
	if !ok {
		return false
	}
	if h == nil || !h.state.Finished() {
		p.found = append(p.found, tr.unfinished(h))
		return false
	}
	p.works = make(map[string]map[work]int)
	for host, peer := range tr.peers {
		p.works[host] = peer.works
	}
	p.world = newWorld(tr)
	p.found = append(p.found, tr.coded...)
	p.delay, p.gap = shifts(p.world)
	return len(p.found) == 0
}

// Shifts of a trial's lives where nothing has a deadline.
const (
	longDelay = 397*24*time.Hour + 3661*time.Second + time.Millisecond
	longGap   = 3661*time.Second + time.Millisecond
)

// shifts returns how much later than the undisturbed run another is, and each further life after the one before: so much that whatever is
// made of a clock shows, and so little that nothing comes to its end which did not in the undisturbed run.
func shifts(w *world) (delay, gap time.Duration) {
	if w.nearest == 0 {
		return longDelay, longGap
	}
	gap = max(time.Millisecond, min(longGap, w.nearest/100).Truncate(time.Millisecond))
	if w.deadlines {
		return gap, gap
	}
	return longDelay, gap
}

// play does a trial, in a bubble. It is false when it has found something.
func (p *proof) play(tr *trial) bool {
	p.runs++
	err := bubble(p.test, p.opt.Patience, func() { tr.late.Store(true) }, tr.play)
	if err != nil {
		p.found = append(p.found, &finding{what: foundEndless, trial: tr, text: err.Error()})
		return false
	}
	p.found = append(p.found, tr.findings...)
	return len(tr.findings) == 0 && !p.test.Failed()
}

// try does a trial and compares its end with the undisturbed run's.
func (p *proof) try(tr *trial) bool {
	if !p.play(tr) {
		return false
	}
	if f := tr.compareEnd(); f != nil {
		f.trial, f.died = tr, tr.died
		p.found = append(p.found, f)
		return false
	}
	return true
}

func (p *proof) disturbed(plan ...point) *trial {
	tr := p.newTrial(planText(plan), plan...)
	tr.delay, tr.gap = p.delay, p.gap
	return tr
}

// steady does runs without a crash: at the same time, later, and with operations that take their time.
func (p *proof) steady() bool {
	if !p.try(p.newTrial("again")) {
		return false
	}
	for _, delay := range p.delays() {
		later := p.newTrial("later")
		later.delay = delay
		if !p.try(later) {
			return false
		}
	}
	return p.try(p.slowTrial()) && p.try(p.dawdling())
}

// delays returns how much later runs start whose clocks are to show: after that of disturbed runs, in another half of the day and of the week, and in
// another decade. A function that asks only whether it is a weekend, or office hours, is caught by one of them.
func (p *proof) delays() []time.Duration {
	if p.delay != longDelay {
		return []time.Duration{p.delay}
	}
	return []time.Duration{longDelay, longDelay + 11*time.Hour, longDelay + 4*24*time.Hour, longDelay + 25*365*24*time.Hour}
}

// dawdling returns a trial in which operations take their time by the clock, as far as nothing comes to its end by that: what is made of
// how long they took shows.
func (p *proof) dawdling() *trial {
	tr := p.newTrial("slow")
	tr.slow = func(*operation) time.Duration { return p.gap }
	return tr
}

// sample returns at most n of list, in their order, as the seed draws them.
func (p *proof) sample(list []point, n int) []point {
	if len(list) <= n {
		return list
	}
	if n <= 0 {
		return nil
	}
	r := rand.New(rand.NewPCG(p.opt.Seed, 0))
	picked := r.Perm(len(list))[:n]
	slices.Sort(picked)
	out := make([]point, n)
	for i, k := range picked {
		out[i] = list[k]
	}
	return out
}

// pairs does runs with two deaths, the second in the recovery from the first.
func (p *proof) pairs() {
	points := p.world.points()
	r := rand.New(rand.NewPCG(p.opt.Seed, 1))
	all := len(points) * (len(points) + 1) / 2
	for i, first := range points {
		for _, second := range points[i:] {
			if len(p.found) >= mostFindings || p.test.Failed() {
				return
			}
			if r.IntN(all) < p.opt.Pairs {
				p.try(p.disturbed(first, second))
			}
		}
	}
}

// only does the run that Options.Only names.
func (p *proof) only() {
	text, process := strings.CutPrefix(p.opt.Only, processPrefix)
	plan, err := parsePlan(text)
	if text == "" {
		plan, err = nil, nil
	}
	if err != nil {
		p.found = append(p.found, &finding{what: foundBroken, text: "Options.Only: " + err.Error()})
		return
	}
	for i := range plan {
		if plan[i].key.ID == rootID {
			plan[i].key = p.world.root
		}
	}
	if process {
		p.inProcesses(plan, true)
		return
	}
	p.try(p.disturbed(plan...))
}

func mapsKeys(m map[store.Key]*stored) func(func(store.Key) bool) { return maps.Keys(m) }
