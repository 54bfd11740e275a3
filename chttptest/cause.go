package chttptest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// cause is what is likely wrong with the function, and what mends it.
type cause struct{ why, mend string }

// The causes that trials without a crash tell apart.
var (
	causeClock = cause{
		"it reads a clock: a run that starts later, and is otherwise the same, differs too",
		"take the time from chttp.Now(ctx), which is recorded",
	}
	causeOrder = cause{
		"it follows the order of a map: the same pieces come in another order",
		"sort the keys before they are used",
	}
	causeRandom = cause{
		"it depends on something that is recorded nowhere, and another in each run: a random number, the order of a map, goroutines that race, or a variable that outlives a run",
		`draw it in chttp.Persist(ctx, "name", func() T { … }), which records it; sort the keys of a map; use chttp.Go instead of go`,
	}
	causeRace = cause{
		"goroutines race: what is sent depends on which of them comes first",
		"do it in a branch, chttp.Go, and use its value only after Wait; or without a goroutine",
	}
	causeGlobal = cause{
		"it uses a variable that outlives a run, such as a counter or a cache in a package: runs in the same process leave it behind for each other",
		"keep it in the function; or record what is read with chttp.Persist. If a crash does destroy it, rebuild it in Options.Fresh",
	}
)

// causeEnvironment is told apart by a process whose environment is that of the test.
var causeEnvironment = cause{
	"it reads an environment variable: a process that has other ones differs, and one that has the same does not",
	`read it in chttp.Persist, or pass it in the input; if it is the same wherever the program ever runs, name it in Options.Keep`,
}

// Trials with which causes are told apart. A map of two keys is seldom gone through in the other order, so they are many.
const (
	againTrials = 48
	slowTrials  = 48
	enough      = 3 // that differ
)

// diagnose finds the likely cause of f by more trials. What they find is not reported.
func (p *proof) diagnose(f *finding) cause {
	found, runs := p.found, p.runs
	defer func() { p.found, p.runs = found, runs }()
	if f.trial != nil && f.trial.process {
		return p.lostProcess(f)
	}
	var all, others []*finding
	for len(all) < againTrials && len(others) < enough {
		g := p.probe(p.newTrial("again"))
		if all = append(all, g); g != nil {
			others = append(others, g)
		}
	}
	if len(others) > 0 {
		return p.unsteady(f, all, others)
	}
	for _, delay := range p.delays() {
		later := p.newTrial("later")
		later.delay = delay
		if p.probe(later) != nil {
			return causeClock
		}
	}
	if p.probe(p.slowTrial()) != nil {
		return causeRace
	}
	if p.probe(p.dawdling()) != nil {
		return causeClock
	}
	return lost(f)
}

// lostProcess is the cause where only another process differs.
func (p *proof) lostProcess(f *finding) cause {
	if len(f.died) == 0 {
		if p.inProcesses(nil, false) {
			return causeEnvironment
		}
		return cause{
			"it depends on a variable that the test, or another run, has set in this process, and that is not set in another",
			"pass it in the input, or set it in Options.Fresh, as the program does when it starts",
		}
	}
	if p.inProcesses(f.died, false) {
		return causeEnvironment
	}
	c := lost(f)
	return cause{
		"it depends on a variable that is gone with the process: one of a package, or one that a closure holds. A run before the crash had set it",
		c.mend,
	}
}

// slowTrial returns a trial in which an operation waits until all goroutines wait.
func (p *proof) slowTrial() *trial {
	tr := p.newTrial("slow")
	tr.slow = func(*operation) time.Duration { return time.Microsecond }
	return tr
}

// probe returns what a trial finds, or nil.
func (p *proof) probe(tr *trial) *finding {
	p.found = nil
	p.try(tr)
	if len(p.found) == 0 {
		return nil
	}
	return p.found[0]
}

// unsteady is the cause where runs differ that are not disturbed and begin at the same time; all is what they found, if anything, and others
// leaves out those that found nothing.
func (p *proof) unsteady(f *finding, all, others []*finding) cause {
	switch {
	case p.slowAgree(all):
		return causeRace
	case p.world.reordered(f):
		return causeOrder
	case counts(others):
		return causeGlobal
	}
	return causeRandom
}

