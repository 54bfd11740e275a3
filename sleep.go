package chttp

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Sleep waits, across crashes; it returns an error only when the execution is cancelled, or ctx's own deadline ends it. An execution that sleeps may be
// put out of memory: its deferred functions run then, and the function runs again when it is time.
func Sleep(ctx context.Context, d time.Duration) error {
	s, _, err := inside(ctx, "sleep", d.String())
	if err != nil {
		return err
	}
	op, err := s.enter(ctx, record.Sleep, "sleep", nil)
	if err != nil {
		return err
	}
	defer op.leave()
	if op.end == nil {
		if err := op.sleep(ctx, d); err != nil {
			return err
		}
	}
	return s.x.node.unflatten(op.end.Err)
}

// sleep waits for the time that the operation's beginning names. Its error says that the execution is stopping.
func (op *operation) sleep(ctx context.Context, d time.Duration) error {
	x := op.scope.x
	if op.begin == nil {
		wake := x.node.now().Add(d).UnixMilli()
		if err := op.note(&record.Entry{Phase: record.Begin, Data: binary.BigEndian.AppendUint64(nil, uint64(wake))}); err != nil {
			return err
		}
	}
	var wake time.Time
	if len(op.begin.Data) == 8 {
		wake = time.UnixMilli(int64(binary.BigEndian.Uint64(op.begin.Data)))
	}
	timer := time.NewTimer(x.node.until(wake))
	defer timer.Stop()
	back := x.rest(wake)
	var ended error
	select {
	case <-timer.C:
	case <-ctx.Done():
		ended = &Error{Op: "sleep", Err: ending(ctx)}
	case <-x.stopped:
	}
	back()
	return op.note(&record.Entry{Phase: record.End, Err: x.node.flatten(ended)})
}
