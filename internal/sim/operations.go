package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/certifiedhttp/chttp"
)

// doer is a kind of operation. Its error is the program's outcome.
type doer func(f *frame, ctx context.Context, o *op) error

// doers returns what the kinds of program.go do.
func doers() map[string]doer {
	return map[string]doer{
		"persist":                        (*frame).persist,
		"now":                            (*frame).now,
		"do":                             (*frame).doPlainly,
		"run":                            (*frame).runStep,
		"do once":                        (*frame).doOnce,
		"do read-only":                   (*frame).doReadOnly,
		"do with tries":                  (*frame).doWithTries,
		"do with error":                  (*frame).doWithError,
		"post":                           (*frame).post,
		"post JSON":                      (*frame).postJSON,
		"post with an id":                (*frame).postWithID,
		"post with a deadline":           (*frame).postWithDeadline,
		"post by an SDK":                 (*frame).postBySDK,
		"post too much":                  (*frame).postTooMuch,
		"post to dedup":                  (*frame).postOutside,
		"post to plain":                  (*frame).postOutside,
		"post to nowhere":                (*frame).postOutside,
		"get":                            (*frame).get,
		"put":                            (*frame).put,
		"send with an id":                (*frame).sendWithID,
		"send another with the same id":  (*frame).sendAnother,
		"send later":                     (*frame).sendLater,
		"send all":                       (*frame).sendAll,
		"send to dedup":                  (*frame).sendOutside,
		"send to plain":                  (*frame).sendOutside,
		"send to nowhere":                (*frame).sendOutside,
		"send too much":                  (*frame).sendTooMuch,
		"branches":                       (*frame).branches,
		"call":                           (*frame).callPart,
		"start":                          (*frame).start,
		"start with an id":               (*frame).startWithID,
		"start another with the same id": (*frame).startAnother,
		"start and leave":                (*frame).startAndLeave,
		"sleep":                          (*frame).sleep,
		"with":                           (*frame).with,
		"loop":                           (*frame).loop,
		"lookup":                         (*frame).lookup,
		"fail":                           (*frame).fail,
		"panic":                          (*frame).panics,
		"panic for ever":                 (*frame).panicsForEver,
		"not now":                        (*frame).notNow,
		"diverge":                        (*frame).diverge,
		"end early":                      (*frame).endEarly,
	}
}

// persist records what is not deterministic.
func (f *frame) persist(ctx context.Context, o *op) error {
	name := "p~" + f.path(o)
	f.see(o.path, fmt.Sprint(chttp.Persist(ctx, name, f.l.p.w.number)), name)
	return nil
}

// errEarly is the outcome of a run that ends before what an earlier one recorded.
var errEarly = errors.New("sim: it ends early")

func (f *frame) now(ctx context.Context, o *op) error {
	f.see(o.path, chttp.Now(ctx).UTC().String(), "")
	return nil
}

// step is a step whose effect is counted outside.
func (f *frame) step(o *op, policy chttp.Policy, result error) (name string, fn func(context.Context) (int, error)) {
	name = "s~" + f.path(o)
	seen := f.seen
	return name, func(ctx context.Context) (int, error) {
		w := f.l.p.w
		f.i2Effect(name, policy, seen)
		if o.n%3 == 0 {
			time.Sleep(o.d / 10)
		}
		w.mu.Lock()
		key := "step " + f.message(o)
		w.tallies[key]++
		n := w.tallies[key]
		f.l.dies(DieCode, 0.02, key, n, "between a step's effect and its record")
		w.mu.Unlock()
		if policy.Attempts > n {
			return 0, errStep
		}
		return w.number(), result
	}
}

func (f *frame) doStep(ctx context.Context, o *op, policy chttp.Policy, result error) error {
	name, fn := f.step(o, policy, result)
	v, err := chttp.Do(chttp.With(ctx, policy), name, fn)
	f.tell(o, v, err, name)
	if result != nil && err != nil && !errors.Is(err, result) && !errors.Is(err, chttp.ErrNotDone) {
		f.l.p.w.wrong("I7", "%s: a step's error %v is not the sentinel that it was", f.message(o), err)
	}
	return f.goesOn(o, err)
}

func (f *frame) doPlainly(ctx context.Context, o *op) error {
	return f.doStep(ctx, o, chttp.Policy{}, nil)
}

func (f *frame) runStep(ctx context.Context, o *op) error {
	name, fn := f.step(o, chttp.Policy{}, nil)
	err := chttp.Run(ctx, name, func(ctx context.Context) error {
		_, err := fn(ctx)
		return err
	})
	f.tell(o, "done", err, name)
	return f.goesOn(o, err)
}

func (f *frame) doOnce(ctx context.Context, o *op) error {
	return f.doStep(ctx, o, chttp.Policy{AtMostOnce: true}, nil)
}

func (f *frame) doReadOnly(ctx context.Context, o *op) error {
	return f.doStep(ctx, o, chttp.Policy{ReadOnly: true}, nil)
}

func (f *frame) doWithTries(ctx context.Context, o *op) error {
	return f.doStep(ctx, o, chttp.Policy{Attempts: 2 + o.n%2}, nil)
}

func (f *frame) doWithError(ctx context.Context, o *op) error {
	return f.doStep(ctx, o, chttp.Policy{}, []error{errStep, io.ErrUnexpectedEOF}[o.n%2])
}

