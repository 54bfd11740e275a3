package chttp

import (
	"context"
	"fmt"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Persist returns fn's value, which every later run of the execution is given instead of calling fn. Use it for what must be
// the same again and touches nothing outside: a random number, an id, a setting. It does not wait for the disk; whatever leaves
// afterwards does. The value returned is what the codec makes of fn's, in the first run as well. A value that the codec cannot
// encode parks the execution. It panics outside an execution.
func Persist[T any](ctx context.Context, name string, fn func() T) T {
	var v T
	if persist(ctx, name, func() any { return fn() }, &v) {
		return v
	}
	return fn() // A goroutine that is not ours, in an execution that stops: nothing of it will count.
}

// persist puts into p, a pointer, what get's value is after it went through the codec. It is false when nothing was recorded.
func persist(ctx context.Context, name string, get func() any, p any) bool {
	s, _, err := inside(ctx, "persist", name)
	if err != nil {
		panic(err)
	}
	op, err := s.enter(ctx, record.Persist, name, nil)
	if err != nil {
		return false
	}
	defer op.leave()
	if op.end == nil {
		b, err := s.x.node.encode(get())
		if err != nil {
			_ = s.x.park(record.Persist, name, fmt.Sprintf("the value of persist %q, at %s, cannot be recorded: %v", name, userLine(), err))
			return false
		}
		if op.note(&record.Entry{Phase: record.Whole, Data: b}) != nil {
			return false
		}
	}
	return op.decode(op.end.Data, p) == nil
}

// Now returns the time of this operation: the same in every run. It panics outside an execution.
func Now(ctx context.Context) time.Time {
	return Persist(ctx, "now", func() time.Time {
		if s := envOf(ctx).scope; s != nil {
			return s.x.node.now().Round(0)
		}
		return time.Now().Round(0)
	})
}

// encode writes v with the codec. nil is no value.
func (n *Node) encode(v any) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the codec panicked: %v", p)
		}
	}()
	if b, err = n.opt.Codec.Marshal(v); err != nil {
		return nil, err
	}
	if len(b) > n.opt.MaxValue {
		return nil, fmt.Errorf("the value is %d bytes long; Options.MaxValue is %d", len(b), n.opt.MaxValue)
	}
	return b, nil
}

// decode puts into p what b holds, or parks the execution: today's type is another than the recorded one's.
func (op *operation) decode(b []byte, p any) (err error) {
	if len(b) == 0 {
		return nil
	}
	x := op.scope.x
	if err := x.node.opt.Codec.Unmarshal(b, p); err != nil {
		return x.park(op.kind, op.name, fmt.Sprintf("the recorded value of %s %q does not fit its type, at %s: %v", op.kind, op.name, userLine(), err))
	}
	return nil
}
