package chttp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// Function is a function that a crash does not stop. Make one with Resumable.
type Function[In, Out any] struct {
	Attempts int // crashes and panics until parked. Default: 5

	name string
	fn   func(context.Context, In) (Out, error)
}

// Resumable names fn so that an execution of it can be found again by a later process. fn may run many times for one
// execution: each time from its start, with the recorded result for every operation that it made before. So what fn decides must
// come from its input and from operations (Persist, Now, Do, Post and so on), never from clocks, random numbers, map order,
// goroutines or variables that outlive a run. Deferred functions run at the end of each run, also of one that was merely stopped.
// The name is stored: changing it strands what is unfinished. fn's error is its outcome, like a value; a panic is a crash, tried
// Attempts times, then parked. Prove it with chttptest.Resumes.
func Resumable[In, Out any](name string, fn func(context.Context, In) (Out, error)) *Function[In, Out] {
	return &Function[In, Out]{name: name, fn: fn}
}

func (f *Function[In, Out]) register(n *Node) {
	r := &registration{name: f.name, attempts: f.Attempts}
	setDefault(&r.attempts, defaultAttempts)
	if f.fn != nil {
		r.run = f.run
	}
	n.registerFunction(r)
}

// run is one run of an execution of f. Its error parks the execution.
func (f *Function[In, Out]) run(ctx context.Context, x *execution) (*result, error) {
	var in In
	if err := x.node.opt.Codec.Unmarshal(x.head.Input, &in); err != nil {
		return nil, fmt.Errorf("the stored input of %q does not fit its type %T: %w", f.name, in, err)
	}
	out, err := f.fn(ctx, in)
	t := &record.Tail{Err: x.node.flatten(err)}
	state := store.Answered
	x.mu.Lock()
	if x.canceled != nil && errors.Is(err, ErrCanceled) {
		state = store.Canceled
	}
	x.mu.Unlock()
	if err == nil {
		if t.Value, err = x.node.encode(out); err != nil {
			return nil, fmt.Errorf("the outcome of %q cannot be recorded: %w", f.name, err)
		}
	}
	return &result{state: state, tail: t, bound: x.node.now().Add(x.node.opt.Retention).UnixMilli()}, nil
}

// Start begins the execution id of f with in and returns when that is durable; Run does it, across crashes. With the id of an execution
// that exists it returns that one, or ErrReused where function or input differ. An empty id is replaced by a random one; in an
// execution's context, by one derived from its place. In the context of an execution it is an operation of that execution.
func (f *Function[In, Out]) Start(ctx context.Context, n *Node, id ID, in In) (*Execution[Out], error) {
	fail := func(err error) (*Execution[Out], error) {
		return nil, &Error{Op: "start", Name: f.name, ID: id, Err: err}
	}
	reg := n.function(f.name)
	if reg == nil || f.fn == nil {
		return fail(notDone(fmt.Errorf("%w: call node.Register before Start", ErrNotRegistered)))
	}
	if id != "" {
		if err := validID(id); err != nil {
			return fail(notDone(err))
		}
	}
	input, err := n.encode(in)
	if err != nil {
		return fail(notDone(fmt.Errorf("the input cannot be recorded: %w", err)))
	}
	head := &record.Head{Input: input, Label: envOf(ctx).policy.Labels}
	if e := envOf(ctx); e.scope != nil && e.step == nil {
		if err := e.scope.of(n, "start", f.name); err != nil {
			return nil, err
		}
		id, err = e.scope.startChild(ctx, reg.name, id, head, inputPrint(reg.name, input))
		if err != nil {
			return nil, err
		}
		return &Execution[Out]{n, id}, nil
	}
	if id == "" {
		id = newID()
	}
	if err := n.start(ctx, reg, id, head); err != nil {
		return fail(err)
	}
	return &Execution[Out]{n, id}, nil
}

