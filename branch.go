package chttp

import (
	"context"
	"errors"
	"fmt"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Go runs fn beside the function that calls it, in a scope of its own: so several operations can be in flight at once. The function's
// outcome waits for all its branches, also for those whose Future nobody waits for. A panic in fn is a crash of the execution. The
// Future's value is what the codec makes of fn's.
func Go[T any](ctx context.Context, name string, fn func(context.Context) (T, error)) *Future[T] {
	f := &Future[T]{name: name, done: make(chan struct{})}
	s, e, err := inside(ctx, "go", name)
	if err != nil {
		f.err = err
		close(f.done)
		return f
	}
	if fn == nil {
		f.err = &Error{Op: "go", Name: name, Err: notDone(errors.New("the branch has no function"))}
		close(f.done)
		return f
	}
	op, err := s.enter(ctx, record.Branch, name, nil)
	if err != nil {
		f.err = err
		close(f.done)
		return f
	}
	defer op.leave()
	if f.id = s.x.derive(op); op.begin != nil && op.begin.ID != "" {
		f.id = op.begin.ID
	}
	if op.begin == nil && op.note(&record.Entry{Phase: record.Begin, ID: f.id}) != nil {
		f.err = &Error{Op: "go", Name: name, Err: notDone(errStopped)}
		close(f.done)
		return f
	}
	if op.end != nil {
		if f.err = s.x.node.unflatten(op.end.Err); f.err == nil {
			f.err = op.decode(op.end.Data, &f.v)
		}
		close(f.done)
		return f
	}
	x := s.x
	x.mu.Lock()
	x.users++
	x.mu.Unlock()
	x.branches.Add(1)
	go x.branch(ctx, e, op, f.done, func(ctx context.Context) (any, error) { return fn(ctx) }, func(end *record.Entry) {
		if f.err = x.node.unflatten(end.Err); f.err == nil {
			f.err = op.decode(end.Data, &f.v)
		}
	})
	return f
}

// branch is the outermost function of a branch's goroutine.
func (x *execution) branch(ctx context.Context, e *env, op *operation, done chan struct{}, fn func(context.Context) (any, error), deliver func(*record.Entry)) {
	defer x.branches.Done()
	returned := false
	defer func() {
		if how := crashText(recover(), returned, x); how != "" {
			x.halt(&stop{cause: errors.New(how), crash: how})
		}
		x.mu.Lock()
		x.users--
		x.mu.Unlock()
		close(done)
	}()
	end := x.subscope(ctx, e, op, fn)
	if end == nil {
		returned = true
		return
	}
	deliver(end)
	returned = true
}

// subscope runs fn in the scope that op opens and records its result, or parks. It is nil when the execution is stopping.
func (x *execution) subscope(ctx context.Context, e *env, op *operation, fn func(context.Context) (any, error)) *record.Entry {
	path := fmt.Sprintf("%s/%d:%s", op.scope.path, op.seq, op.name)
	x.mu.Lock()
	s := &scope{x: x, path: path, log: x.log[path]}
	x.rehearsal.opened(s)
	x.mu.Unlock()
	v, err := fn(context.WithValue(ctx, envKey{}, &env{scope: s, policy: e.policy}))
	s.close()
	end := &record.Entry{Phase: record.End, Err: x.node.flatten(err)}
	if err == nil {
		b, err := x.node.encode(v)
		if err != nil {
			_ = x.park(op.kind, op.name, fmt.Sprintf("the value of %s %q cannot be recorded: %v", op.kind, op.name, err))
			return nil
		}
		end.Data = b
	}
	if op.note(end) != nil {
		return nil
	}
	return end
}

// Future is what a branch will come to.
type Future[T any] struct {
	name string
	id   ID
	done chan struct{}
	v    T
	err  error
}

// ID returns an id derived from the branch's place: the same in every run.
func (f *Future[T]) ID() ID { return f.id }

// Wait waits for the branch and returns its value or error. It is an operation of the scope that ctx belongs to: when ctx ends first, that is recorded.
func (f *Future[T]) Wait(ctx context.Context) (T, error) {
	var zero T
	s, _, err := inside(ctx, "wait", f.name)
	if err != nil {
		return zero, err
	}
	op, err := s.enter(ctx, record.Wait, f.name, nil)
	if err != nil {
		return zero, err
	}
	defer op.leave()
	if op.end == nil {
		if err := op.await(ctx, f.done); err != nil {
			return zero, err
		}
	}
	if op.end.Err != nil {
		return zero, s.x.node.unflatten(op.end.Err)
	}
	back := s.x.rest(s.x.node.now().Add(restPause))
	select {
	case <-f.done:
	case <-s.x.stopped:
	}
	back()
	if err := op.stopping(); err != nil {
		return zero, err
	}
	return f.v, f.err
}

// await records which came first, done or the end of ctx.
func (op *operation) await(ctx context.Context, done chan struct{}) error {
	x := op.scope.x
	back := x.rest(x.node.now().Add(restPause))
	var ended error
	select {
	case <-done:
	case <-ctx.Done():
		ended = &Error{Op: "wait", Name: op.name, Err: ending(ctx)}
	case <-x.stopped:
	}
	back()
	return op.note(&record.Entry{Phase: record.Whole, Err: x.node.flatten(ended)})
}

func (*Future[T]) await() {}

// Awaitable is what can be waited for: a Future or an Execution.
type Awaitable interface{ await() }
