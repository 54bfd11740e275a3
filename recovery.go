package chttp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// scanner finds what is unfinished, due and not in memory: at the start everything that an earlier process left, later what
// was put out of memory, what had no room, and what was not to begin before its time. It waits for no client (S6). There is one
// for parcels and one for the rest, so that neither waits for the other's room.
type scanner struct {
	parcels bool
	wake    chan struct{}
	starved atomic.Int64 // it waits until so many have left memory; 0: it does not wait for room

	mu      sync.Mutex // guards what follows
	cursor  store.Cursor
	rewound bool               // the cursor was set back since the page was read
	soonest int64              // due of what was stored since the page was read
	gone    map[store.Key]bool // has left memory since the page was read: the page is no longer true of it
	next    int64              // it sleeps until then; 0: it does not sleep

	unread  map[store.Key]int  // whose oplog could not be read, and how often
	damaged map[store.Key]bool // named in the log
	again   time.Duration      // after which what is damaged was last looked at again
	looking bool               // it will be
}

// roomWait is how long the scanner waits for room before it looks again in any case.
const roomWait = 50 * time.Millisecond

func newScanner(parcels bool) *scanner {
	return &scanner{parcels: parcels, wake: make(chan struct{}, 1)}
}

func (n *Node) lane(parcel bool) *scanner {
	if parcel {
		return n.lanes[1]
	}
	return n.lanes[0]
}

// leaves tells that key is about to leave memory, and comes before it does: a page that was read until now is not true of it.
func (s *scanner) leaves(key store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		s.gone[key] = true
	}
}

// released tells that something has left memory.
func (s *scanner) released(unfinished bool, due int64) {
	if unfinished {
		s.later(due)
	}
	if s.starved.Load() > 0 && s.starved.Add(-1) == 0 {
		signal(s.wake)
	}
}

// later tells that something due then is in the store and not in memory.
func (s *scanner) later(due int64) {
	s.mu.Lock()
	if due <= s.cursor.Due {
		s.cursor = store.Cursor{Due: due - 1}
		s.rewound = true
	}
	s.soonest = min(s.soonest, due)
	wake := s.next == 0 || due < s.next
	s.mu.Unlock()
	if wake {
		signal(s.wake)
	}
}

func (s *scanner) run(ctx context.Context, n *Node) {
	for ctx.Err() == nil && n.running() && !n.isFenced() {
		s.sleep(ctx, s.page(ctx, n))
	}
}

// sleep waits for d, unless it is woken; for ever where d is negative.
func (s *scanner) sleep(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	var c <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		c = timer.C
	}
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-c:
	}
	s.starved.Store(0)
}

// page goes through one page of what is due and says how long to wait before the next.
func (s *scanner) page(ctx context.Context, n *Node) time.Duration {
	s.mu.Lock()
	cursor := s.cursor
	s.rewound, s.soonest, s.gone, s.next = false, math.MaxInt64, make(map[store.Key]bool), 0
	s.mu.Unlock()
	page, err := n.store.Due(ctx, cursor, scanPage)
	if err != nil && !s.passOver(n, err) {
		return n.unreadable(ctx, err)
	}
	for _, r := range page {
		if wait := r.Due - n.now().UnixMilli(); wait > 0 {
			return s.until(r.Due, time.Duration(wait)*time.Millisecond)
		}
		if s.parcels == (r.Function == functionSend) {
			switch room, err := s.revive(ctx, n, r); {
			case err != nil:
				return n.unreadable(ctx, err)
			case !room:
				s.starved.Store(int64(max(1, n.opt.MaxResident/32))) // A page for each that leaves would be read in vain.
				return roomWait
			}
		}
		if !s.advance(r) {
			return 0
		}
	}
	if len(page) == scanPage {
		return 0
	}
	return s.until(0, -1)
}

// advance goes on behind r, unless something came in between that the page does not have.
func (s *scanner) advance(r *store.Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.rewound:
		return false
	case s.soonest <= r.Due: // It was behind the cursor when it came, and would now be before it.
		s.cursor = store.Cursor{Due: s.soonest - 1}
		return false
	}
	s.cursor = store.Cursor{Due: r.Due, Key: r.Key}
	return true
}

// until notes that the scanner sleeps until due, 0 being for ever, unless something came in between.
func (s *scanner) until(due int64, d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = nil
	if s.rewound {
		return 0
	}
	s.next = due
	return d
}

// unreadable says how long to leave alone a store that could not be read.
func (n *Node) unreadable(ctx context.Context, err error) time.Duration {
	if ctx.Err() == nil && !errors.Is(err, store.ErrClosed) {
		n.opt.Logger.Error("chttp: cannot read what is due; trying again", "err", err)
	}
	return time.Second
}

// passOver leaves alone what a store names as damaged, and what is behind it goes on (I8); false when err names nothing. In
// case that only the reading failed it is looked at again, after pauses that double.
func (s *scanner) passOver(n *Node, err error) bool {
	var damaged *store.DamagedError
	if !errors.As(err, &damaged) {
		return false
	}
	s.report(n, damaged)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looking {
		return true
	}
	s.looking, s.again = true, min(max(time.Second, 2*s.again), time.Hour)
	time.AfterFunc(s.again, func() {
		s.mu.Lock()
		s.looking = false
		s.mu.Unlock()
		s.later(0)
	})
	return true
}

// report names damaged records in the log, each once.
func (s *scanner) report(n *Node, damaged *store.DamagedError) {
	s = n.lanes[0] // the lanes find the same
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range damaged.Keys {
		if s.damaged[key] {
			continue
		}
		if s.damaged == nil {
			s.damaged = make(map[store.Key]bool)
		}
		s.damaged[key] = true
		n.opt.Logger.Error("chttp: a stored record is damaged: it does not go on, and all others do; stop the process and restore the store",
			"id", key.ID, "scope", key.Scope, "err", damaged.Err)
	}
}