// start makes a new execution of a function durable, or finds it already there.
func (n *Node) start(ctx context.Context, reg *registration, id ID, head *record.Head) error {
	if err := n.open(); err != nil {
		return notDone(err)
	}
	key := store.Key{ID: id}
	print := inputPrint(reg.name, head.Input)
	lock := n.stripe(key)
	lock.Lock()
	x := n.resident(key)
	if x == nil {
		r, err := n.store.Read(ctx, key)
		switch {
		case err == nil:
			lock.Unlock()
			return samePrint(r.Print, print)
		case !errors.Is(err, store.ErrNotFound):
			lock.Unlock()
			return notDone(err)
		}
		x = n.newExecution(key, reg, head, print)
		n.admit(x)
	}
	lock.Unlock()
	if err := samePrint(x.print, print); err != nil {
		return err
	}
	return x.durably(ctx)
}

// samePrint is nil when the record of an id that is there already is of the same request or input.
func samePrint(stored, print []byte) error {
	if string(stored) == string(print) {
		return nil
	}
	return notDone(fmt.Errorf("%w: start it under another id", ErrReused))
}

// durably waits until the record of x is durable.
func (x *execution) durably(ctx context.Context) error {
	for {
		x.mu.Lock()
		stored, s, g := x.stored, x.stop, x.group
		x.mu.Unlock()
		switch {
		case stored:
			return nil
		case s != nil && s.news != nil && s.news.kind == refused:
			return notDone(s.cause)
		case s != nil && s.discard:
			return unknownOutcome(s.cause)
		}
		if err := x.node.journal.wait(ctx, g); err != nil {
			return unknownOutcome(err)
		}
	}
}

func inputPrint(function string, input []byte) []byte {
	h := sha256.New()
	h.Write([]byte(function))
	h.Write([]byte{0})
	h.Write(input)
	return h.Sum(nil)
}

// newID returns a random id, in the order of time.
func newID() ID { return uuid.Must(uuid.NewV7()).String() }

// Attach returns the execution id of f, or ErrNotFound.
func (f *Function[In, Out]) Attach(ctx context.Context, n *Node, id ID) (*Execution[Out], error) {
	i, err := n.Lookup(ctx, id)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			err = e.Err
		}
		return nil, &Error{Op: "attach", Name: f.name, ID: id, Err: err}
	}
	if i.Function != f.name {
		return nil, &Error{Op: "attach", Name: f.name, ID: id, Err: fmt.Errorf("%w: it is an execution of %q", ErrNotFound, i.Function)}
	}
	return &Execution[Out]{n, id}, nil
}

// Call runs f as a part of the execution that ctx belongs to, in a scope of its own, and records its value or error.
func (f *Function[In, Out]) Call(ctx context.Context, in In) (Out, error) {
	var out Out
	s, e, err := inside(ctx, "call", f.name)
	if err != nil {
		return out, err
	}
	if f.fn == nil {
		return out, &Error{Op: "call", Name: f.name, Err: notDone(errors.New("the function is nil"))}
	}
	input, err := s.x.node.encode(in)
	if err != nil {
		return out, &Error{Op: "call", Name: f.name, Err: notDone(fmt.Errorf("the input cannot be recorded: %w", err))}
	}
	op, err := s.enter(s.x.shown(ctx, func() []byte { return input }), record.Function, f.name, inputPrint(f.name, input))
	if err != nil {
		return out, err
	}
	defer op.leave()
	if op.begin == nil {
		if err := op.note(&record.Entry{Phase: record.Begin}); err != nil {
			return out, err
		}
	}
	end := op.end
	if end == nil {
		var seen In // What the function is given is what a replay would give it.
		if err := op.decode(input, &seen); err != nil {
			return out, err
		}
		end = s.x.subscope(ctx, e, op, func(ctx context.Context) (any, error) { return f.fn(ctx, seen) })
		if end == nil {
			if err := op.stopping(); err != nil || s.x.rehearsal == nil {
				return out, err
			}
			return out, op.frontier()
		}
	}
	if end.Err != nil {
		return out, s.x.node.unflatten(end.Err)
	}
	return out, op.decode(end.Data, &out)
}

