package chttptest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/probe"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// Two replays of what the undisturbed run recorded find locks that are held across an operation: while the one is stopped there, the other runs to
// its end, unless it waits for something that the first one holds. Replays do nothing outside, so that takes no time. It happens outside of
// bubbles, where who waits for a mutex can be seen and let go.

// Limits of the search for locks.
const (
	mostStops  = 48                     // operations at which a replay is stopped
	lookEvery  = 500 * time.Microsecond // at a replay that does not end
	lockLooks  = 400                    // so often it is seen waiting for a lock: others hold one for a moment, too
	otherLooks = 2000                   // so often it is seen waiting for something else
)

// locks returns a lock that is held across an operation, or nil.
func (p *proof) locks() *finding {
	w := &twins{proof: p, stride: max(1, len(p.world.order)/mostStops)}
	if p.opt.Setup != nil {
		p.opt.Setup(p.test)
	}
	opt := chttp.Options{Logger: quiet}
	if p.opt.Node != nil {
		opt = *p.opt.Node
		opt.Logger = quiet
	}
	n, err := chttp.New(w, &opt)
	if err != nil {
		return &finding{what: foundBroken, text: err.Error()}
	}
	w.node = n
	if p.opt.Fresh != nil {
		p.opt.Fresh(p.test, n)
	}
	n.Register(p.opt.Functions...)
	p.subject.register(n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.CheckReplay(context.Background()) // What differs there, other runs find.
	}()
	timer := time.NewTimer(p.opt.Patience)
	defer timer.Stop()
	select {
	case <-done:
		return w.found
	case <-timer.C:
		return &finding{what: foundEndless, text: "a replay of what it had recorded did not end, for " + p.opt.Patience.String()}
	}
}

// twins is a store with what the undisturbed run recorded, for replays that watch each other.
type twins struct {
	proof  *proof
	node   *chttp.Node
	stride int
	stops  atomic.Int64

	mu    sync.Mutex // held while the first replay is stopped
	found *finding
}

// twinRealm marks the executions of the second replay.
const twinRealm = "\x00twin"

// twinKey marks the context of the second replay.
type twinKey struct{}

// Watch implements probe.Watcher: the first replay stops here.
func (w *twins) Watch(s *probe.Sight) {
	if s.Moment != probe.Enter || strings.HasSuffix(s.Realm, twinRealm) || s.Stray {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found != nil || w.stops.Add(1)%int64(w.stride) != 0 {
		return
	}
	if text, locked := w.twin(); locked {
		op := &operation{site: site{store.Key{Scope: s.Realm, ID: s.ID}, s.Scope, s.Seq}, function: s.Function, kind: s.Kind, name: s.Name, line: s.Line}
		w.found = &finding{what: foundLocked, now: op, text: text}
	}
}

// twin lets the second replay run and tells whether it waits for the first, and where.
func (w *twins) twin() (where string, locked bool) {
	done := make(chan struct{})
	id := make(chan string, 1)
	go func() {
		defer close(done)
		id <- goroutineID()
		_ = w.node.CheckReplay(context.WithValue(context.Background(), twinKey{}, true))
	}()
	root := <-id
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	var last string
	for looks := 0; ; {
		select {
		case <-done:
			return "", false
		case <-timer.C:
		}
		timer.Reset(lookEvery)
		at, lock := waiting(allStacks(), root)
		if at == "" || at != last {
			last, looks = at, 0
			continue
		}
		if looks++; lock && looks >= lockLooks || looks >= otherLooks {
			return at, true
		}
	}
}

// lockStates are what a goroutine is in that waits for a lock, or for a channel that may be used as one.
var lockStates = map[string]bool{
	"sync.Mutex.Lock": true, "sync.RWMutex.Lock": true, "sync.RWMutex.RLock": true, "semacquire": true, "sync.Cond.Wait": true,
	"sync.WaitGroup.Wait": true, "chan send": false, "chan receive": false, "select": false,
}

// waiting returns where the replay of the goroutine root, or what that has started, waits in code of the user's, and whether that is for a lock.
func waiting(all []stack, root string) (where string, lock bool) {
	family := map[string]bool{root: true}
	for range all { // Descendants may stand before their parents.
		grown := false
		for _, s := range all {
			if _, parent, ok := strings.Cut(s.creator, " in goroutine "); ok && family[parent] && !family[s.id] {
				family[s.id], grown = true, true
			}
		}
		if !grown {
			break
		}
	}
	for _, s := range all {
		isLock, waits := lockStates[s.state]
		switch {
		case !family[s.id]:
			continue
		case !waits && s.inUser():
			return "", false // It does something that the others may wait for.
		case !waits || !s.inUser() || where != "" && !isLock:
			continue
		}
		f, _ := s.user()
		where = fmt.Sprintf("another run waits for it in %s, at %s (%s)", short(f.function), shortLine(f.line), s.waitsIn())
		lock = lock || isLock
	}
	return where, lock
}

// inUser tells whether the goroutine waits in the user's code, or in what that calls of the standard library.
func (s *stack) inUser() bool {
	for _, f := range s.frames {
		switch {
		case ownFrame(f.function):
			return false
		case !stdFile(f.line):
			return true
		}
	}
	return false
}

// waitsIn names what of the standard library the user's code waits in: "sync.(*Once).Do"; or what the goroutine does: "chan send".
func (s *stack) waitsIn() string {
	name := s.state
	for _, f := range s.frames {
		if !stdFile(f.line) {
			break
		}
		name = f.function
	}
	return name
}

func goroutineID() string {
	id, _, _ := strings.Cut(strings.TrimPrefix(goroutineHeader(), "goroutine "), " ")
	return id
}

// Join implements store.Store.
func (w *twins) Join(context.Context, int64) (store.Identity, error) {
	return store.Identity{Token: store.Token{Node: "chttptest", Incarnation: 1}, Store: "chttptest", Secret: secret[:]}, nil
}

// List implements store.Store: every execution of the undisturbed run, as if it were not finished.
func (w *twins) List(ctx context.Context, q store.Query) (list []*store.Record, err error) {
	if q.After != (store.Key{}) {
		return nil, nil
	}
	for key, h := range w.proof.world.executions {
		if h.function == sendFunction {
			continue
		}
		r := &store.Record{Key: key, Run: 1, Version: 1, Function: h.function, State: store.Running, Created: h.created, Print: h.print, Head: h.head}
		for i := range h.entries {
			if h.entries[i].Phase != record.Cancel {
				r.Oplog = record.AppendEntry(r.Oplog, &h.entries[i])
			}
		}
		if ctx.Value(twinKey{}) != nil {
			r.Scope += twinRealm
		}
		list = append(list, r)
	}
	return list[:min(len(list), q.Limit-1)], nil
}

// Commit implements store.Store: a replay records nothing.
func (w *twins) Commit(context.Context, *store.Batch) (*store.Report, error) {
	return nil, store.ErrClosed
}

// Read implements store.Store.
func (w *twins) Read(context.Context, store.Key) (*store.Record, error) {
	return nil, store.ErrNotFound
}

// Chunks implements store.Store.
func (w *twins) Chunks(context.Context, store.Key) ([]store.Chunk, error) { return nil, nil }

// Due implements store.Store.
func (w *twins) Due(context.Context, store.Cursor, int) ([]*store.Record, error) { return nil, nil }

// Facts implements store.Store.
func (w *twins) Facts(context.Context) ([]store.Fact, error) { return nil, nil }

// Close implements store.Store.
func (w *twins) Close() error { return nil }
