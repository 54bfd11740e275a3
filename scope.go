package chttp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/certifiedhttp/chttp/internal/probe"
	"github.com/certifiedhttp/chttp/internal/record"
)

// env is what a context carries of ours.
type env struct {
	scope  *scope     // nil outside an execution
	step   *operation // the step whose function has the context, if any
	policy Policy
}

type envKey struct{}

var noEnv env

func envOf(ctx context.Context) *env {
	if e, ok := ctx.Value(envKey{}).(*env); ok {
		return e
	}
	return &noEnv
}

// inside returns the scope that an operation with ctx belongs to. Inside a step there is none.
func inside(ctx context.Context, op, name string) (*scope, *env, error) {
	e := envOf(ctx)
	switch {
	case e.scope == nil:
		return nil, e, &Error{Op: op, Name: name, Err: notDone(fmt.Errorf("%w: pass the context that the function or handler was given", ErrNoExecution))}
	case e.step != nil:
		return nil, e, &Error{Op: op, Name: name, Err: notDone(fmt.Errorf(
			"%w: this is the context of the step %q, whose function has its effect outside; make the operation before or after the step", ErrNoExecution, e.step.name))}
	}
	return e.scope, e, nil
}

// of is an error unless n is the node of the scope's execution, which alone can record what is done.
func (s *scope) of(n *Node, op, name string) error {
	if s.x.node == n {
		return nil
	}
	return &Error{Op: op, Name: name, Err: notDone(errors.New("the context belongs to an execution of another node"))}
}

// With returns a context whose operations, those of SDKs included, follow p. Fields of p that are zero leave what ctx says.
func With(ctx context.Context, p Policy) context.Context {
	e := *envOf(ctx)
	e.policy = p.over(e.policy)
	return context.WithValue(ctx, envKey{}, &e)
}

// From tells the execution that ctx belongs to. In Options.Destination, Destination.Authorize and Options.Transport it is the message that
// is being delivered.
func From(ctx context.Context) (Info, bool) {
	if i, ok := ctx.Value(infoKey{}).(Info); ok {
		return i, true
	}
	e := envOf(ctx)
	if e.scope == nil {
		return Info{}, false
	}
	x := e.scope.x
	x.mu.Lock()
	defer x.mu.Unlock()
	i := Info{ID: x.key.ID, Function: x.reg.name, State: "running", Principal: x.head.Principal, Labels: x.head.Label}
	i.Replaying = e.scope.next < len(e.scope.log)
	return i, true
}

// scope is a line of operations, one at a time: the function itself, or a branch. Guarded by the execution's mu.
type scope struct {
	x      *execution
	path   string
	log    []*operation // in order; recorded by earlier runs, then by this one
	next   int
	busy   *operation
	steps  map[string]bool
	closed bool
	over   bool // a rehearsal has come to the end of its log
}

// operation is one operation at its place.
type operation struct {
	scope    *scope
	kind     record.Kind
	name     string
	print    []byte
	seq      int
	key      ID // a call's: what this run's code put on the request, whatever an earlier run's did
	begin    *record.Entry
	end      *record.Entry // nil while it has no result
	recorded bool          // by an earlier run
}

// place names the operation for deriving ids.
func (op *operation) place() string {
	return fmt.Sprintf("%s\x00%d\x00%s\x00%d", op.scope.path, op.kind, op.name, op.seq)
}

var errTwoOperations = errors.New("two operations at once")

// enter begins the operation at its place, or finds what earlier runs recorded of it. It returns only an error on a goroutine that is
// not ours; otherwise it unwinds.
func (s *scope) enter(ctx context.Context, kind record.Kind, name string, print []byte) (*operation, error) {
	if s.x.node.watcher != nil {
		s.ask(ctx, kind, name, print)
	}
	op, err := s.find(kind, name, print)
	if err == nil && s.x.rehearsal != nil && op.end == nil && kind != record.Branch && kind != record.Function {
		return nil, op.frontier()
	}
	return op, err
}

// ask shows the project's own test helpers what the function asks for, before it is compared with what is recorded.
func (s *scope) ask(ctx context.Context, kind record.Kind, name string, print []byte) {
	x := s.x
	op := &operation{scope: s, kind: kind, name: name, print: print}
	x.mu.Lock()
	stopping := x.stop != nil
	if op.seq = s.next; op.seq < len(s.log) {
		op.begin, op.end = s.log[op.seq].begin, s.log[op.seq].end
	}
	x.mu.Unlock()
	if !stopping {
		content, _ := ctx.Value(probe.Content{}).([]byte)
		op.sight(&probe.Sight{Moment: probe.Enter, Context: ctx, Content: content})
	}
}