func (f *frame) sleep(ctx context.Context, o *op) error {
	w := f.l.p.w
	key := "sleep " + f.message(o)
	w.mu.Lock()
	if w.moments[key].IsZero() {
		w.moments[key] = time.Now()
	}
	first := w.moments[key]
	w.mu.Unlock()
	err := chttp.Sleep(ctx, o.d)
	f.tell(o, "slept", err, "")
	if slept := time.Since(first); err == nil && slept < o.d-time.Millisecond && !w.has(Jump) && !w.has(Far) {
		w.wrong("I7", "%s sleeps %v instead of %v", f.message(o), slept, o.d)
	}
	return f.goesOn(o, err)
}

// branches runs parts of the program beside each other; not all are waited for.
func (f *frame) branches(ctx context.Context, o *op) error {
	var list []*chttp.Future[string]
	for i, sub := range o.sub {
		b := *f
		b.branch = true
		b.sum = uint64(i)
		list = append(list, chttp.Go(ctx, "g~"+f.path(o)+"."+strconv.Itoa(i), func(ctx context.Context) (string, error) {
			if err := b.do(ctx, sub); err != nil {
				return "", err
			}
			return fmt.Sprintf("%016x", b.sum), nil
		}))
	}
	var failed error
	for i, g := range list {
		if o.n%4 == 0 && i == 1 {
			break // The outcome waits for it all the same.
		}
		v, err := g.Wait(ctx)
		f.see(fmt.Sprintf("%s wait %d", o.path, i), fmt.Sprint(v, err), "")
		failed = errors.Join(failed, f.goesOn(o, err))
	}
	return failed
}

// callPart calls a function as a part of this one.
func (f *frame) callPart(ctx context.Context, o *op) error {
	ctx = context.WithValue(ctx, frameKey{}, &call{f, o.sub[0]})
	v, err := f.l.fns.part.Call(ctx, In{Name: f.name, Sum: f.sum})
	f.tell(o, v, err, "")
	return f.goesOn(o, err)
}

func (f *frame) with(ctx context.Context, o *op) error {
	return f.do(chttp.With(ctx, chttp.Policy{Until: time.Minute + 30*o.d, Labels: map[string]string{"with": f.path(o)}}), o.sub[0])
}

func (f *frame) loop(ctx context.Context, o *op) error {
	round := f.round
	defer func() { f.round = round }()
	for i := range 2 + o.n%2 {
		f.round = round + "@" + strconv.Itoa(i)
		if err := f.do(ctx, o.sub[0]); err != nil {
			return err
		}
	}
	return nil
}

func (f *frame) lookup(ctx context.Context, o *op) error {
	id := "nobody"
	if own, ok := chttp.From(ctx); ok && o.n%2 == 0 {
		id = own.ID
	}
	i, err := f.l.node.Lookup(ctx, id)
	f.tell(o, i.State, err, "")
	return nil
}

func (f *frame) fail(_ context.Context, o *op) error {
	return fmt.Errorf("%w at %s: %016x", errOutcome, f.path(o), f.sum)
}

// panics crashes the run once or twice.
func (f *frame) panics(_ context.Context, o *op) error {
	if f.l.p.w.count("panic "+f.message(o)) <= 1+o.n%2 {
		f.l.p.w.reached("fault: " + Panic.String())
		panic("sim: a program panics")
	}
	return nil
}

// panicsForEver crashes every run: the execution ends up parked.
func (f *frame) panicsForEver(context.Context, *op) error {
	f.l.p.w.count("panics for ever: " + f.name)
	panic("sim: a program panics for ever")
}

// notNow has a handler answer 429 or 503 a few times: with nothing done it is forgotten, else it is the outcome (S7).
func (f *frame) notNow(_ context.Context, o *op) error {
	if f.l.p.w.count("not now "+f.message(o)) > 1+o.n%3 {
		return nil
	}
	a := &answer{status: notNows[o.n%len(notNows)]}
	if o.n%2 == 0 {
		a.retry = "3"
	}
	return a
}

// diverge does something else in another run: what was recorded is told, or it is parked (I7).
func (f *frame) diverge(ctx context.Context, o *op) error {
	w := f.l.p.w
	which := w.count("diverge "+f.message(o)) % 2
	name := func(i int) string { return fmt.Sprintf("p~%s~%d", f.path(o), i) }
	w.mu.Lock()
	w.diverges[f.name] = true
	w.hit("fault: " + Diverge.String())
	w.mu.Unlock()
	v := chttp.Persist(ctx, name(which), w.number)
	w.mu.Lock()
	if e := f.l.p.memory.named[f.name]; e != nil && !e.notNow && f.l.current() && e.has(name(1-which), done) {
		w.violate("I7", "%s: %q was recorded, and a replay does %q", f.name, name(1-which), name(which))
	}
	w.mu.Unlock()
	f.see(o.path, fmt.Sprint(v), name(which))
	return nil
}

// endEarly ends a later run before what the first one recorded: that is a difference too (I7).
func (f *frame) endEarly(ctx context.Context, o *op) error {
	w, name := f.l.p.w, "p~"+f.path(o)
	if w.count("end early "+f.message(o)) == 1 {
		f.see(o.path, fmt.Sprint(chttp.Persist(ctx, name, w.number)), name)
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hit("fault: " + Diverge.String())
	w.diverges[f.name] = true
	if e := f.l.p.memory.named[f.name]; e != nil && !e.notNow && f.l.current() && e.has(name, done) {
		w.early[f.name] = true
	}
	return fmt.Errorf("%w at %s", errEarly, f.path(o))
}
