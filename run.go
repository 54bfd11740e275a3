package chttp

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// launch starts a run of x in a goroutine of its own.
func (x *execution) launch() {
	if !x.node.task() {
		x.halt(&stop{cause: errStopped})
		return
	}
	x.mu.Lock()
	if x.stop != nil {
		x.mu.Unlock()
		x.node.tasks.Done()
		return
	}
	root := &scope{x: x, log: x.log[""]}
	base := context.WithValue(context.Background(), envKey{}, &env{scope: root})
	x.life, x.end = context.WithCancelCause(base)
	x.ctx, x.cancel = context.WithCancelCause(x.life)
	x.active, x.users, x.replaying = true, 1, len(x.log) > 0
	x.mu.Unlock()
	root.replayed()
	go x.main(root)
}

// task reserves a place among what stopAll waits for.
func (n *Node) task() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() || n.isFenced() {
		return false
	}
	n.tasks.Add(1)
	return true
}

// main is the outermost function of a run's goroutine.
func (x *execution) main(root *scope) {
	defer x.node.tasks.Done()
	var (
		res      *result
		err      error
		returned bool
	)
	defer func() {
		p := recover()
		if how := crashText(p, returned, x); how != "" {
			x.halt(&stop{cause: errors.New(how), crash: how})
		}
		x.mu.Lock()
		x.users-- // While its branches wait, so does x.
		x.mu.Unlock()
		x.branches.Wait() // The outcome comes after everything that the function began.
		x.mu.Lock()
		x.users++
		x.mu.Unlock()
		if p == nil && returned && err == nil {
			root.close()
		}
		x.end(nil)
		x.mu.Lock()
		x.active = false
		stopping := x.stop != nil
		x.mu.Unlock()
		switch {
		case stopping:
			x.settle()
		case err != nil:
			x.halt(&stop{cause: err, park: err.Error()})
		default:
			x.finish(res)
		}
	}()
	res, err = x.reg.run(x.ctx, x)
	returned = true
}

// crashText says how a run crashed, or "" if it did not.
func crashText(p any, returned bool, x *execution) string {
	switch h := x.rehearsal; {
	case h != nil && !returned && h.unjudged(x):
		return ""
	case p != nil:
		return fmt.Sprintf("panic: %v\n%s", p, panicStack())
	case returned:
		return ""
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil {
		return ""
	}
	return "runtime.Goexit was called (by t.FailNow, perhaps)"
}

// panicStack returns the lines of the stack that lie between the panic and our own code.
func panicStack() string {
	_, s, ok := strings.Cut(string(debug.Stack()), "\npanic(")
	if !ok {
		return ""
	}
	lines := strings.Split(s, "\n")
	if len(lines) > 2 {
		lines = lines[2:]
	}
	return strings.Join(lines[:min(len(lines), 8)], "\n")
}

// unwind ends the goroutine of a run that is stopping. A goroutine that is not ours gets an error instead.
func (x *execution) unwind(op, name string) error {
	if ownGoroutine() {
		runtime.Goexit()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop == nil {
		return &Error{Op: op, Name: name, ID: x.key.ID, Err: notDone(errors.New("the function has returned: its context can make no more operations"))}
	}
	return &Error{Op: op, Name: name, ID: x.key.ID, Err: fmt.Errorf("the execution is stopping: %w", x.stop.cause)}
}

// ownFunctions are the outermost functions of the goroutines that chttp starts for runs.
var ownFunctions = []string{packagePath + ".(*execution).main", packagePath + ".(*execution).branch", packagePath + ".(*execution).rehearse"}

// ownGoroutine tells whether the goroutine was started by chttp, for a run: only such a one may be ended from below.
func ownGoroutine() bool {
	pcs := stack()
	frames := runtime.CallersFrames(pcs[max(0, len(pcs)-4):])
	for {
		f, more := frames.Next()
		for _, own := range ownFunctions {
			if f.Function == own {
				return true
			}
		}
		if !more {
			return false
		}
	}
}

// stack returns the callers of its caller, all of them.
func stack() []uintptr {
	pcs := make([]uintptr, 64)
	for {
		n := runtime.Callers(2, pcs)
		if n < len(pcs) {
			return pcs[:n]
		}
		pcs = make([]uintptr, 2*len(pcs))
	}
}

// userLine returns file and line of the caller's code, the first frame outside this package.
func userLine() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		inside := strings.HasPrefix(f.Function, packagePath+".") && !strings.HasSuffix(f.File, "_test.go")
		if !inside && !strings.HasPrefix(f.Function, "net/http.") {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "an unknown line"
		}
	}
}