// shown returns ctx with what a fingerprint is of, where somebody looks.
func (x *execution) shown(ctx context.Context, content func() []byte) context.Context {
	if x.node.watcher == nil {
		return ctx
	}
	return context.WithValue(ctx, probe.Content{}, content())
}

// sight shows the operation to the project's own test helpers.
func (op *operation) sight(s *probe.Sight) {
	x := op.scope.x
	if x.node.watcher == nil {
		return
	}
	s.Function, s.ID, s.Realm, s.Scope, s.Seq = x.reg.name, x.key.ID, x.key.Scope, op.scope.path, op.seq
	s.Kind, s.Name, s.Print, s.Flush = op.kind, op.name, op.print, x.flush
	switch {
	case s.Moment == probe.Enter:
		s.Recorded, s.Stray, s.Line = op.end != nil, !ownGoroutine(), userLine()
	case op.kind == record.Call && op.begin == nil && s.Entry.ID != "":
		s.Message = s.Entry.ID
	case op.kind == record.Call:
		s.Message = op.messageID()
	}
	x.node.watcher.Watch(s)
}

// find is enter, unseen.
func (s *scope) find(kind record.Kind, name string, print []byte) (*operation, error) {
	x := s.x
	x.mu.Lock()
	if x.stop != nil {
		x.mu.Unlock()
		return nil, x.unwind(kind.String(), name)
	}
	if s.over {
		x.mu.Unlock()
		return nil, (&operation{scope: s, kind: kind, name: name, print: print}).frontier()
	}
	if s.busy != nil || s.closed {
		busy := s.busy
		x.mu.Unlock()
		return nil, s.collide(kind, name, busy)
	}
	if kind == record.Step {
		if s.steps[name] {
			x.mu.Unlock()
			return nil, x.park(kind, name, fmt.Sprintf("the name of step %q is used twice in one scope, at %s: in a loop, add what tells the rounds apart (\"%s/\"+id)", name, userLine(), name))
		}
		if s.steps == nil {
			s.steps = make(map[string]bool)
		}
		s.steps[name] = true
	}
	if s.next < len(s.log) && s.log[s.next].recorded {
		op := s.log[s.next]
		if op.kind != kind || op.name != name || string(op.print) != string(print) {
			x.mu.Unlock()
			return nil, x.park(kind, name, s.difference(op, kind, name, print))
		}
		op.scope = s
		s.busy = op
		s.next++
		x.rehearsal.met(op)
		if op.end != nil {
			x.mu.Unlock()
			s.replayed()
			return op, nil
		}
		s.live()
		return op, nil
	}
	op := &operation{scope: s, kind: kind, name: name, print: print, seq: len(s.log)}
	s.log = append(s.log, op)
	s.next++
	s.busy = op
	x.rehearsal.met(op)
	s.live()
	return op, nil
}

// live notes that an operation without a recorded result begins; called with x.mu held, which it releases. A cancellation meets it: what is recorded
// replays undisturbed.
func (s *scope) live() {
	x := s.x
	x.replaying = false
	canceled := x.canceled
	apply := canceled != nil && !x.applied
	x.applied = x.applied || apply
	x.mu.Unlock()
	if apply {
		x.cancel(cancellation(*canceled))
	}
}

// replayed is called when the run begins, and when another operation was given its recorded result. Behind the last one of the function
// itself a cancellation meets it even if it makes no other: it may wait for that.
func (s *scope) replayed() {
	x := s.x
	x.mu.Lock()
	if s.path != "" || s.next < len(s.log) || x.rehearsal != nil && !x.rehearsal.canceled {
		x.mu.Unlock()
		return
	}
	s.live()
}

// collide answers an operation in a scope that is not free.
func (s *scope) collide(kind record.Kind, name string, busy *operation) error {
	what := fmt.Sprintf("%s %q", kind, name)
	switch {
	case busy == nil:
		return s.x.park(kind, name, fmt.Sprintf("operation %s, at %s, after its scope has ended: a goroutine went on using the context", what, userLine()))
	case busy.kind == record.Step && kind != record.Persist && ownGoroutine():
		return &Error{Op: kind.String(), Name: name, ID: s.x.key.ID, Err: notDone(fmt.Errorf(
			"operation with the outer context inside step %q: use the context that the step's function is given, and make operations before or after the step", busy.name))}
	case ownGoroutine():
		return s.x.park(kind, name, fmt.Sprintf("operation %s, at %s, inside %s %q: make it before or after", what, userLine(), busy.kind, busy.name))
	}
	return s.x.park(kind, name, fmt.Sprintf("%v in one scope: %s, at %s, while %s %q is in flight: open a scope with chttp.Go", errTwoOperations, what, userLine(), busy.kind, busy.name))
}

