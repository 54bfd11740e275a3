package chttptest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/probe"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// life is a process from its start to its death. It watches what the function does there.
type life struct {
	trial  *trial
	ctx    context.Context
	cancel context.CancelFunc
	beyond http.RoundTripper // to hosts that are no peers

	// Guarded by the trial's mu.
	over    bool // nothing that it does any more gets anywhere
	died    bool
	handler http.Handler
	trail   []*operation        // as they were asked for
	open    map[site]*operation // the last asked for at each place
	coded   map[*byte]*finding  // values that the codec changes, by what it made of them
}

var (
	_ probe.Watcher   = disk{}
	_ probe.Registrar = disk{}
)

func (tr *trial) newLife() *life {
	l := &life{trial: tr, open: make(map[site]*operation)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lives = append(tr.lives, l)
	return l
}

// kill ends the life where it stands; called with the trial's mu held.
func (l *life) kill() {
	l.over, l.died = true, true
	if l.trial.child != nil {
		l.trial.exit(true)
	}
	l.cancel()
}

// Watch implements probe.Watcher: it is shown every operation, on the goroutine that makes it, which ends with the life.
func (l *life) Watch(s *probe.Sight) {
	at := site{store.Key{Scope: s.Realm, ID: s.ID}, s.Scope, s.Seq}
	var ends, stray bool
	switch s.Moment {
	case probe.Enter:
		stray = s.Stray
		ends = l.asked(at, s)
	case probe.Note:
		ends, stray = l.notes(at, s)
	case probe.Noted:
		ends, stray = l.noted(at, s)
	}
	if ends && !stray {
		runtime.Goexit()
	}
}

// asked is told what the function asks for. It is true when the life is over.
func (l *life) asked(at site, s *probe.Sight) bool {
	op := &operation{
		site: at, function: s.Function, kind: s.Kind, name: s.Name, print: s.Print, content: bytes.Clone(s.Content), line: s.Line,
		at: time.Now(), recorded: s.Recorded, stray: s.Stray,
	}
	if d, ok := s.Context.Deadline(); ok {
		if withinClient() {
			op.patience = d.Sub(op.at)
		} else {
			op.deadline = d
		}
	}
	tr := l.trial
	if tr.slow != nil {
		time.Sleep(tr.slow(op))
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if l.over {
		return true
	}
	l.trail = append(l.trail, op)
	l.open[at] = op
	if f := tr.compareAsked(op); f != nil {
		tr.fail(f)
		return true
	}
	if !s.Recorded && tr.dies(point{at, momentAsked}) {
		l.kill()
	}
	return l.over
}

// withinClient tells whether an http.Client makes the operation: its deadline is that of one attempt, which is recorded.
func withinClient() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, "net/http.") {
			return true
		}
		if !more {
			return false
		}
	}
}

// notes sees what is about to be recorded, and puts what the undisturbed run recorded in its place.
func (l *life) notes(at site, s *probe.Sight) (ends, stray bool) {
	tr := l.trial
	tr.mu.Lock()
	defer tr.mu.Unlock()
	op := l.open[at]
	if l.over || op == nil {
		return l.over, op != nil && op.stray
	}
	e := s.Entry
	if f := l.coded[first(e.Data)]; f != nil {
		f.now = op
	}
	if e.Phase != record.Begin && tr.dies(point{at, momentDone}) {
		l.kill()
		return true, op.stray
	}
	if w := tr.proof.world; w != nil {
		if f := w.put(op, e); f != nil {
			tr.fail(f)
			return true, op.stray
		}
		if w.sleptOn(op, e) && !w.deadlines {
			shorten(e)
		}
	}
	if s.Message != "" {
		op.message = s.Message
		tr.messages[s.Message] = at
	}
	return false, op.stray
}

// first returns what tells b from other slices.
func first(b []byte) *byte {
	if len(b) == 0 {
		return nil
	}
	return &b[0]
}

// longSleep is what is slept in full in every run; what is more is shortened, but in the undisturbed run.
const longSleep = time.Minute

// sleptOn tells whether e is the beginning of a sleep that nothing disturbed.
func (w *world) sleptOn(op *operation, e *record.Entry) bool {
	ref := w.ops[op.site]
	return op.kind == record.Sleep && e.Phase == record.Begin && ref != nil && ref.end != nil && ref.end.Err == nil
}

// shorten has a sleep end earlier; longer ones still end later than shorter ones.
func shorten(e *record.Entry) {
	if len(e.Data) != 8 {
		return
	}
	now := time.Now()
	d := time.UnixMilli(int64(binary.BigEndian.Uint64(e.Data))).Sub(now)
	if d > longSleep {
		e.Data = binary.BigEndian.AppendUint64(nil, uint64(now.Add(longSleep+(d-longSleep)/10_000).UnixMilli()))
	}
}

// noted is told what was recorded.
func (l *life) noted(at site, s *probe.Sight) (ends, stray bool) {
	tr := l.trial
	m, durable := momentRecorded, momentDurable
	if s.Entry.Phase == record.Begin {
		m, durable = momentBegun, momentBegunDurable
	}
	flushed := tr.next(point{at, durable}) && s.Flush()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	op := l.open[at]
	if op == nil {
		return l.over, false
	}
	entry := *s.Entry
	if entry.Phase != record.End {
		op.begin = &entry
	}
	if entry.Phase != record.Begin {
		op.end = &entry
	}
	if tr.dies(point{at, m}) || flushed && tr.dies(point{at, durable}) {
		l.kill()
	}
	return l.over, op.stray
}

// waitsFor says what the life's operations in flight are.
func (l *life) waitsFor() string {
	l.trial.mu.Lock()
	defer l.trial.mu.Unlock()
	return l.waitsForLocked()
}

func (l *life) waitsForLocked() string {
	var b strings.Builder
	for _, op := range l.trail {
		if l.open[op.site] == op && !op.recorded && op.end == nil {
			fmt.Fprintf(&b, "it waits in %s, at %s\n", op.describe(), shortLine(op.line))
		}
	}
	if b.Len() == 0 {
		return "it waits for no operation"
	}
	return b.String()
}
