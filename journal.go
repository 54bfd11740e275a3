package chttp

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

// journal holds what was recorded and is not yet durable, and commits it in batches: one for all executions that gathered while the
// batch before was written. What one execution recorded enters a batch as one change, always all of it, so the store holds a prefix of
// every execution's history.
type journal struct {
	node    *Node
	wake    chan struct{} // somebody waits for the next batch
	lazy    chan struct{} // something was recorded, nobody waits
	writing chan struct{} // holds one while somebody commits; not a mutex, for which no bubble of synctest lets time pass
	bytes   atomic.Int64  // recorded and not taken
	givesUp time.Time     // once the node has stopped, on a batch of which it is unknown whether it was committed; guarded by writing

	dropped bool // the acknowledgements of the batch; guarded by writing

	mu     sync.Mutex // guards what follows
	queue  []*execution
	next   *group
	acks   []store.Ack
	facts  []store.Fact
	raise  int64 // the floor
	sweep  int
	spare  []*execution
	pause  time.Duration // after a batch that the store had no room for
	swept  int           // by the last sweep
	armed  bool          // lazy was signalled for what has gathered
	wanted bool          // somebody waits for what has gathered
}

// group is those who wait for the same batch.
type group struct {
	done    chan struct{}
	dropped bool // its acknowledgements were not taken; set before done is closed
}

func newJournal(n *Node) *journal {
	return &journal{
		node: n, wake: make(chan struct{}, 1), lazy: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		next: &group{done: make(chan struct{})},
	}
}

// add puts x into the next batch; called with x.mu held, once per batch.
func (j *journal) add(x *execution) *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue, x)
	j.arm()
	return j.next
}

// arm has what was recorded written within lazyFlush; called with j.mu held.
func (j *journal) arm() {
	if !j.armed {
		j.armed = true
		signal(j.lazy)
	}
}

// put adds what belongs to no execution and returns the group to wait for.
func (j *journal) put(f func(j *journal)) *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	f(j)
	j.arm()
	return j.next
}

// want has g's batch written now. Where no writer runs, the caller writes, or leaves it to whoever writes at this moment, perhaps
// itself further up.
func (j *journal) want(g *group) {
	j.mu.Lock()
	due := g == j.next
	j.wanted = j.wanted || due
	j.mu.Unlock()
	switch {
	case !due:
	case j.node.running():
		signal(j.wake)
	default:
		j.drain()
	}
}

// drain writes until nobody wants a batch. Who finds another writing leaves it to that one, which looks again before it goes.
func (j *journal) drain() {
	for j.isWanted() {
		select {
		case j.writing <- struct{}{}:
		default:
			return
		}
		for j.isWanted() {
			j.writeOnce()
			time.Sleep(j.rest())
		}
		<-j.writing
	}
}

func (j *journal) isWanted() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.wanted
}

// rest is how long to leave the store alone after it had no room.
func (j *journal) rest() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pause
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes batches until ctx ends.
func (j *journal) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
			// Those who were woken by the last batch get to record first: otherwise two cohorts alternate, each half as large.
			for range 3 {
				runtime.Gosched()
			}
		case <-timer.C:
		case <-j.lazy:
			timer.Reset(lazyFlush)
			continue
		}
		j.write()
		if pause := j.rest(); pause > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			signal(j.wake)
		}
	}
}

// write commits what has gathered.
func (j *journal) write() {
	j.writing <- struct{}{}
	j.writeOnce()
	<-j.writing
	if !j.node.running() {
		j.drain()
	}
}

// writeOnce is write; called with j.writing taken.
func (j *journal) writeOnce() {
	j.mu.Lock()
	xs, g := j.queue, j.next
	b := &store.Batch{Token: j.node.id.Token, Now: j.node.now().UnixMilli(), Acks: j.acks, Facts: j.facts, Floor: j.raise, Sweep: j.sweep}
	j.queue, j.spare = j.spare[:0], nil
	j.next = &group{done: make(chan struct{})}
	j.acks, j.facts, j.raise, j.sweep, j.armed, j.wanted = nil, nil, 0, 0, false, false
	j.bytes.Store(0)
	j.mu.Unlock()
	defer close(g.done)

	b.Changes = make([]store.Change, 0, len(xs))
	live := xs[:0]
	for _, x := range xs {
		if x.take(b) {
			live = append(live, x)
		}
	}
	if len(b.Changes)+len(b.Acks)+len(b.Facts) == 0 && b.Floor == 0 && b.Sweep == 0 {
		j.recycle(xs)
		return
	}
	j.dropped = false
	j.commit(b, live, false)
	g.dropped = j.dropped
	j.recycle(xs)
}

