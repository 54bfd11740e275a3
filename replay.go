package chttp

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// CheckReplay runs the registered functions and handlers over the oplog of every execution that is running or waiting, as a restart
// would, but without effects: what is recorded is given back, and each stops where its oplog does. It returns nil when today's code goes
// the way that is recorded, or an error that joins one *Error for each execution that would park or crash. So it tells, before a new
// program is put in place, whether it breaks what is in flight. What functions do outside of operations, they do here too.
//
// It neither needs Run nor disturbs it, and it reads only: give New a store that is open for reading
// (sqlitestore.OpenReader) to check the store of a process that runs. Messages that were sent and forgotten are not replayed: no code of yours is in
// them.
func (n *Node) CheckReplay(ctx context.Context) error {
	if err := n.mistake(); err != nil {
		return fmt.Errorf("chttp: CheckReplay: %w", err)
	}
	var bad []error
	q := store.Query{States: []store.State{store.Running, store.Waiting}, Limit: scanPage}
	for {
		page, err := n.store.List(ctx, q)
		if err != nil {
			return errors.Join(append(bad, fmt.Errorf("chttp: CheckReplay: %w", err))...)
		}
		for _, r := range page {
			if r.Function == functionSend {
				continue
			}
			if err := n.rehearse(ctx, r); err != nil {
				bad = append(bad, &Error{Op: "replay", Name: r.Function, ID: r.ID, Err: err})
			}
			if ctx.Err() != nil {
				return errors.Join(append(bad, context.Cause(ctx))...)
			}
		}
		if len(page) < q.Limit {
			return errors.Join(bad...)
		}
		q.After = page[len(page)-1].Key
	}
}

// rehearse replays the execution of r without effects. Its error says where today's code leaves what is recorded.
func (n *Node) rehearse(ctx context.Context, r *store.Record) error {
	x, err := n.restore(ctx, r)
	if err != nil {
		return err
	}
	x.rehearsed = true
	root := &scope{x: x, log: x.log[""]}
	x.life, x.end = context.WithCancelCause(context.WithValue(context.Background(), envKey{}, &env{scope: root}))
	x.ctx, x.cancel = context.WithCancelCause(x.life)
	x.active, x.users, x.replaying = true, 1, true
	var res *result
	done := make(chan struct{})
	go x.rehearsal(root, &res, done)
	select {
	case <-done:
	case <-ctx.Done():
		x.halt(&stop{cause: context.Cause(ctx)})
		<-done
		return context.Cause(ctx)
	}
	switch s := x.stop; {
	case s != nil && s.crash != "":
		return fmt.Errorf("the run crashed: %s", s.crash)
	case s != nil && s.park != "":
		return errors.New(s.park)
	case s != nil:
		return s.cause
	case r.State.Finished() && (res == nil || res.notNow):
		return errors.New("the function goes on where the recorded execution had ended")
	case r.State.Finished():
		return sameOutcome(r, res)
	}
	return nil
}

// rehearsal is the outermost function of a rehearsal's goroutine.
func (x *execution) rehearsal(root *scope, res **result, done chan struct{}) {
	defer close(done)
	var err error
	returned := false
	defer func() {
		p := recover()
		if how := crashText(p, returned, x); how != "" {
			x.halt(&stop{cause: errors.New(how), crash: how})
		}
		x.branches.Wait()
		if returned && err == nil && p == nil {
			root.close()
		}
		if err != nil {
			x.halt(&stop{cause: err, park: err.Error()})
		}
		x.end(nil)
	}()
	*res, err = x.reg.run(x.ctx, x)
	returned = true
}

// frontier ends the goroutine of a rehearsal where its scope's oplog ends: what comes next is not recorded. A goroutine that is not ours
// gets an error instead.
func (op *operation) frontier() error {
	if ownGoroutine() {
		runtime.Goexit()
	}
	return &Error{Op: op.kind.String(), Name: op.name, ID: op.scope.x.key.ID, Err: notDone(errors.New("the recorded oplog ends here"))}
}

// sameOutcome is nil when res is what the record r ended with.
func sameOutcome(r *store.Record, res *result) error {
	was, err := record.ParseTail(r.Tail)
	if err != nil {
		return err
	}
	now := *res.tail
	was.Ended, now.Ended = 0, 0
	if string(was.Append(nil)) == string(now.Append(nil)) {
		return nil
	}
	return fmt.Errorf("the replay ends otherwise than the execution did\n  recorded: %s\n       now: %s", outcomeText(was), outcomeText(&now))
}

// outcomeText shows an outcome to people.
func outcomeText(t *record.Tail) string {
	const most = 1000
	cut := func(b []byte) string { return string(b[:min(len(b), most)]) }
	switch {
	case t.Err != nil:
		return "error: " + t.Err.Text
	case t.Response != nil:
		return fmt.Sprintf("%d %v %s", t.Response.Status, t.Response.Header, cut(t.Response.Body))
	}
	return cut(t.Value)
}
