package chttp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// derive returns the id of what op makes: from the store's secret, the execution, its run and the place (C1), behind the time at which
// the execution began, so that ids are in the order of time. A replay derives the same.
func (x *execution) derive(op *operation) ID {
	m := hmac.New(sha256.New, x.node.idKey)
	var n [8]byte
	for _, s := range []string{x.key.Scope, x.key.ID, op.place()} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		m.Write(n[:])
		m.Write([]byte(s))
	}
	binary.BigEndian.PutUint64(n[:], x.run)
	m.Write(n[:])
	binary.BigEndian.PutUint64(n[:], uint64(x.created))
	var id [22]byte
	copy(id[:6], n[2:])
	copy(id[6:], m.Sum(nil))
	return idEncoding.EncodeToString(id[:])
}

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// child makes the child that op begins.
func (x *execution) child(function string, id ID, head *record.Head, print []byte, after time.Duration) child {
	now := x.node.now().UnixMilli()
	c := child{head: head}
	c.Child = store.Child{
		Key: store.Key{ID: id}, Run: x.node.runs.Add(1), Function: function, State: store.Running, Created: now, Due: now, Print: print,
		Head: head.Append(make([]byte, 0, 128+len(head.Input)+len(head.Body))),
	}
	if after > 0 {
		c.State, c.Due = store.Waiting, now+after.Milliseconds()
	}
	if r := x.node.registrar; r != nil {
		c.Run, c.Created = r.Born("", id, c.Run, c.Created)
	}
	return c
}

// of marks c as one whose id somebody chose, if there is one.
func (c child) of(chosen ID) child {
	c.chosen = chosen != ""
	return c
}

// beget records that op begins the children; their parent's change carries them.
func (op *operation) beget(ids []ID, children []child) error {
	x := op.scope.x
	e := &record.Entry{Phase: record.Whole}
	for _, id := range ids {
		e.Data = binary.AppendUvarint(e.Data, uint64(len(id)))
		e.Data = append(e.Data, id...)
	}
	return op.note(e, func() {
		x.effects = true
		x.children = append(x.children, children...)
	})
}

// ids returns the ids of what op began.
func (op *operation) ids() []ID { return idsIn(op.end.Data) }

// idsIn reads what beget recorded.
func idsIn(b []byte) (ids []ID) {
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return ids
		}
		ids = append(ids, string(b[k:k+int(n)]))
		b = b[k+int(n):]
	}
	return ids
}

