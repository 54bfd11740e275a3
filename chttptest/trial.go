package chttptest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// Times of a trial, by the fake clock.
var (
	// begins is when the function of the undisturbed run starts: a millisecond before another second, minute, hour, day, month and year.
	begins = time.Date(2000, 12, 31, 23, 59, 59, int(999*time.Millisecond), time.UTC)
	// starts is when its execution is made, in every run.
	starts = begins.Add(-time.Hour)
)

const (
	mostTime = 400 * 24 * time.Hour // that an undisturbed run may take
	lastTime = 15 * time.Minute     // in which goroutines of the test's, and of http.Clients that were left, may end
	moreTime = 60 * 24 * time.Hour  // that another may take longer
)

// subject is what is proved: a function with an input, or a handler with a request.
type subject struct {
	kind     string // "function" or "handler"
	register func(n *chttp.Node) http.Handler
	start    func(ctx context.Context, n *chttp.Node) error // nil: somebody calls
	call     func(tr *trial) error                          // nil: nobody calls
}

// trial is one run from its start to its end, in a bubble of its own: with deaths where its plan says.
type trial struct {
	proof *proof
	name  string
	delay time.Duration // of the first life, behind the undisturbed run's
	gap   time.Duration // between a death and the next life
	slow  func(*operation) time.Duration
	late  atomic.Bool // by the real clock

	process bool   // each life has a process of its own
	child   *child // of such a process

	ctx     context.Context // ends with the trial
	wg      sync.WaitGroup
	changed chan struct{}
	peers   map[string]*peer

	mu        sync.Mutex // guards what follows
	plan      []point    // deaths to come
	died      []point    // deaths that came
	memory    *memstore.Store
	histories map[store.Key]*stored
	born      map[store.Key]birth
	messages  map[string]site
	lives     []*life
	root      store.Key
	over      bool
	called    bool // the caller, if there is one, has its answer
	answer    string
	findings  []*finding
	coded     []*finding
	effects   any
	took      time.Duration
}

func (p *proof) newTrial(name string, plan ...point) *trial {
	tr := &trial{
		proof: p, name: name, plan: plan, root: store.Key{ID: rootID},
		histories: make(map[store.Key]*stored), born: make(map[store.Key]birth), messages: make(map[string]site),
	}
	if p.world != nil {
		tr.root = p.world.root
		for _, op := range p.world.order {
			if op.message != "" {
				tr.messages[op.message] = op.site
			}
		}
	}
	return tr
}

// dies tells whether the plan has the process die at the point, and takes it from the plan; called with mu held.
func (tr *trial) dies(p point) bool {
	if tr.over || len(tr.plan) == 0 || tr.plan[0] != p {
		return false
	}
	tr.died, tr.plan = append(tr.died, p), tr.plan[1:]
	return true
}

// next tells whether the process is to die next at p.
func (tr *trial) next(p point) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return !tr.over && len(tr.plan) > 0 && tr.plan[0] == p
}

// fail notes what was found and ends the trial; called with mu held.
func (tr *trial) fail(f *finding) {
	if tr.over {
		return
	}
	f.trial = tr
	f.died = append([]point(nil), tr.died...)
	tr.findings = append(tr.findings, f)
	tr.over = true
	if n := len(tr.lives); n > 0 {
		tr.lives[n-1].kill()
	}
}

// Fail is fail for who does not hold mu.
func (tr *trial) failNow(f *finding) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.fail(f)
}

// play lets it all happen, in a bubble.
func (tr *trial) play(t *testing.T) {
	o := &tr.proof.opt
	tr.changed = make(chan struct{}, 1)
	tr.memory = memstore.New()
	if o.Setup != nil {
		o.Setup(t)
	}
	if err := tr.begin(); err != nil {
		tr.failNow(&finding{what: foundBroken, text: err.Error()})
		return
	}
	var cancel context.CancelFunc
	tr.ctx, cancel = context.WithCancel(context.Background())
	defer tr.close(cancel)
	time.Sleep(time.Until(tr.begins()) - time.Second)
	tr.servePeers() // Only now: a node's clock ticks while it runs. And before they are called: at first it runs not yet.
	time.Sleep(time.Second)
	began := time.Now()
	for tr.live(t) {
		time.Sleep(tr.gap)
	}
	tr.took = time.Since(began)
	if o.Effects != nil && !tr.process {
		tr.effects = o.Effects()
	}
}

// begins is when the first life of this process begins.
func (tr *trial) begins() time.Time {
	if tr.child != nil {
		return tr.child.job.Begins
	}
	return begins.Add(tr.delay)
}