// slowAgree tells whether all runs come to the same where each operation waits until all goroutines wait, and that is seldom what they
// come to otherwise.
func (p *proof) slowAgree(all []*finding) bool {
	first := differing(p.probe(p.slowTrial()))
	same := 0
	for _, g := range all {
		if bytes.Equal(first, differing(g)) {
			same++
		}
	}
	if 2*same >= len(all) {
		return false
	}
	for range slowTrials {
		if !bytes.Equal(first, differing(p.probe(p.slowTrial()))) {
			return false
		}
	}
	return true
}

// counts tells whether what differs is a number that each run finds higher than the one before.
func counts(list []*finding) bool {
	last := int64(math.MinInt64)
	for _, f := range list {
		if f.ref == nil || f.now == nil {
			return false
		}
		n, ok := numberAt(f.ref.content, f.now.content)
		if !ok || n <= last || last != math.MinInt64 && n > last+mostStep {
			return false
		}
		last = n
	}
	return len(list) == enough
}

// mostStep is by how much a counter may rise from run to run.
const mostStep = 1000

// numberAt returns the number in b around its first difference from a.
func numberAt(a, b []byte) (int64, bool) {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	digit := func(i int) bool { return i >= 0 && i < len(b) && b[i] >= '0' && b[i] <= '9' }
	from, to := at, at
	for digit(from - 1) {
		from--
	}
	for digit(to) {
		to++
	}
	n, err := strconv.ParseInt(string(b[from:to]), 10, 64)
	return n, err == nil
}

// differing returns what tells one finding from another: what was asked for, or nothing.
func differing(f *finding) []byte {
	switch {
	case f == nil:
		return nil
	case f.now != nil:
		return fmt.Appendf(nil, "%v %s %s %s", f.now.site, f.now.name, f.now.content, f.text)
	}
	return fmt.Appendf(nil, "%d %s", f.what, f.text)
}

// reordered tells whether the operation that differs is the same in another order, or that of another place.
func (w *world) reordered(f *finding) bool {
	if f.ref == nil || f.now == nil || len(f.now.content) == 0 {
		return false
	}
	other := func(op *operation) bool {
		return op.site != f.now.site && op.kind == f.now.kind && bytes.Equal(op.content, f.now.content)
	}
	return permuted(f.ref.content, f.now.content) || slices.ContainsFunc(w.order, other)
}

// permuted tells whether b has the same bytes as a, in another order.
func permuted(a, b []byte) bool {
	x, y := slices.Clone(a), slices.Clone(b)
	slices.Sort(x)
	slices.Sort(y)
	return len(a) > 0 && bytes.Equal(x, y) && !bytes.Equal(a, b)
}

// lost is the cause where only a run differs that is given back what an earlier one recorded: it lacks something that the earlier one had.
func lost(f *finding) cause {
	op := f.lastGivenBack()
	if op == nil {
		return cause{
			"it depends on something that a crash destroys, or that it finds again after one: a variable outside of the function, or what an effect outside has left",
			"keep it in the function, or record it with chttp.Persist; what a crash does destroy, rebuild in Options.Fresh",
		}
	}
	at := fmt.Sprintf("%s, at %s", op.describe(), shortLine(op.line))
	switch op.kind {
	case record.Step:
		return cause{
			fmt.Sprintf("the function of %s, sets a variable outside of itself. A run that resumes is given the step's recorded result and does not call its function: there the variable has not been set", at),
			fmt.Sprintf("return the value: v, err := chttp.Do(ctx, %q, …) records it and gives it back", op.name),
		}
	case record.Persist:
		return cause{
			fmt.Sprintf("the function of %s, sets a variable outside of itself. A run that resumes is given the recorded value and does not call the function: there the variable has not been set", at),
			"return everything that is needed, in a struct, as the one value",
		}
	case record.Branch, record.Function:
		return cause{
			fmt.Sprintf("the function of %s, sets a variable outside of itself. A run that resumes may be given its recorded value without calling it: there the variable has not been set", at),
			"return the value, and use what Wait or Call returns",
		}
	}
	return cause{
		fmt.Sprintf("it depends on something that the run before the crash had, and that a run which is given back %s, has not, or not yet: a variable outside of the function, or one that a goroutine sets", at),
		"keep it in the function, or record it with chttp.Persist",
	}
}

// lastGivenBack returns the last operation that the run which differs was given back before it differed.
func (f *finding) lastGivenBack() (last *operation) {
	if f.trial == nil || len(f.trial.lives) == 0 {
		return nil
	}
	for _, op := range f.trial.lives[len(f.trial.lives)-1].trail {
		if op.recorded && op != f.now {
			last = op
		}
	}
	return last
}
