package chttp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// CheckReplay runs the registered functions and handlers over the oplog of every execution that is running or waiting, as a restart
// would, but without effects: what is recorded is given back, and each stops where its oplog does. It returns nil when today's code goes
// the way that is recorded, or an error that joins one *Error for each execution that would park or crash. So it tells, before a new
// program is put in place, whether it breaks what is in flight. What comes behind what is recorded is not judged. What functions do
// outside of operations, they do here too, several at once; one that waits there for what does not come has ten seconds to go on to its
// next recorded operation.
//
// It neither needs Run nor disturbs it, and it reads only: give New a store that is open for reading (sqlitestore.OpenReader) to check
// the store of a process that runs. What begins meanwhile is not looked at. Messages that were sent and forgotten are not replayed: no
// code of yours is in them. It returns only when the functions have; when ctx ends first, the error says that too.
func (n *Node) CheckReplay(ctx context.Context) error {
	if err := n.mistake(); err != nil {
		return fmt.Errorf("chttp: CheckReplay: %w", err)
	}
	var bad []error
	q := store.Query{States: []store.State{store.Running, store.Waiting}, Limit: scanPage}
	for {
		page, err := n.store.List(ctx, q)
		var damaged *store.DamagedError
		switch {
		case errors.As(err, &damaged):
			for _, key := range damaged.Keys {
				bad = append(bad, &Error{Op: "replay", ID: key.ID, Err: err})
			}
		case err != nil:
			return errors.Join(append(bad, fmt.Errorf("chttp: CheckReplay: %w", err))...)
		}
		bad = append(bad, n.rehearseAll(ctx, page)...)
		if ctx.Err() != nil {
			return errors.Join(append(bad, fmt.Errorf("chttp: CheckReplay: %w", context.Cause(ctx)))...)
		}
		if len(page) < q.Limit {
			return errors.Join(bad...)
		}
		q.After = page[len(page)-1].Key
	}
}

