package chttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// server is what Node.Handler returns: one handler whose answers are durable.
type server struct {
	node    *Node
	name    string
	opt     HandlerOptions
	handler http.Handler
	known   *known
	mistake error
}

// Handler makes h's answers durable. A request with Idempotency-Key runs h once; repetitions get the recorded answer, also after a
// crash, and a request once accepted is finished without its client. So h may run with no connection at all: it sees only what is
// stored, that is method, URL, path values, body, the headers that HandlerOptions.Header lets through, and the context that
// HandlerOptions.Context builds from the principal; no value of the outer r.Context(). Wrap the router, and let authentication wrap
// the result. GET, HEAD, OPTIONS and TRACE pass through. It registers name: build it before Run, which returns an error for a name
// registered twice, a nil handler or unusable options.
func (n *Node) Handler(name string, h http.Handler, o *HandlerOptions) http.Handler {
	s := &server{node: n, name: name, handler: h, known: &known{n}}
	s.opt, s.mistake = o.withDefaults()
	switch {
	case s.mistake != nil:
		s.mistake = fmt.Errorf("handler %q: %w", name, s.mistake)
	case h == nil:
		s.mistake = fmt.Errorf("handler %q is nil", name)
	case strings.Contains(name, "/"):
		s.mistake = fmt.Errorf("handler %q: a name has no slash, which separates it from the principal", name)
	}
	if s.mistake != nil {
		n.mu.Lock()
		n.mistakes = append(n.mistakes, s.mistake)
		n.mu.Unlock()
		return s
	}
	s.mistake = n.registerFunction(&registration{name: name, attempts: s.opt.Attempts, server: s, run: s.run})
	return s
}

// ServeHTTP answers r, from the record where there is one.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.mistake != nil:
		s.node.opt.Logger.Error("chttp: a handler that cannot be used was called", "err", s.mistake)
		http.Error(w, "this handler is not set up", http.StatusInternalServerError)
	case r.URL.Path == wellKnown || strings.HasPrefix(r.URL.Path, wellKnown+"/"):
		s.known.ServeHTTP(w, r)
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == http.MethodOptions, r.Method == http.MethodTrace:
		s.handler.ServeHTTP(w, r)
	default:
		in, refusal := s.read(r)
		if refusal != nil {
			s.refuse(w, in, refusal)
			return
		}
		s.serve(w, r, in)
	}
}

// run is one run of the handler over the stored request. Its error parks the execution.
func (s *server) run(ctx context.Context, x *execution) (*result, error) {
	if s.opt.Context != nil {
		c, err := s.opt.Context(ctx, x.head.Principal)
		if err != nil { // A database that is away comes back: tried again, and parked in the end, as after a panic.
			x.halt(&stop{cause: err, crash: fmt.Sprintf("HandlerOptions.Context: %v", err)})
			return nil, nil
		}
		if envOf(c).scope != envOf(ctx).scope {
			return nil, errors.New("HandlerOptions.Context returned a context that is not made from the one it was given")
		}
		ctx = c
	}
	req, err := storedRequest(ctx, x.head)
	if err != nil {
		return nil, fmt.Errorf("read the stored request: %w", err)
	}
	rec := &recorder{limit: s.node.opt.MaxValue}
	s.handler.ServeHTTP(rec, req)
	resp, err := rec.response(x.head.Minimal)
	if err != nil {
		return nil, err
	}
	t := &record.Tail{Response: resp}
	if x.mayForget(resp.Status) {
		return &result{notNow: true, tail: t}, nil
	}
	bound := x.head.Until
	if !x.certified {
		bound = s.node.now().Add(plainRetention).UnixMilli()
	}
	return &result{state: store.Answered, tail: t, bound: bound}, nil
}

// mayForget tells whether an answer of the handler means "not now", and nothing speaks against passing it on as that (S7).
func (x *execution) mayForget(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.effects
}

// accept finds the execution of an inbound request, in memory or in the store, or makes it, and watches it. Of x and r one is not
// nil, unless there is an error.
func (s *server) accept(in *inbound) (x *execution, r *store.Record, w *watcher, err error) {
	n := s.node
	lock := n.stripe(in.key)
	lock.Lock()
	defer lock.Unlock()
	w = n.watch(in.key)
	if x = n.resident(in.key); x != nil {
		if string(x.print) == string(in.print) {
			x.mu.Lock()
			x.at = max(x.at, in.stamps.At*1000) // S8: judged by the largest of the copies that wait.
			x.mu.Unlock()
		}
		return x, nil, w, nil
	}
	if !in.head.Keyless {
		// S4: user code starts only when the id is known to be new.
		r, err = n.store.Read(context.Background(), in.key)
		if !errors.Is(err, store.ErrNotFound) {
			return nil, r, w, err
		}
	}
	x = n.newExecution(in.key, n.function(s.name), in.head, in.print)
	x.certified = in.certified
	x.at = in.stamps.At * 1000
	if !n.enter(x) {
		return nil, nil, w, errOverloaded
	}
	n.unwatch(w)
	w = n.watch(in.key) // What was told until now was of an execution that is no more.
	in.created = true
	x.launch()
	return x, nil, w, nil
}

var errOverloaded = errors.New("as many executions are in memory as Options.MaxResident allows, and none of them only waits")