// begin makes what the first life finds.
func (tr *trial) begin() error {
	if tr.child != nil && len(tr.child.job.Events) > 0 {
		return tr.restore()
	}
	return tr.open()
}

// open makes the execution, if the subject is one that is started.
func (tr *trial) open() error {
	time.Sleep(time.Until(starts))
	s := tr.proof.subject
	if s.start == nil {
		return nil
	}
	l := tr.newLife()
	defer func() {
		l.cancel()
		tr.lives = nil
	}()
	n, err := chttp.New(disk{l}, tr.proof.nodeOptions(l))
	if err != nil {
		return err
	}
	n.Register(tr.proof.opt.Functions...)
	s.register(n)
	return s.start(context.Background(), n)
}

func (tr *trial) close(cancel context.CancelFunc) {
	cancel()
	for _, p := range tr.peers {
		p.close()
	}
	tr.wg.Wait()
	time.Sleep(lastTime)
	if c, ok := http.DefaultTransport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections() // Else a bubble with a request of its own would wait for ever.
	}
}

// call is what calls a handler, across its deaths.
func (tr *trial) call() {
	err := tr.proof.subject.call(tr)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.called = true
	if err != nil && tr.ctx.Err() == nil {
		tr.fail(&finding{what: foundBroken, text: err.Error()})
	}
	select {
	case tr.changed <- struct{}{}:
	default:
	}
}

// live is one life of the process, until all is done or it dies. It is true when there is to be another.
func (tr *trial) live(t *testing.T) bool {
	p := tr.proof
	l := tr.newLife()
	defer l.cancel()
	n, err := chttp.New(disk{l}, p.nodeOptions(l))
	if err != nil {
		tr.failNow(&finding{what: foundBroken, text: err.Error()})
		return false
	}
	if p.opt.Fresh != nil {
		p.opt.Fresh(t, n)
	}
	n.Register(p.opt.Functions...)
	h := p.subject.register(n)
	tr.mu.Lock()
	l.handler = h
	tr.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- n.Run(l.ctx) }()
	if p.subject.call != nil && len(tr.lives) == 1 {
		synctest.Wait() // It runs: the first request is not refused, for a client would take its time before the next.
		tr.wg.Go(tr.call)
	}
	limit := time.NewTimer(p.limit())
	defer limit.Stop()
	for tr.going(l) {
		select {
		case <-l.ctx.Done():
		case <-tr.changed:
		case <-limit.C:
			tr.failNow(&finding{what: foundEndless, text: l.waitsFor()})
		case err := <-done:
			done <- err
			tr.ranOut(l, err)
		}
	}
	l.cancel()
	<-done
	tr.mu.Lock()
	defer tr.mu.Unlock()
	again := l.died && !tr.over
	l.over = true
	return again
}

// ranOut ends the trial when the node's Run has returned in a process that lives.
func (tr *trial) ranOut(l *life, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !l.over {
		tr.fail(&finding{what: foundBroken, text: fmt.Sprint(err)})
	}
}

// limit is how long a life may take.
func (p *proof) limit() time.Duration {
	if p.world == nil {
		return mostTime
	}
	return p.world.took + moreTime
}

// going tells whether the life goes on: it has not died, and something is unfinished.
func (tr *trial) going(l *life) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if l.over || tr.over {
		return false
	}
	if tr.late.Load() {
		tr.fail(&finding{what: foundEndless, text: l.waitsForLocked()})
		return false
	}
	if h := tr.histories[tr.root]; h != nil && h.state == store.Parked {
		return false
	}
	due, err := tr.memory.Due(context.Background(), store.Cursor{}, 1)
	if err != nil {
		tr.fail(&finding{what: foundBroken, text: fmt.Sprintf("list what is due: %v", err)})
		return false
	}
	return len(due) > 0 || tr.proof.subject.call != nil && !tr.called
}

// quiet discards what nodes log.
var quiet = slog.New(slog.DiscardHandler)

// nodeOptions returns what the node of a life is made with.
func (p *proof) nodeOptions(l *life) *chttp.Options {
	var o chttp.Options
	if p.opt.Node != nil {
		o = *p.opt.Node
	}
	l.beyond = o.Transport
	o.Transport = l
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.Linger == 0 {
		o.Linger = 30 * time.Minute // The floor rises no more often than once a minute.
	}
	if p.world == nil {
		o.Codec = &codec{life: l, inner: codecOf(o.Codec)}
	}
	return &o
}