// unreadTries is how often an oplog is read, after pauses that double from a second on, before its execution is parked: that is
// minutes, in which a disk may come back, and meanwhile the others go on (I8).
const unreadTries = 8

// putOff has the execution of r, whose oplog cannot be read just now, looked at again later; false when it was often enough.
func (s *scanner) putOff(n *Node, r *store.Record, why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	tries := s.unread[r.Key]
	if tries == unreadTries {
		delete(s.unread, r.Key)
		return false
	}
	if s.unread == nil {
		s.unread = make(map[store.Key]int)
	}
	s.unread[r.Key] = tries + 1
	n.opt.Logger.Error("chttp: cannot read an oplog; trying again", "function", r.Function, "id", r.ID, "err", why)
	time.AfterFunc(time.Second<<tries, func() { s.later(r.Due) })
	return true
}

// revive lets the execution of r go on, unless there is no room for it. An error says that the store could not be read.
func (s *scanner) revive(ctx context.Context, n *Node, r *store.Record) (room bool, err error) {
	lock := n.stripe(r.Key)
	lock.Lock()
	defer lock.Unlock()
	if n.resident(r.Key) != nil {
		return true, nil
	}
	s.mu.Lock()
	stale := s.gone[r.Key]
	s.mu.Unlock()
	if stale {
		fresh, err := n.store.Read(ctx, r.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return true, nil
		case err != nil:
			return true, err
		case fresh.State != store.Running && fresh.State != store.Waiting:
			return true, nil
		case fresh.Due > n.now().UnixMilli():
			s.later(fresh.Due)
			return true, nil
		}
		r = fresh
	}
	x, why := n.restore(ctx, r)
	switch {
	case errors.Is(why, errUnread) && (ctx.Err() != nil || s.putOff(n, r, why)):
		return true, nil
	case why != nil:
		n.opt.Logger.Error("chttp: cannot go on with a stored execution", "function", r.Function, "id", r.ID, "err", why)
	}
	if !n.enter(x) {
		return false, nil
	}
	if why != nil {
		st := &stop{cause: why, park: why.Error()}
		if errors.Is(why, ErrNotRegistered) {
			st.because = causeUnregistered
		}
		x.halt(st)
		return true, nil
	}
	s.mu.Lock()
	delete(s.unread, r.Key)
	s.mu.Unlock()
	x.begin()
	return true, nil
}

// causeUnregistered marks what is parked for want of its function, and goes on by itself when a process has it.
const causeUnregistered = "unregistered"

// errUnread marks an error that is the store's, and says nothing of the execution.
var errUnread = errors.New("the store could not be read")

// restore makes of a record the execution that it was. An error says why it cannot go on: not just now, where it is errUnread.
func (n *Node) restore(ctx context.Context, r *store.Record) (x *execution, why error) {
	x = &execution{
		node: n, key: r.Key, run: r.Run, headBytes: r.Head, print: r.Print, created: r.Created, certified: r.Certified,
		version: r.Version, stored: true, attempted: n.attempted(r), state: store.Running, due: r.Due, bound: r.Bound, stopped: make(chan struct{}),
		size: len(r.Head) + len(r.Oplog), head: &record.Head{}, reg: n.function(r.Function),
	}
	if x.reg == nil {
		x.reg = &registration{name: r.Function}
		return x, fmt.Errorf("%w: %q; register it before Run, under the name that it was started with", ErrNotRegistered, r.Function)
	}
	head, err := record.ParseHead(r.Head)
	if err != nil {
		return x, fmt.Errorf("read the head of %q: %w", r.ID, err)
	}
	x.head = head
	chunks := [][]byte{r.Oplog}
	if r.Version > 1 && !x.reg.parcel {
		all, err := n.store.Chunks(ctx, r.Key)
		if err != nil {
			return x, fmt.Errorf("%w: the oplog of %q: %w", errUnread, r.ID, err)
		}
		chunks = chunks[:0]
		for _, c := range all {
			chunks = append(chunks, c.Data)
			x.size += len(c.Data)
		}
	}
	if err := x.load(chunks); err != nil {
		return x, fmt.Errorf("read the oplog of %q: %w", r.ID, err)
	}
	return x, nil
}

// attempted tells whether attempts of the message of r may have been made before: not if r is as this process stored it.
func (n *Node) attempted(r *store.Record) bool {
	return r.Version > 1 || r.Run>>32 != n.id.Token.Incarnation
}

// unparkRegistered lets go on what was parked for want of a function that this process has.
func (n *Node) unparkRegistered(ctx context.Context) error {
	q := store.Query{States: []store.State{store.Parked}, Limit: scanPage}
	for {
		page, err := n.store.List(ctx, q)
		var damaged *store.DamagedError
		if errors.As(err, &damaged) {
			n.lanes[0].report(n, damaged)
		} else if err != nil {
			return err
		}
		for _, r := range page {
			t, err := record.ParseTail(r.Tail)
			if err != nil || t.Cause != causeUnregistered || n.function(r.Function) == nil {
				continue
			}
			_, err = n.journal.attempt(&store.Batch{Token: n.id.Token, Now: n.now().UnixMilli(), Changes: []store.Change{{
				Key: r.Key, Run: r.Run, Version: r.Version + 1, State: store.Running, Due: n.now().UnixMilli(), Bound: r.Bound,
			}}})
			if err != nil {
				return err
			}
		}
		if len(page) < q.Limit {
			return nil
		}
		q.After = page[len(page)-1].Key
	}
}