// park parks the execution and unwinds.
func (x *execution) park(kind record.Kind, name, why string) error {
	x.halt(&stop{cause: fmt.Errorf("%w: %s", ErrParked, why), park: why})
	return x.unwind(kind.String(), name)
}

// difference puts what was recorded beside what the function does now (I7).
func (s *scope) difference(was *operation, kind record.Kind, name string, print []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the replay differs from the oplog at operation %s\n  recorded: %s\n       now: %s\n        at: %s", s.number(was.seq), describe(was.kind, was.name, was.print), describe(kind, name, print), userLine())
	if was.kind == kind && was.name == name {
		b.WriteString("\nthe request's method, URL, content type or body is another: something in it is not from the input or an operation")
	}
	return b.String()
}

// number names the operation seq of the scope to people.
func (s *scope) number(seq int) string {
	if s.path == "" {
		return strconv.Itoa(seq)
	}
	return fmt.Sprintf("%d of scope %q", seq, s.path)
}

func describe(kind record.Kind, name string, print []byte) string {
	if len(print) == 0 {
		return fmt.Sprintf("%s %q", kind, name)
	}
	return fmt.Sprintf("%s %q (fingerprint %x)", kind, name, print[:min(8, len(print))])
}

// close is called when the scope's function has returned. A recorded operation that it did not come to is a difference too.
func (s *scope) close() {
	x := s.x
	x.mu.Lock()
	s.closed = true
	busy := s.busy
	var missed *operation
	if s.next < len(s.log) {
		missed = s.log[s.next]
	}
	stopping, over := x.stop != nil, s.over
	x.mu.Unlock()
	switch {
	case stopping, over:
	case missed != nil:
		why := fmt.Sprintf("the replay differs from the oplog at operation %s\n  recorded: %s\n       now: the function has returned", s.number(missed.seq), describe(missed.kind, missed.name, missed.print))
		x.halt(&stop{cause: fmt.Errorf("%w: %s", ErrParked, why), park: why})
	case busy != nil:
		why := fmt.Sprintf("the function returned while %s %q is in flight on another goroutine: wait for it, or open a scope with chttp.Go", busy.kind, busy.name)
		x.halt(&stop{cause: fmt.Errorf("%w: %s", ErrParked, why), park: why})
	}
}

// note records e for op, and does also what belongs to the same change. It unwinds, or returns an error, when the execution is stopping.
func (op *operation) note(e *record.Entry, also ...func()) error {
	x := op.scope.x
	if x.rehearsal != nil {
		return op.frontier()
	}
	e.Scope, e.Seq = op.scope.path, op.seq
	if e.Phase != record.End {
		e.Kind, e.Name, e.Print = op.kind, op.name, op.print
	}
	op.sight(&probe.Sight{Moment: probe.Note, Entry: e})
	var size int
	ok := x.change(func() {
		was, born := len(x.chunk), len(x.children)
		x.chunk = record.AppendEntry(x.chunk, e)
		for _, f := range also {
			f()
		}
		size = len(x.chunk) - was + bytesOf(x.children[born:])
		if e.Phase != record.End {
			op.begin = e
		}
		if e.Phase != record.Begin {
			op.end = e
		}
	})
	if !ok {
		return x.unwind(op.kind.String(), op.name)
	}
	if x.node.journal.bytes.Add(int64(size)) > maxJournal && !x.flush() { // Back-pressure: the journal is bounded.
		return x.unwind(op.kind.String(), op.name)
	}
	op.sight(&probe.Sight{Moment: probe.Noted, Entry: e})
	return nil
}

// leave frees the scope for the next operation.
func (op *operation) leave() {
	x := op.scope.x
	x.mu.Lock()
	if op.scope.busy == op {
		op.scope.busy = nil
	}
	x.mu.Unlock()
}

// output waits until everything before is durable (I5). It unwinds, or returns an error, when the execution is stopping.
func (op *operation) output() error {
	x := op.scope.x
	x.mu.Lock()
	x.effects = true
	x.mu.Unlock()
	if !x.flush() {
		return x.unwind(op.kind.String(), op.name)
	}
	return nil
}

// stopping unwinds, or returns an error, when the execution is stopping.
func (op *operation) stopping() error {
	x := op.scope.x
	x.mu.Lock()
	s := x.stop
	x.mu.Unlock()
	if s == nil {
		return nil
	}
	return x.unwind(op.kind.String(), op.name)
}

// cancellation is the cause of a cancelled execution's context.
func cancellation(why string) error {
	if why == "" {
		return ErrCanceled
	}
	return fmt.Errorf("%w: %s", ErrCanceled, why)
}

// ending says why ctx has ended, as a result to record.
func ending(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return &marked{cause, ctx.Err()}
}