// Execution is one execution of a function.
type Execution[Out any] struct {
	node *Node
	id   ID
}

// ID returns the execution's id.
func (e *Execution[Out]) ID() ID { return e.id }

func (*Execution[Out]) await() {}

// Wait waits for the execution's outcome, which is durable when Wait returns it. It returns ErrParked when the execution is parked, and ctx's error when
// ctx ends first: the execution goes on. In an execution's context it is an operation of that execution.
func (e *Execution[Out]) Wait(ctx context.Context) (Out, error) {
	var out Out
	fail := func(err error) (Out, error) { return out, &Error{Op: "wait", ID: e.id, Err: err} }
	if s, _, err := inside(ctx, "wait", e.id); err == nil {
		return out, s.waitFor(ctx, e.node, e.id, &out)
	}
	t, state, err := e.node.outcome(ctx, store.Key{ID: e.id})
	switch {
	case err != nil:
		return fail(err)
	case state == store.Parked:
		return fail(fmt.Errorf("%w: %s", ErrParked, t.Why))
	case t.Err != nil:
		return out, e.node.unflatten(t.Err)
	}
	if len(t.Value) == 0 {
		return out, nil
	}
	if err := e.node.opt.Codec.Unmarshal(t.Value, &out); err != nil {
		return fail(fmt.Errorf("the recorded outcome does not fit type %T: %w", out, err))
	}
	return out, nil
}

// outcome waits until the execution of key has ended or is parked.
func (n *Node) outcome(ctx context.Context, key store.Key) (*record.Tail, store.State, error) {
	for {
		w := n.watch(key)
		var r *store.Record
		var err error
		if n.resident(key) == nil { // What is in memory will tell the watcher.
			r, err = n.store.Read(ctx, key)
		}
		switch {
		case errors.Is(err, store.ErrNotFound):
			n.unwatch(w)
			return nil, 0, ErrNotFound
		case err != nil:
			n.unwatch(w)
			return nil, 0, fmt.Errorf("%w: %w", errUnread, err)
		case r != nil && (r.State.Finished() || r.State == store.Parked):
			n.unwatch(w)
			t, err := record.ParseTail(r.Tail)
			return t, r.State, err
		case n.looks:
			n.unwatch(w)
			return nil, 0, fmt.Errorf("it has not ended: %w", errReadOnly)
		}
		select {
		case e := <-w.c:
			switch e.kind {
			case ended:
				return e.tail, e.state, nil
			case refused, halted:
				return nil, 0, e.err
			}
		case <-ctx.Done():
			n.unwatch(w)
			if n.phase.Load() == phaseNew {
				return nil, 0, fmt.Errorf("%w; the node is not running: call its Run", context.Cause(ctx))
			}
			return nil, 0, context.Cause(ctx)
		case <-n.fenced:
			n.unwatch(w)
			return nil, 0, n.fenceBy
		case <-n.over: // Nothing more happens here; what has happened is in the store.
			n.unwatch(w)
			r, err := n.store.Read(ctx, key)
			if err != nil || !r.State.Finished() && r.State != store.Parked {
				return nil, 0, errStopped
			}
			t, err := record.ParseTail(r.Tail)
			return t, r.State, err
		}
	}
}

// Cancel asks the execution to end: its context is cancelled with ErrCanceled and why, from the first operation that is not yet
// recorded; what it then does is up to the function. It returns when that is durable, or ErrNotFound. In an execution's context it is an
// operation of that execution.
func (e *Execution[Out]) Cancel(ctx context.Context, why string) error {
	if s, _, err := inside(ctx, "cancel", e.id); err == nil {
		return s.cancel(ctx, e.node, e.id, why)
	}
	if err := e.node.cancel(ctx, store.Key{ID: e.id}, why); err != nil {
		return &Error{Op: "cancel", ID: e.id, Err: err}
	}
	return nil
}
