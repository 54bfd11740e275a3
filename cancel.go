package chttp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// cancel is Cancel as an operation.
func (s *scope) cancel(ctx context.Context, n *Node, id ID, why string) error {
	if err := s.of(n, "cancel", id); err != nil {
		return err
	}
	op, err := s.enter(ctx, record.Wait, "cancel/"+id, nil)
	if err != nil {
		return err
	}
	defer op.leave()
	if op.end == nil {
		if err := op.output(); err != nil { // I5. What it cancels may have begun with our own change, too.
			return err
		}
		x := s.x
		within, end := x.within(context.WithoutCancel(ctx)) // A cancelled function cancels what it began.
		back := x.rest(x.node.now().Add(restPause))         // What it cancels may need the room.
		err := n.cancel(within, store.Key{ID: id}, why)
		back()
		end()
		if err := op.stopping(); err != nil {
			return err
		}
		switch {
		case errors.Is(err, errUnread):
			return op.unread(err)
		case err != nil:
			err = &Error{Op: "cancel", ID: id, Err: err}
		}
		if err := op.note(&record.Entry{Phase: record.Whole, Err: s.x.node.flatten(err)}); err != nil {
			return err
		}
	}
	return s.x.node.unflatten(op.end.Err)
}

// cancel asks the execution of key to end.
func (n *Node) cancel(ctx context.Context, key store.Key, why string) error {
	if n.looks {
		return notDone(errReadOnly)
	}
	for {
		x := n.resident(key)
		if x == nil {
			lock := n.stripe(key)
			lock.Lock()
			r, err := n.store.Read(ctx, key)
			if err != nil || r.State.Finished() {
				lock.Unlock()
				switch {
				case errors.Is(err, store.ErrNotFound):
					return ErrNotFound
				case err != nil:
					return fmt.Errorf("%w: %w", errUnread, notDone(err))
				}
				return nil
			}
			x, err = n.restore(ctx, r)
			if errors.Is(err, errUnread) {
				lock.Unlock()
				return fmt.Errorf("%w: %w", errUnread, notDone(err))
			}
			if n.resident(key) != nil || !n.enter(x) {
				lock.Unlock()
				select {
				case <-ctx.Done():
					return unknownOutcome(context.Cause(ctx))
				case <-time.After(lazyFlush):
				}
				continue
			}
			lock.Unlock()
			if err != nil || r.State == store.Parked || !n.running() {
				return n.cancelIdle(ctx, x, why, r.State == store.Parked)
			}
			defer x.begin()
		}
		if x.requestCancel(why) {
			if !x.flush() {
				continue
			}
			return nil
		}
		if err := n.settled(ctx, key); err != nil {
			return err
		}
	}
}

// requestCancel notes the cancellation and, unless the run is still replaying, ends its context. False: x is leaving memory.
func (x *execution) requestCancel(why string) bool {
	x.mu.Lock()
	if x.stop != nil || x.leaving {
		x.mu.Unlock()
		return false
	}
	if x.canceled != nil {
		x.mu.Unlock()
		return true
	}
	x.canceled = &why
	x.chunk = record.AppendEntry(x.chunk, &record.Entry{Phase: record.Cancel, Data: []byte(why)})
	x.touch()
	live := x.active && !x.replaying
	x.applied = live
	x.mu.Unlock()
	if live {
		x.cancel(cancellation(why))
	}
	return true
}

// cancelIdle cancels what no run is under way for: what is parked ends canceled, the rest finds it recorded.
func (n *Node) cancelIdle(ctx context.Context, x *execution, why string, parked bool) error {
	if parked {
		x.finish(&result{
			state: store.Canceled, bound: n.now().Add(n.opt.Retention).UnixMilli(),
			tail: &record.Tail{Err: n.flatten(cancellation(why))},
		})
		return n.settled(ctx, x.key)
	}
	x.mu.Lock()
	x.canceled = &why
	x.chunk = record.AppendEntry(x.chunk, &record.Entry{Phase: record.Cancel, Data: []byte(why)})
	x.leaving = true
	x.touch()
	x.mu.Unlock()
	return n.settled(ctx, x.key)
}

// settled waits until what leaves memory has left it.
func (n *Node) settled(ctx context.Context, key store.Key) error {
	for x := n.resident(key); x != nil; x = n.resident(key) {
		x.mu.Lock()
		g := x.group
		leaving := x.leaving || x.stop != nil
		x.mu.Unlock()
		if !leaving {
			return nil
		}
		if g != nil {
			if err := n.journal.wait(ctx, g); err != nil {
				return unknownOutcome(err)
			}
		}
		select {
		case <-ctx.Done():
			return unknownOutcome(context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}
