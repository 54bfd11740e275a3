package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
)

// outgoing makes the request of a message that is sent and not waited for.
func (f *frame) outgoing(ctx context.Context, o *op, host, message, body string) (context.Context, *http.Request) {
	f.makes(message)
	url := fmt.Sprintf("http://%s/%s?m=%s&d=%d", host, o.route, message, max(0, f.depth-1))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		panic("sim: " + err.Error())
	}
	req.Header.Set(headerContentType, "text/plain")
	return chttp.With(ctx, chttp.Policy{Labels: map[string]string{"m": message}}), req
}

// sent takes note of a send's result.
func (f *frame) sent(o *op, id string, err error) error {
	f.tell(o, id, err, "")
	return f.goesOn(o, err)
}

func (f *frame) put(ctx context.Context, o *op) error {
	f.makes(f.message(o))
	ctx = chttp.With(ctx, chttp.Policy{Labels: map[string]string{"m": f.message(o)}})
	id, err := f.l.node.Put(ctx, f.url(o, o.host), "text/plain", strings.NewReader(f.content()))
	return f.sent(o, id, err)
}

// send sends the message of an operation, with a policy.
func (f *frame) send(ctx context.Context, o *op, host string, p chttp.Policy) error {
	ctx, req := f.outgoing(chttp.With(ctx, p), o, host, f.message(o), f.content())
	id, err := f.l.node.Send(ctx, req)
	return f.sent(o, id, err)
}

func (f *frame) sendOutside(ctx context.Context, o *op) error {
	host := strings.TrimPrefix(o.kind, "send to ")
	var p chttp.Policy
	if host == nowhereHost {
		p.Until = 3*time.Second + o.d
	}
	return f.send(ctx, o, host, p)
}

func (f *frame) sendWithID(ctx context.Context, o *op) error {
	return f.send(ctx, o, o.host, chttp.Policy{ID: idOf(f.message(o))})
}

func (f *frame) sendLater(ctx context.Context, o *op) error {
	return f.send(ctx, o, o.host, chttp.Policy{After: o.d, Until: 2*o.d + time.Minute})
}

// sendTooMuch sends what no handler takes: it ends rejected.
func (f *frame) sendTooMuch(ctx context.Context, o *op) error {
	ctx, req := f.outgoing(ctx, o, o.host, f.message(o), strings.Repeat(".", 2*maxBody))
	id, err := f.l.node.Send(ctx, req)
	return f.sent(o, id, err)
}

// sendAnother sends two requests under one id: the second is refused (I4).
func (f *frame) sendAnother(ctx context.Context, o *op) error {
	ctx = chttp.With(ctx, chttp.Policy{ID: idOf(f.message(o))})
	first, req := f.outgoing(ctx, o, o.host, f.message(o), f.content())
	id, err := f.l.node.Send(first, req)
	_, other := f.outgoing(ctx, o, o.host, f.message(o)+".other", f.content())
	_, err2 := f.l.node.Send(first, other)
	f.see(o.path+" other", fmt.Sprint(err2), "")
	f.i4Refused(o, err, err2)
	return f.sent(o, id, err)
}

// i4Refused checks that the second of two under one id was refused, where the first was taken.
func (f *frame) i4Refused(o *op, first, second error) {
	switch {
	case first != nil:
	case second == nil:
		f.l.p.w.wrong("I4", "%s: two under one id are taken", f.message(o))
	case errors.Is(second, chttp.ErrReused):
		f.l.p.w.reached("reused")
	}
}

func (f *frame) sendAll(ctx context.Context, o *op) error {
	var reqs []*http.Request
	for i := range 2 + o.n%3 {
		var req *http.Request
		_, req = f.outgoing(ctx, o, o.host, fmt.Sprintf("%s.%d", f.message(o), i), f.content())
		reqs = append(reqs, req)
	}
	ctx = chttp.With(ctx, chttp.Policy{Labels: map[string]string{"m": f.message(o) + ".0"}})
	ids, err := f.l.node.SendAll(ctx, reqs...)
	return f.sent(o, fmt.Sprint(ids), err)
}

// child returns the function that an operation starts, and its input.
func (f *frame) child(o *op) (*chttp.Function[In, string], In) {
	fn := f.l.fns.work
	if o.n%7 == 0 {
		fn = f.l.fns.brittle
	}
	return fn, In{Name: f.message(o), Depth: max(0, f.depth-1), Sum: f.sum}
}

func (f *frame) startChild(ctx context.Context, o *op, id string) (*chttp.Execution[string], error) {
	fn, in := f.child(o)
	f.makes(in.Name)
	return fn.Start(ctx, f.l.node, id, in)
}

func (f *frame) waitForChild(ctx context.Context, o *op, exec *chttp.Execution[string], err error) error {
	if err != nil {
		f.tell(o, nil, err, "")
		return f.goesOn(o, err)
	}
	v, err := exec.Wait(ctx)
	f.tell(o, v, err, "")
	f.l.p.w.i5Waited(f.l, f.message(o), v, err)
	return f.goesOn(o, err)
}

func (f *frame) start(ctx context.Context, o *op) error {
	exec, err := f.startChild(ctx, o, "")
	return f.waitForChild(ctx, o, exec, err)
}

func (f *frame) startWithID(ctx context.Context, o *op) error {
	exec, err := f.startChild(ctx, o, idOf(f.message(o)))
	return f.waitForChild(ctx, o, exec, err)
}

func (f *frame) startAndLeave(ctx context.Context, o *op) error {
	exec, err := f.startChild(ctx, o, "")
	if err != nil {
		return f.sent(o, "", err)
	}
	return f.sent(o, exec.ID(), nil)
}

// startAnother starts two executions under one id: the second is refused (I4).
func (f *frame) startAnother(ctx context.Context, o *op) error {
	exec, err := f.startChild(ctx, o, idOf(f.message(o)))
	fn, in := f.child(o)
	in.Other = "another"
	_, err2 := fn.Start(ctx, f.l.node, idOf(f.message(o)), in)
	f.see(o.path+" other", fmt.Sprint(err2), "")
	f.i4Refused(o, err, err2)
	return f.waitForChild(ctx, o, exec, err)
}

// twin starts another execution under an id that its twin uses too. Where it is another one, one of them is told so, or parked (I4);
// where it is the same, it is the same execution (I2).
func (f *frame) twin(ctx context.Context, in In) (string, error) {
	child := In{Name: firstOf(in.Other, f.name+"~0")}
	exec, err := f.l.fns.work.Start(ctx, f.l.node, "id~"+in.Twin+"~of-both", child)
	if err != nil {
		return "", err
	}
	return exec.Wait(ctx)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// failed is Options.Failed.
func (l *Life) failed(ctx context.Context, m chttp.Info) error {
	w := l.p.w
	w.mu.Lock()
	name := l.p.memory.sentAs(m.ID)
	w.mu.Unlock()
	defer l.enter(markFailed + name)()
	w.reached("told of: " + m.State)
	w.i10Told(l, name, m)
	f := l.begins(&frame{name: markFailed + name})
	f.token(ctx)
	o := &op{kind: "put", path: "report", host: l.p.name, route: routeA, n: 1}
	if w.count("failed "+name) == 1 && w.luck.chance(0.1, "failed panics", name, 0) && w.has(Panic) {
		panic("sim: Options.Failed panics")
	}
	if w.luck.chance(0.2, "failed reports", name, 0) && !strings.Contains(name, markFailed) {
		return f.put(ctx, o)
	}
	return nil
}
