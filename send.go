package chttp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// Names of the built-in functions.
const (
	functionSend   = "chttp.send"   // delivers a sent message
	functionFailed = "chttp.failed" // calls Options.Failed
)

// sendFunction is the built-in function of a sent message. The courier runs it, without a goroutine of its own.
type sendFunction struct{}

func (sendFunction) register(n *Node) {
	n.registerFunction(&registration{name: functionSend, attempts: defaultAttempts, parcel: true})
}

// failedFunction is the built-in function that calls Options.Failed.
type failedFunction struct{}

func (failedFunction) register(n *Node) {
	Resumable(functionFailed, func(ctx context.Context, in failure) (struct{}, error) {
		if n.opt.Failed == nil {
			return struct{}{}, nil
		}
		i := in.Info
		i.Err = &replayed{text: in.Err, is: []error{stateErrors[i.State]}}
		return struct{}{}, n.opt.Failed(ctx, i)
	}).register(n)
}

// failure is the input of failedFunction.
type failure struct {
	Info Info
	Err  string
}

// stateErrors are what a message that ended so is, to errors.Is.
var stateErrors = map[string]error{
	store.Rejected.String(): errRejected, store.Undelivered.String(): ErrNotDone, store.Unknown.String(): ErrUnknownOutcome,
}

var errRejected = errors.New("the peer rejected the message")

// Put stores a message, a PUT of body to url, and returns as soon as it is durable; Run delivers it, across crashes, until it is
// answered or Policy.Until.
// The answer is discarded; one of 400 and above, or none, is listed and given to Options.Failed. Called with the context of an
// execution it is an operation of that execution: replayed, not sent twice. A nil error says that it is stored, not that it arrived.
func (n *Node) Put(ctx context.Context, url, contentType string, body io.Reader) (ID, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, body)
	if err != nil {
		return "", &Error{Op: "put", Name: url, Err: notDone(err)}
	}
	req.Header.Set(headerContentType, contentType)
	return n.Send(ctx, req)
}

