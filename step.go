package chttp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Do runs fn for its effect outside and records its value or error. Everything before it, and that it begins, is durable when fn
// begins. If the process dies before the result is durable, fn runs again: at least once, unless Policy.AtMostOnce, which parks the
// execution instead. fn's error is the result and is not retried unless Policy.Attempts asks for it; errors.Is finds the sentinels of
// Options.Errors and no others. Only fn's own context may be used inside; HTTP in it is plain HTTP. A name is used once in a scope:
// in a loop, add what tells the rounds apart ("charge/"+id). An effect at a certified peer does not need Do: Post is exactly once.
func Do[T any](ctx context.Context, name string, fn func(context.Context) (T, error)) (T, error) {
	var v T
	if fn == nil {
		return v, errNoStep(name)
	}
	err := do(ctx, name, func(ctx context.Context) (any, error) { return fn(ctx) }, &v)
	return v, err
}

// Run is Do for a function that has only an error.
func Run(ctx context.Context, name string, fn func(context.Context) error) error {
	if fn == nil {
		return errNoStep(name)
	}
	return do(ctx, name, func(ctx context.Context) (any, error) { return nil, fn(ctx) }, nil)
}

func errNoStep(name string) error {
	return &Error{Op: "do", Name: name, Err: notDone(errors.New("the step has no function"))}
}

func do(ctx context.Context, name string, fn func(context.Context) (any, error), p any) error {
	s, e, err := inside(ctx, "do", name)
	if err != nil {
		return err
	}
	x := s.x
	op, err := s.enter(ctx, record.Step, name, nil)
	if err != nil {
		return err
	}
	defer op.leave()
	if op.end == nil {
		policy := e.policy.over(x.node.opt.Policy)
		if err := op.step(ctx, e, policy, fn); err != nil {
			return err
		}
	}
	if op.end.Err != nil {
		return x.node.unflatten(op.end.Err)
	}
	if p == nil {
		return nil
	}
	return op.decode(op.end.Data, p)
}

// step does what was not done, or not known to be done, by an earlier run. Its error says that the execution is stopping.
func (op *operation) step(ctx context.Context, e *env, policy Policy, fn func(context.Context) (any, error)) error {
	x := op.scope.x
	again := op.begin != nil
	switch {
	case again && policy.AtMostOnce:
		return x.park(record.Step, op.name, fmt.Sprintf("a crash left it unknown whether step %q had its effect, and it is to have it at most once", op.name))
	case !again && ctx.Err() != nil:
		err := &Error{Op: "do", Name: op.name, Err: notDone(ending(ctx))}
		return op.note(&record.Entry{Phase: record.Whole, Err: x.node.flatten(err)})
	case policy.ReadOnly:
		again = false
	case !again:
		// The beginning is durable before the effect starts: a crash in between runs fn again, and S7 knows of it.
		if err := op.note(&record.Entry{Phase: record.Begin}); err != nil {
			return err
		}
		again = true
	}
	if again {
		if err := op.output(); err != nil {
			return err
		}
	}
	in := *e
	in.step = op
	v, err := tries(context.WithValue(ctx, envKey{}, &in), policy.Attempts, fn)
	if err := op.stopping(); err != nil {
		return err
	}
	result := record.Entry{Phase: record.End, Err: x.node.flatten(err)}
	if !again {
		result.Phase = record.Whole
	}
	if err == nil && v != nil {
		b, err := x.node.encode(v)
		if err != nil {
			return x.park(record.Step, op.name, fmt.Sprintf("step %q had its effect, but its value, at %s, cannot be recorded: %v", op.name, userLine(), err))
		}
		result.Data = b
	}
	return op.note(&result)
}

// tries calls fn until it has no error, at most attempts times, with back-off between.
func tries(ctx context.Context, attempts int, fn func(context.Context) (any, error)) (v any, err error) {
	for i := 1; ; i++ {
		if v, err = fn(ctx); err == nil || i >= attempts {
			return v, err
		}
		select {
		case <-time.After(backoff(i - 1)):
		case <-ctx.Done():
			return v, err
		}
	}
}