// taken tells whether id, which the caller chose, is of something else. That ctx has ended is no reason not to look: what a cancelled
// function sends or starts, to clean up, has ids too.
func (s *scope) taken(ctx context.Context, id ID, print []byte) error {
	within, end := s.x.within(context.WithoutCancel(ctx))
	defer end()
	r, err := s.x.node.store.Read(within, store.Key{ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	return samePrint(r.Print, print)
}

// startChild is Start as an operation.
func (s *scope) startChild(ctx context.Context, function string, id ID, head *record.Head, print []byte) (ID, error) {
	op, err := s.enter(s.x.shown(ctx, func() []byte { return head.Input }), record.Start, function+"/"+id, print)
	if err != nil {
		return "", err
	}
	defer op.leave()
	if op.end == nil {
		x := s.x
		chosen := id
		if id == "" {
			id = x.derive(op)
		}
		if chosen != "" {
			if !x.flush() { // What this execution began itself may have the id.
				return "", op.stopping()
			}
			switch err := s.taken(ctx, id, print); {
			case errors.Is(err, errUnread):
				return "", op.unread(err)
			case err != nil:
				err = &Error{Op: "start", Name: function, ID: id, Err: err}
				if err := op.note(&record.Entry{Phase: record.Whole, Err: x.node.flatten(err)}); err != nil {
					return "", err
				}
				return "", x.node.unflatten(op.end.Err)
			}
		}
		if err := op.beget([]ID{id}, []child{x.child(function, id, head, print, 0).of(chosen)}); err != nil {
			return "", err
		}
	}
	if op.end.Err != nil {
		return "", s.x.node.unflatten(op.end.Err)
	}
	return op.ids()[0], nil
}

// waitFor is Wait as an operation.
func (s *scope) waitFor(ctx context.Context, n *Node, id ID, p any) error {
	if err := s.of(n, "wait", id); err != nil {
		return err
	}
	op, err := s.enter(ctx, record.Wait, id, nil)
	if err != nil {
		return err
	}
	defer op.leave()
	if op.end == nil {
		if !s.x.flush() { // What it waits for may have begun with our own change.
			return op.stopping()
		}
		within, cancel := s.x.within(ctx)
		back := s.x.rest(s.x.node.now().Add(restPause))
		t, state, err := n.outcome(within, store.Key{ID: id})
		back()
		cancel()
		if errors.Is(err, errStopped) && n == s.x.node {
			<-s.x.stopped // The node stops, and with it this run: that is no result.
		}
		if err := op.stopping(); err != nil {
			return err
		}
		e := &record.Entry{Phase: record.Whole}
		switch {
		case err != nil && ctx.Err() != nil:
			e.Err = s.x.node.flatten(&Error{Op: "wait", ID: id, Err: ending(ctx)})
		case errors.Is(err, errUnread):
			return op.unread(err)
		case err != nil:
			e.Err = s.x.node.flatten(&Error{Op: "wait", ID: id, Err: err})
		case state == store.Parked:
			e.Err = s.x.node.flatten(&Error{Op: "wait", ID: id, Err: fmt.Errorf("%w: %s", ErrParked, t.Why)})
		default:
			e.Err, e.Data = t.Err, t.Value
		}
		if err := op.note(e); err != nil {
			return err
		}
	}
	if op.end.Err != nil {
		return s.x.node.unflatten(op.end.Err)
	}
	return op.decode(op.end.Data, p)
}

// unread puts the execution out of memory, to go on when the store can be read again: that it cannot is no result of op, and no fault of
// the function. A record that is damaged stays so: the execution parks.
func (op *operation) unread(err error) error {
	x := op.scope.x
	if _, damaged := errors.AsType[*store.DamagedError](err); damaged {
		return x.park(op.kind, op.name, err.Error())
	}
	x.node.opt.Logger.Error("chttp: cannot read the store for an execution; it goes on later", "function", x.reg.name, "id", x.key.ID, "err", err)
	x.halt(&stop{cause: err, evict: x.node.now().Add(unreadPause + rand.N(unreadPause)).UnixMilli()})
	return op.stopping()
}

// Lookup returns what is known of one of the node's own executions: a function's or a sent message's. It returns ErrNotFound for an
// id that was never stored or is forgotten.
func (n *Node) Lookup(ctx context.Context, id ID) (Info, error) {
	if s, _, err := inside(ctx, "lookup", id); err == nil {
		return s.lookup(ctx, n, id)
	}
	r, err := n.store.Read(ctx, store.Key{ID: id})
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return Info{}, &Error{Op: "lookup", ID: id, Err: err}
	}
	return n.info(r), nil
}

// lookup is Lookup as an operation.
func (s *scope) lookup(ctx context.Context, n *Node, id ID) (Info, error) {
	if err := s.of(n, "lookup", id); err != nil {
		return Info{}, err
	}
	op, err := s.enter(ctx, record.Wait, "lookup/"+id, nil)
	if err != nil {
		return Info{}, err
	}
	defer op.leave()
	var f struct {
		Info Info
		Err  *record.Error
	}
	if op.end == nil {
		if !s.x.flush() { // It may look for what this execution has begun.
			return Info{}, op.stopping()
		}
		i, err := n.Lookup(context.WithoutCancel(context.WithValue(ctx, envKey{}, &noEnv)), id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Info{}, op.unread(err)
		}
		f.Err = s.x.node.flatten(i.Err)
		i.Err = nil
		f.Info = i
		e := &record.Entry{Phase: record.Whole, Err: s.x.node.flatten(err)}
		if e.Data, err = json.Marshal(f); err != nil {
			return Info{}, err // strings and numbers only
		}
		if err := op.note(e); err != nil {
			return Info{}, err
		}
	}
	if op.end.Err != nil {
		return Info{}, s.x.node.unflatten(op.end.Err)
	}
	if err := json.Unmarshal(op.end.Data, &f); err != nil {
		return Info{}, s.x.park(op.kind, op.name, "a recorded lookup cannot be read: "+err.Error())
	}
	f.Info.Err = s.x.node.unflatten(f.Err)
	return f.Info, nil
}

// info says of r what Info has room for.
func (n *Node) info(r *store.Record) Info {
	i := Info{ID: r.ID, Function: r.Function, State: r.State.String()}
	if h, err := record.ParseHead(r.Head); err == nil {
		i.Principal, i.Labels = h.Principal, h.Label
	}
	t, err := record.ParseTail(r.Tail)
	if err != nil {
		return i
	}
	if t.Response != nil {
		i.Status = t.Response.Status
	}
	i.Err = n.unflatten(t.Err)
	if r.State == store.Parked {
		i.Err = fmt.Errorf("%w: %s", ErrParked, t.Why)
	}
	return i
}