// Send is Put for any request. Its headers are stored with it, so Authorization, Proxy-Authorization and Cookie are refused: give
// credentials through Destination.Authorize, which keeps them off the disk. A Policy.ID that was sent before with the same request is that message again, and is not sent twice.
func (n *Node) Send(ctx context.Context, req *http.Request) (ID, error) {
	ids, err := n.SendAll(ctx, req)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// SendAll stores several messages, all or none.
func (n *Node) SendAll(ctx context.Context, reqs ...*http.Request) ([]ID, error) {
	e := envOf(ctx)
	policy := e.policy.over(n.opt.Policy)
	list := make([]*outbound, len(reqs))
	for i, req := range reqs {
		o, err := n.outbound(req, policy)
		if err != nil {
			return nil, &Error{Op: "send", Name: targetName(req), ID: policy.ID, Err: notDone(err)}
		}
		list[i] = o
	}
	switch {
	case len(reqs) == 0:
		return nil, nil
	case policy.ID != "" && len(reqs) > 1:
		return nil, &Error{Op: "send", ID: policy.ID, Err: notDone(errors.New("Policy.ID names one message, and there are several: send them one by one"))}
	case e.scope != nil && e.step == nil:
		if err := e.scope.of(n, "send", targetName(reqs[0])); err != nil {
			return nil, err
		}
		return e.scope.send(ctx, list)
	}
	if err := n.open(); err != nil {
		return nil, &Error{Op: "send", Name: targetName(reqs[0]), Err: notDone(err)}
	}
	ids, err := n.sendNow(ctx, list)
	if err != nil {
		return nil, &Error{Op: "send", Name: targetName(reqs[0]), ID: policy.ID, Err: err}
	}
	return ids, nil
}

// sendNow stores messages from outside an execution.
func (n *Node) sendNow(ctx context.Context, list []*outbound) ([]ID, error) {
	ids := make([]ID, len(list))
	for _, o := range list { // Options.Destination is the user's, and may itself send: no lock is held.
		if err := n.fix(ctx, o); err != nil {
			return nil, notDone(err)
		}
	}
	unlock := func() {}
	var first *execution // the others are its children, whose keys the store compares: all or none
	reg := n.function(functionSend)
	for i, o := range list {
		ids[i] = firstOf(o.key, newID())
		if o.key != "" {
			var err error
			if first == nil {
				unlock, err = n.claim(ctx, o)
			} else {
				err = n.sentBefore(ctx, o.key, o.print)
			}
			switch {
			case errors.Is(err, errSentBefore):
				continue
			case err != nil:
				unlock()
				return nil, err
			}
		}
		if first == nil {
			first = n.newExecution(store.Key{ID: ids[i]}, reg, o.head, o.print)
			if o.after > 0 {
				first.state, first.due = store.Waiting, first.created+o.after.Milliseconds()
			}
			continue
		}
		first.children = append(first.children, first.child(functionSend, ids[i], o.head, o.print, o.after).of(o.key))
	}
	if first == nil {
		return ids, nil
	}
	resident := first.due == first.created && n.running() && n.enter(first)
	if !resident {
		n.hold(first)
	}
	first.mu.Lock()
	first.leaving = !resident
	first.touch()
	first.mu.Unlock()
	unlock()
	if err := first.durably(ctx); err != nil {
		if resident { // Nobody posts it now. If it is stored in the end, it is found there.
			first.halt(&stop{cause: errEvicted, evict: n.now().UnixMilli()})
		}
		return n.sentByOther(ctx, ids, list, err)
	}
	if resident {
		n.courier.post(first)
	}
	return ids, nil
}

// claim finds out whether the id that was chosen for o is free, and keeps it so until unlock, which is never nil. The error is errSentBefore
// when the very message is stored already; a batch names a key once, so one that is being stored is waited for.
func (n *Node) claim(ctx context.Context, o *outbound) (unlock func(), err error) {
	key := store.Key{ID: o.key}
	lock := n.stripe(key)
	lock.Lock()
	x := n.resident(key)
	if x == nil {
		if err := n.sentBefore(ctx, o.key, o.print); err != nil {
			lock.Unlock()
			return func() {}, err
		}
		return lock.Unlock, nil
	}
	lock.Unlock()
	if samePrint(x.print, o.print) != nil {
		return func() {}, notDone(ErrReused)
	}
	if err := x.durably(ctx); err != nil {
		return func() {}, err
	}
	return func() {}, errSentBefore
}

// errSentBefore says that the very message is stored already.
var errSentBefore = errors.New("sent before")

func (n *Node) sentBefore(ctx context.Context, id ID, print []byte) error {
	r, err := n.store.Read(ctx, store.Key{ID: id})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return notDone(err)
	case samePrint(r.Print, print) != nil:
		return notDone(ErrReused)
	}
	return errSentBefore
}

// sentByOther finds out, after a conflict, whether the one message was stored by another call at the same time.
func (n *Node) sentByOther(ctx context.Context, ids []ID, list []*outbound, err error) ([]ID, error) {
	if len(list) == 1 && errors.Is(err, errNotOwner) {
		if e := n.sentBefore(ctx, ids[0], list[0].print); errors.Is(e, errSentBefore) {
			return ids, nil
		} else if e != nil {
			return nil, e
		}
	}
	return nil, err
}

// send is SendAll as an operation: the messages begin with this execution's own change.
func (s *scope) send(ctx context.Context, list []*outbound) ([]ID, error) {
	h := sha256.New()
	for _, o := range list {
		h.Write(o.print)
	}
	name := list[0].name
	if len(list) > 1 {
		name = fmt.Sprintf("%s and %d more", name, len(list)-1)
	}
	op, err := s.enter(s.x.shown(ctx, func() []byte { return outboundText(list) }), record.Send, name, h.Sum(nil))
	if err != nil {
		return nil, err
	}
	defer op.leave()
	if op.end == nil {
		if err := op.send(ctx, list); err != nil {
			return nil, err
		}
	}
	if op.end.Err != nil {
		return nil, s.x.node.unflatten(op.end.Err)
	}
	return op.ids(), nil
}