var packagePath = reflect.TypeFor[Node]().PkgPath()

// within returns ctx, ended also when the run is stopped: the function may have made it not to end, with context.WithoutCancel.
func (x *execution) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Done() == x.ctx.Done() {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(x.life, func() { cancel(context.Cause(x.life)) })
	return ctx, func() { undo(); cancel(nil) }
}

// rest is called around everything that a run waits for without running user code. Meanwhile x may be put out of memory, until wake.
func (x *execution) rest(wake time.Time) (back func()) {
	at := wake.UnixMilli()
	x.mu.Lock()
	x.users--
	x.wakes = append(x.wakes, at)
	x.mu.Unlock()
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.users++
		if i := slices.Index(x.wakes, at); i >= 0 {
			x.wakes = slices.Delete(x.wakes, i, i+1)
		}
	}
}

// resting tells whether x only waits, and until when.
func (x *execution) resting() (wake int64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.active || x.users > 0 || x.stop != nil || len(x.wakes) == 0 {
		return 0, false
	}
	return slices.Min(x.wakes), true
}

// load fills x.log from the oplog's chunks, in order, and what else they say.
func (x *execution) load(chunks [][]byte) error {
	x.log = make(map[string][]*operation)
	for _, c := range chunks {
		entries, err := record.ParseEntries(c)
		if err != nil {
			return err
		}
		for i := range entries {
			if err := x.replayEntry(&entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// leavesTrace tells whether an operation can have had an effect: a step or call that began, a message or execution that it made.
func leavesTrace(e *record.Entry) bool {
	switch e.Kind {
	case record.Step, record.Call:
		return e.Phase == record.Begin
	case record.Send, record.Start:
		return e.Err == nil
	}
	return false
}

func (x *execution) replayEntry(e *record.Entry) error {
	log := x.log[e.Scope]
	switch e.Phase {
	case record.Crash:
		x.crashes++
	case record.Cancel:
		why := string(e.Data)
		x.canceled = &why
	case record.End:
		if e.Seq >= len(log) || log[e.Seq].end != nil {
			return fmt.Errorf("%w: result %d of scope %q has no beginning", record.ErrFormat, e.Seq, e.Scope)
		}
		if err := possible(log[e.Seq].kind, e); err != nil {
			return err
		}
		log[e.Seq].end = e
	default:
		if e.Seq != len(log) {
			return fmt.Errorf("%w: operation %d of scope %q where %d was due", record.ErrFormat, e.Seq, e.Scope, len(log))
		}
		op := &operation{kind: e.Kind, name: e.Name, print: e.Print, seq: e.Seq, begin: e, recorded: true}
		if e.Phase == record.Whole {
			if err := possible(e.Kind, e); err != nil {
				return err
			}
			op.end = e
		}
		x.effects = x.effects || leavesTrace(e)
		x.log[e.Scope] = append(log, op)
	}
	return nil
}

// possible is an error unless e is a result that an operation of the kind can have had: what a replay gives back is used as it is.
func possible(kind record.Kind, e *record.Entry) error {
	ok := true
	switch {
	case e.Err != nil:
	case kind == record.Call:
		ok = e.Response != nil
	case kind == record.Send, kind == record.Start:
		ok = len(idsIn(e.Data)) > 0
	}
	if !ok {
		return fmt.Errorf("%w: result %d of scope %q is none of a %s", record.ErrFormat, e.Seq, e.Scope, kind)
	}
	return nil
}