// rehearseAll replays the executions of a page without effects, and returns the errors of those that do not go the recorded way, in order.
func (n *Node) rehearseAll(ctx context.Context, page []*store.Record) []error {
	errs := make([]error, len(page))
	places := make(chan struct{}, defaultConcurrency)
	var wg sync.WaitGroup
	for i, r := range page {
		if ctx.Err() != nil {
			break
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := n.rehearse(ctx, r); err != nil && !n.moved(ctx, r) {
				errs[i] = &Error{Op: "replay", Name: r.Function, ID: r.ID, Err: err}
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// moved tells whether the execution of r is no more, and what was read of its oplog may be another's: its process goes on meanwhile.
func (n *Node) moved(ctx context.Context, r *store.Record) bool {
	now, err := n.store.Read(ctx, r.Key)
	return errors.Is(err, store.ErrNotFound) || err == nil && now.Run != r.Run
}

// How long a rehearsal may make no operation: until its next recorded one, and behind the last one that is recorded.
const (
	rehearsalPatience = 10 * time.Second
	rehearsalQuiet    = 100 * time.Millisecond
)

// rehearsal is a replay without effects. The oplog's end is the frontier: who asks for an operation there is unwound.
type rehearsal struct {
	whole    bool // the execution has ended: the replay is to end alike, and to meet no frontier
	canceled bool // it ended canceled: so is its context, where the oplog ends
	done     chan struct{}

	// What its function returned; only behind done.
	result *result
	err    error

	// Guarded by the execution's mu.
	scopes  []*scope // that were opened
	opening int      // scopes that are about to be
	asked   int      // operations that there were
	beyond  string   // the first frontier that was met
	astray  bool     // a goroutine that is not ours met one, and goes on with an error that no real run would give it
}

// rehearse replays the execution of r without effects. Its error says where today's code leaves what is recorded; it is nil when ctx ended
// before that was known.
func (n *Node) rehearse(ctx context.Context, r *store.Record) error {
	if r.Function == functionSend || r.State == store.Acknowledged {
		return nil // There is no code of yours in it, or no oplog any more.
	}
	x, err := n.restore(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	h := &rehearsal{done: make(chan struct{})}
	h.canceled = r.State == store.Canceled && x.canceled != nil
	h.whole = r.State.Finished() && (h.canceled || r.State != store.Canceled) // What was parked and then canceled has no end of its own.
	x.rehearsal = h
	root := &scope{x: x, log: x.log[""]}
	h.scopes = []*scope{root}
	x.life, x.end = context.WithCancelCause(context.WithValue(context.Background(), envKey{}, &env{scope: root}))
	x.ctx, x.cancel = context.WithCancelCause(x.life)
	x.active, x.users, x.replaying = true, 1, true
	root.replayed()
	go x.rehearse(root)
	if err := x.attend(ctx); err != nil {
		return err
	}
	return x.judge(r)
}

// rehearse is the outermost function of a rehearsal's goroutine.
func (x *execution) rehearse(root *scope) {
	h := x.rehearsal
	defer close(h.done)
	returned := false
	defer func() {
		if how := crashText(recover(), returned, x); how != "" {
			x.halt(&stop{cause: errors.New(how), crash: how})
		}
		x.branches.Wait()
		if returned && h.err == nil {
			root.close()
		}
		if h.err != nil {
			x.halt(&stop{cause: h.err, park: h.err.Error()})
		}
		x.end(nil)
	}()
	h.result, h.err = x.reg.run(x.ctx, x)
	returned = true
}

// attend waits for the rehearsal's end, and brings it about when ctx ends, or when nothing more is to be learned from one that waits for
// something other than an operation. Its error says that it should not have waited there.
func (x *execution) attend(ctx context.Context) error {
	h := x.rehearsal
	tick := time.NewTicker(rehearsalQuiet)
	defer tick.Stop()
	asked, since := -1, time.Now()
	for {
		select {
		case <-h.done:
			return nil
		case <-ctx.Done():
			x.abandon(context.Cause(ctx))
			return nil
		case <-tick.C:
		}
		n, missing := x.progress()
		still := time.Since(since)
		switch {
		case n != asked:
			asked, since = n, time.Now()
		case missing == "" && !h.whole:
			x.abandon(errAbandoned) // As after a restart, it waits for what will come then.
			return nil
		case still < rehearsalPatience:
		case missing == "":
			x.abandon(errAbandoned)
			return errors.New("the function waits, outside of operations, where the recorded execution had ended")
		default:
			x.abandon(errAbandoned)
			return fmt.Errorf("the function waits, outside of operations, and does not come to %s", missing)
		}
	}
}

// errAbandoned is what the context says of a rehearsal that waits, and has shown what there is to see.
var errAbandoned = errors.New("this replay without effects is over")

// progress returns how many operations there were, and describes a recorded one that is still to come, or returns "".
func (x *execution) progress() (asked int, missing string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := x.rehearsal
	for _, s := range h.scopes {
		if s.next < len(s.log) {
			op := s.log[s.next]
			return h.asked, "operation " + s.number(op.seq) + ", recorded: " + describe(op.kind, op.name, op.print)
		}
	}
	if h.opening > 0 {
		return h.asked, "the operations of a branch or function that it has begun"
	}
	return h.asked, ""
}

// abandon ends the rehearsal and waits for user code to come back.
func (x *execution) abandon(cause error) {
	x.halt(&stop{cause: cause})
	slow := time.AfterFunc(slowStop, func() {
		x.node.opt.Logger.Warn("chttp: CheckReplay still waits for a function that ignores its context", "function", x.reg.name, "id", x.key.ID)
	})
	defer slow.Stop()
	<-x.rehearsal.done
}

// judge says, once the rehearsal is over, what is wrong with it.
func (x *execution) judge(r *store.Record) error {
	h := x.rehearsal
	x.mu.Lock()
	s, beyond := x.stop, h.beyond
	x.mu.Unlock()
	switch {
	case s != nil && s.crash != "":
		return fmt.Errorf("the run crashed: %s", s.crash)
	case s != nil && s.park != "":
		return errors.New(s.park)
	case s != nil || !h.whole:
		return nil
	case beyond != "":
		return errors.New(beyond)
	}
	return sameOutcome(r, h.result)
}

// opened notes a scope of the rehearsal; called with the execution's mu held.
func (h *rehearsal) opened(s *scope) {
	if h != nil {
		h.opening--
		h.scopes = append(h.scopes, s)
	}
}

// met notes that op was asked for; called with the execution's mu held.
func (h *rehearsal) met(op *operation) {
	if h == nil {
		return
	}
	h.asked++
	if op.recorded && op.end == nil && (op.kind == record.Branch || op.kind == record.Function) {
		h.opening++
	}
}

// frontier ends the goroutine of a rehearsal where its scope's oplog ends: what comes next is not recorded. A goroutine that is not ours
// gets an error instead.
func (op *operation) frontier() error {
	x, s := op.scope.x, op.scope
	own, line := ownGoroutine(), userLine()
	x.mu.Lock()
	h := x.rehearsal
	if op.kind != record.Branch || op.begin == nil { // Where a branch ends, the scope that opened it may go on.
		s.over = true
	}
	if h.beyond == "" {
		h.beyond = fmt.Sprintf("the replay differs from the oplog at operation %s\n  recorded: the function has returned\n       now: %s\n        at: %s",
			s.number(op.seq), describe(op.kind, op.name, op.print), line)
	}
	h.astray = h.astray || !own
	x.mu.Unlock()
	if own {
		runtime.Goexit()
	}
	return &Error{Op: op.kind.String(), Name: op.name, ID: x.key.ID, Err: notDone(errors.New("the recorded oplog ends here"))}
}

// unjudged tells whether what ends a goroutine of the rehearsal, seen from its outermost deferred function, is of no account: it
// unwinds from a frontier, whatever its deferred functions did on the way, or a goroutine that is not ours was misled.
func (h *rehearsal) unjudged(x *execution) bool {
	x.mu.Lock()
	astray := h.astray
	x.mu.Unlock()
	if astray {
		return true
	}
	frames := runtime.CallersFrames(stack())
	met, before := false, ""
	for {
		f, more := frames.Next()
		if before == "runtime.Goexit" { // The outermost was the first, and counts.
			met = f.Function == packagePath+".(*operation).frontier"
		}
		if before = f.Function; !more {
			return met
		}
	}
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
	a, b := around(outcomeText(r.State, was), outcomeText(res.state, &now))
	return fmt.Errorf("the replay ends otherwise than the execution did\n  recorded: %s\n       now: %s", a, b)
}

// outcomeText shows an outcome to people.
func outcomeText(state store.State, t *record.Tail) string {
	switch {
	case t.Err != nil && len(t.Err.Is) > 0:
		return fmt.Sprintf("%s with the error %q, for errors.Is also %q", state, t.Err.Text, t.Err.Is)
	case t.Err != nil:
		return fmt.Sprintf("%s with the error %q", state, t.Err.Text)
	case t.Response != nil:
		return fmt.Sprintf("%d %v %s", t.Response.Status, t.Response.Header, t.Response.Body)
	}
	return fmt.Sprintf("%s with %s", state, t.Value)
}

// around returns of two texts what is near their first difference.
func around(a, b string) (string, string) {
	const before, most = 200, 1000
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	cut := func(s string) string {
		from, more := "", ""
		if i > before && len(s) > most {
			s, from = s[i-before:], "…"
		}
		if len(s) > most {
			s, more = s[:most], "…"
		}
		return from + strings.ToValidUTF8(s, ".") + more
	}
	return cut(a), cut(b)
}