func (j *journal) recycle(xs []*execution) {
	clear(xs)
	j.mu.Lock()
	j.spare = xs[:0]
	j.mu.Unlock()
}

// commit does b, whose changes are those of xs, and tells each what became of its change. Again: it was refused before, alone, by a
// store that took something else.
func (j *journal) commit(b *store.Batch, xs []*execution, again bool) {
	report, err := j.attempt(b)
	switch {
	case err == nil:
		j.mu.Lock()
		j.pause, j.swept = 0, report.Swept
		j.mu.Unlock()
		j.node.floor.Store(max(report.Floor, j.node.floor.Load()))
		for i, x := range xs {
			x.committed(&b.Changes[i], &report.Results[i])
		}
	case errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrUnknown):
		j.node.lost(err)
		for _, x := range xs { // Those that are in no memory have waiters too.
			x.halt(lostStore(err))
		}
	case errors.Is(err, store.ErrFull):
		j.noRoom(b, xs, err)
	case !j.healthy(b):
		j.noRoom(b, xs, err)
	case len(b.Acks)+len(b.Facts) > 0 || b.Floor != 0 || b.Sweep != 0: // Any of them may be what is refused.
		j.aside(b)
		if len(xs) > 0 {
			j.commit(&store.Batch{Token: b.Token, Now: b.Now, Changes: b.Changes}, xs, false)
		}
	case len(xs) > 1:
		// Refused, certainly not done: halve until the offender stands alone.
		half := len(xs) / 2
		first, rest := *b, *b
		first.Changes, rest.Changes = b.Changes[:half], b.Changes[half:]
		j.commit(&first, xs[:half], false)
		j.commit(&rest, xs[half:], false)
	case !again: // What was in the way, such as a transaction of the application, may be gone.
		j.commit(b, xs, true)
	default:
		xs[0].refused(&b.Changes[0], err)
	}
}

// aside takes from a batch that was refused what belongs to no execution. Acknowledgements are sent again by their clients (A4), the
// floor is raised another time; facts are tried once more by themselves.
func (j *journal) aside(b *store.Batch) {
	j.dropped = j.dropped || len(b.Acks) > 0
	if len(b.Facts) == 0 {
		return
	}
	switch _, err := j.attempt(&store.Batch{Token: b.Token, Now: b.Now, Facts: b.Facts}); {
	case err == nil:
	case j.healthy(b):
		j.node.opt.Logger.Error("chttp: the store refuses what was learned of peers; it will be learned again", "err", err)
	default:
		j.keep(b.Facts)
	}
}

// attempt commits b; while it is unknown whether it was, it commits the same again, which compares (I5).
func (j *journal) attempt(b *store.Batch) (*store.Report, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		report, err := j.node.store.Commit(context.Background(), b)
		if !errors.Is(err, store.ErrUnknown) {
			return report, err
		}
		if j.node.phase.Load() == phaseStopped {
			if now := time.Now(); j.givesUp.IsZero() {
				j.givesUp = now.Add(slowStop)
			} else if now.After(j.givesUp) { // Nobody was told what depends on it: the next process finds what is there.
				return nil, err
			}
		}
		j.node.opt.Logger.Warn("chttp: it is unknown whether a batch was committed; committing it again", "err", err)
		time.Sleep(wait)
	}
}

// healthy tells whether the store refuses what is in the batch, or refuses everything.
func (j *journal) healthy(b *store.Batch) bool {
	_, err := j.attempt(&store.Batch{Token: b.Token, Now: b.Now, Facts: []store.Fact{{Name: "probe", Value: nil}}})
	return err == nil
}

// noRoom refuses what is new, which loses nothing, and keeps the rest to be committed later.
func (j *journal) noRoom(b *store.Batch, xs []*execution, err error) {
	j.node.opt.Logger.Error("chttp: the store takes nothing: new work is refused, the rest waits", "err", err, "changes", len(xs))
	for i, x := range xs {
		x.untake(&b.Changes[i], err)
	}
	j.keep(b.Facts)
	j.dropped = j.dropped || len(b.Acks) > 0
	j.mu.Lock()
	j.pause = min(max(50*time.Millisecond, 2*j.pause), time.Second)
	j.mu.Unlock()
}

// keep has facts committed later, before what was learned since.
func (j *journal) keep(facts []store.Fact) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.facts = append(facts[:len(facts):len(facts)], j.facts...)
}

// wait returns when g's batch was tried, or ctx has ended.
func (j *journal) wait(ctx context.Context, g *group) error {
	j.want(g)
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// took tells whether the acknowledgements of g are durable; those of no group are.
func (j *journal) took(ctx context.Context, g *group) bool {
	return g == nil || j.wait(ctx, g) == nil && !g.dropped
}