// send records the messages, or why there are none. Its error says that the execution is stopping.
func (op *operation) send(ctx context.Context, list []*outbound) error {
	x := op.scope.x
	refuse := func(o *outbound, err error) error {
		err = &Error{Op: "send", Name: o.name, ID: o.key, Err: notDone(err)}
		return op.note(&record.Entry{Phase: record.Whole, Err: x.node.flatten(err)})
	}
	ids := make([]ID, len(list))
	children := make([]child, len(list))
	derived := x.derive(op)
	for i, o := range list {
		if err := x.node.fix(ctx, o); err != nil {
			return refuse(o, err)
		}
		switch {
		case o.key != "":
			ids[i] = o.key
			if !x.flush() { // What this execution sent itself may have the id.
				return op.stopping()
			}
			switch err := op.scope.taken(ctx, o.key, o.print); {
			case errors.Is(err, errUnread):
				return op.unread(err)
			case err != nil:
				return refuse(o, err)
			}
		case i == 0:
			ids[i] = derived
		default:
			ids[i] = fmt.Sprintf("%s-%d", derived, i)
		}
		children[i] = x.child(functionSend, ids[i], o.head, o.print, o.after).of(o.key)
	}
	return op.beget(ids, children)
}

// outgoing makes of a stored message the one that the courier delivers.
func (x *execution) outgoing() (*message, error) {
	h := x.head
	u, err := url.Parse(h.URL)
	if err != nil {
		return nil, fmt.Errorf("the stored URL of message %q: %w", x.key.ID, err)
	}
	m := &message{
		id: x.key.ID, method: h.Method, url: u, header: h.Header, body: h.Body, sent: h.Sent, until: h.Until, dest: h.Destination,
		info: Info{ID: x.key.ID, Function: functionSend, State: store.Running.String(), Labels: h.Label}, minimal: true, derived: !h.Chosen,
	}
	// An earlier process, or an earlier stay in memory, may have made attempts (C6, A5).
	x.mu.Lock()
	m.left = x.attempted
	m.earlier = x.attempted
	x.mu.Unlock()
	return m, nil
}

// delivered records how the sent message x ended, and begins the execution of Options.Failed where it is to hear of it.
func (x *execution) delivered(e *end) {
	n := x.node
	if errors.Is(e.err, ErrReused) && !x.head.Chosen { // C1: never a result.
		why := "the peer knows the message's id, which is ours alone, with another request: " + e.err.Error()
		x.halt(&stop{cause: e.err, park: why})
		return
	}
	now := n.now()
	t := &record.Tail{Err: n.flatten(e.err)}
	bound := now.Add(n.opt.Linger)
	if x.head.Chosen || e.state != store.Answered {
		bound = now.Add(n.opt.Retention)
	}
	if e.response != nil {
		t.Response = &record.Response{Status: e.response.Status}
		if e.state != store.Answered {
			t.Response.Body = e.response.Body[:min(len(e.response.Body), errorBody)]
		}
	}
	if e.state != store.Answered {
		n.opt.Logger.Warn("chttp: a message ended without success", "id", x.key.ID, "to", x.parcel.message.target(), "state", e.state.String(), "err", e.err)
	}
	r := &result{state: e.state, tail: t, bound: bound.UnixMilli()}
	if e.ack != nil {
		r.acks = append(r.acks, *e.ack)
	}
	if e.state != store.Answered && n.opt.Failed != nil {
		if c, err := x.failure(e, t); err == nil {
			r.children = append(r.children, c)
		}
	}
	x.finish(r)
}

// failure makes the execution that calls Options.Failed.
func (x *execution) failure(e *end, t *record.Tail) (child, error) {
	in := failure{Info: Info{ID: x.key.ID, Function: functionSend, State: e.state.String(), Labels: x.head.Label}}
	if t.Response != nil {
		in.Info.Status = t.Response.Status
		in.Err = fmt.Sprintf("%v with status %d", errRejected, t.Response.Status)
	}
	if e.err != nil {
		in.Err = e.err.Error()
	}
	input, err := x.node.encode(in)
	if err != nil {
		return child{}, err
	}
	head := &record.Head{Input: input, Label: x.head.Label}
	id := x.key.ID
	if len(id) > 200 { // told apart by what was cut off
		sum := sha256.Sum256([]byte(id))
		id = id[:200] + idEncoding.EncodeToString(sum[:16])
	}
	return x.child(functionFailed, "failed/"+id, head, inputPrint(functionFailed, input), 0), nil
}