// commitPatience is how long, beyond the time to wait for an outcome, a request waits for a store that is slow to make it durable.
const commitPatience = 5 * time.Second

// serve waits for the outcome of an inbound request and answers with it.
func (s *server) serve(w http.ResponseWriter, r *http.Request, in *inbound) {
	wait := time.NewTimer(in.wait)
	defer wait.Stop()
	for s.await(w, r, in, wait) {
	}
}

// await answers with what becomes of the execution of in, or is true when that has to be looked up again.
func (s *server) await(w http.ResponseWriter, r *http.Request, in *inbound, wait *time.Timer) (again bool) {
	x, stored, watcher, err := s.accept(in)
	defer s.node.unwatch(watcher)
	switch {
	case err != nil:
		s.unaccepted(w, in, err)
		return false
	case stored != nil && (stored.State.Finished() || stored.State == store.Parked):
		s.replay(w, in, stored)
		return false
	case stored != nil && string(stored.Print) != string(in.print), x != nil && string(x.print) != string(in.print):
		s.refuse(w, in, &refusal{problemKeyReused, stateRefused})
		return false
	}
	select {
	case e := <-watcher.c:
		return !s.tell(w, in, e)
	case <-wait.C:
	case <-r.Context().Done(): // S12: a client that goes away cancels nothing. It may also be a limit set around the handler.
		s.refuse(w, in, &refusal{problemUncertain, stateRunning})
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), commitPatience)
	defer cancel()
	if x == nil || x.accepted(ctx) {
		s.running(w, in)
		return false
	}
	wait.Reset(0)
	select {
	case e := <-watcher.c: // It was over before it was stored.
		return !s.tell(w, in, e)
	case <-ctx.Done(): // S10
		s.refuse(w, in, &refusal{problemUncertain, stateRunning})
		return false
	}
}

// tell answers with what became of the execution; false when that has to be looked up again.
func (s *server) tell(w http.ResponseWriter, in *inbound, e event) bool {
	switch e.kind {
	case ended:
		if e.state == store.Parked {
			s.refuse(w, in, &refusal{problemParked, stateRunning})
			return true
		}
		if e.state != store.Answered || e.tail.Response == nil {
			return false
		}
		s.done(w, in, e.tail.Response, !in.created)
	case notNow:
		writeResponse(w, e.tail.Response, s.node.verdict(in, stateNone))
	case crashed:
		s.refuse(w, in, &refusal{problemCrashed, stateRunning})
	case refused:
		s.unaccepted(w, in, e.err)
	case stale:
		s.refuse(w, in, &refusal{problemStaleAttempt, stateNone})
	case halted:
		s.refuse(w, in, &refusal{problemUncertain, stateRunning})
	default:
		return false
	}
	return true
}

// unaccepted answers that certainly nothing was done (S10).
func (s *server) unaccepted(w http.ResponseWriter, in *inbound, err error) {
	switch {
	case errors.Is(err, store.ErrFull):
		s.refuse(w, in, &refusal{problemStorageFull, stateNone})
	case errors.Is(err, errOverloaded):
		s.refuse(w, in, &refusal{problemOverloaded.because(err), stateNone})
	case errors.Is(err, errStopped), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrFenced):
		s.refuse(w, in, &refusal{problemClosed.because(err), stateNone})
	default:
		s.node.opt.Logger.Error("chttp: a request could not be accepted", "handler", s.name, "id", in.key.ID, "err", err)
		s.refuse(w, in, &refusal{problemClosed, stateNone})
	}
}

// running says that there is no outcome yet; the acceptance is durable (S5).
func (s *server) running(w http.ResponseWriter, in *inbound) {
	if !in.certified && !in.prefer.Async {
		s.refuse(w, in, &refusal{problemInProgress, stateRunning})
		return
	}
	h := w.Header()
	h.Set(headerCertified, s.known.located(in).String())
	h.Set(headerCacheControl, valueNoStore)
	h.Set(headerRetryAfter, "1")
	if in.prefer.Async {
		h.Set(headerPreferenceApplied, preferAsync)
	}
	w.WriteHeader(http.StatusAccepted)
}

// replay answers from the record (S6), or says why it cannot.
func (s *server) replay(w http.ResponseWriter, in *inbound, r *store.Record) {
	switch {
	case string(r.Print) != string(in.print):
		s.refuse(w, in, &refusal{problemKeyReused, stateRefused})
		return
	case r.State == store.Acknowledged:
		s.refuse(w, in, &refusal{problemAcknowledged, stateGone})
		return
	case r.State == store.Parked:
		s.refuse(w, in, &refusal{problemParked, stateRunning})
		return
	}
	resp, err := outcomeIn(r)
	if err != nil {
		s.node.opt.Logger.Error("chttp: a recorded outcome cannot be read", "handler", s.name, "id", r.ID, "err", err)
		s.refuse(w, in, &refusal{problemUncertain, stateRunning})
		return
	}
	s.done(w, in, resp, true)
}

// done answers with the recorded outcome.
func (s *server) done(w http.ResponseWriter, in *inbound, r *record.Response, replayed bool) {
	v := s.known.located(in)
	v.State, v.Replayed = stateDone, replayed
	if in.head.Minimal && len(r.Body) == 0 {
		w.Header().Set(headerPreferenceApplied, preferMinimal)
	}
	writeResponse(w, r, v)
}
