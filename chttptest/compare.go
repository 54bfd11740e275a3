package chttptest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// compareAsked compares what the function asks for with what it asked for there in the undisturbed run; called with mu held.
func (tr *trial) compareAsked(now *operation) *finding {
	w := tr.proof.world
	if w == nil {
		return tr.judge(now)
	}
	ref := w.ops[now.site]
	switch {
	case ref == nil:
		return &finding{what: foundAdded, now: now}
	case ref.kind != now.kind || ref.name != now.name || !bytes.Equal(ref.print, now.print):
		return &finding{what: foundAnother, ref: ref, now: now}
	case !ref.deadline.Equal(now.deadline):
		return &finding{what: foundDeadline, ref: ref, now: now}
	}
	return nil
}

// judge looks at an operation of the undisturbed run itself.
func (tr *trial) judge(op *operation) *finding {
	switch {
	case op.stray:
		return &finding{what: foundStray, now: op}
	case inTransaction():
		return &finding{what: foundTransaction, now: op}
	}
	return nil
}

// put compares an entry that is about to be recorded with the undisturbed run's, and puts that in its place where it is what the world
// answered. What the function itself has made of it must be equal by itself.
func (w *world) put(op *operation, e *record.Entry) *finding {
	ref := w.ops[op.site]
	if ref == nil {
		return nil
	}
	was := ref.end
	if e.Phase == record.Begin {
		was = ref.begin
	}
	switch {
	case was == nil:
		return nil
	case was.Phase != e.Phase:
		return &finding{what: foundOtherwise, ref: ref, now: op, text: errorText(e.Err)}
	case e.Phase == record.Begin:
		if op.kind == record.Call && e.ID != "" && was.ID != "" {
			e.ID = was.ID // The caller's code draws another for each attempt to do this at all; none has left before.
		}
		if e.ID != was.ID {
			return &finding{what: foundIds, ref: ref, now: op, text: sideBySide(was.ID, e.ID)}
		}
		return nil
	}
	switch op.kind {
	case record.Persist, record.Step, record.Call, record.Wait, record.Sleep:
		e.Data, e.Err, e.Response = was.Data, was.Err, was.Response
	case record.Send, record.Start:
		if !bytes.Equal(e.Data, was.Data) {
			return &finding{what: foundIds, ref: ref, now: op, text: sideBySide(printable(was.Data), printable(e.Data))}
		}
		e.Err = was.Err
	default:
		if was.Err == nil && e.Err == nil && bytes.Equal(e.Data, was.Data) || was.Err != nil && e.Err != nil && was.Err.Text == e.Err.Text {
			return nil
		}
		return &finding{what: foundValue, ref: ref, now: op, text: sideBySide(resultText(was), resultText(e))}
	}
	return nil
}

// compareEnd compares how a run has ended with how the undisturbed one did.
func (tr *trial) compareEnd() *finding {
	w := tr.proof.world
	if h := tr.histories[tr.root]; h == nil || !h.state.Finished() {
		if h != nil && h.state == store.Parked && strings.Contains(parkedText(h), "at most once") {
			return nil // Policy.AtMostOnce has asked for it.
		}
		return tr.unfinished(h)
	}
	for _, key := range slices.SortedFunc(mapsKeys(w.executions), compareKeys) {
		if f := tr.compareExecution(w.executions[key], tr.histories[key]); f != nil {
			return f
		}
	}
	for key, h := range tr.histories {
		if w.executions[key] == nil {
			return &finding{what: foundOutcome, text: fmt.Sprintf("an execution of %q began, %s, which the undisturbed run did not begin", h.function, key.ID)}
		}
	}
	if tr.answer != w.answer {
		return &finding{what: foundOutcome, text: "the answer that the client gets\n" + sideBySide(w.answer, tr.answer)}
	}
	if tr.process {
		return nil // What peers and fakes had seen before is gone.
	}
	if f := tr.compareWorks(); f != nil {
		return f
	}
	if tr.proof.opt.Effects != nil && !reflect.DeepEqual(w.effects, tr.effects) {
		return &finding{what: foundEffects, text: sideBySide(showValue(w.effects), showValue(tr.effects))}
	}
	return nil
}

// unfinished says what became of an execution that has no outcome.
func (tr *trial) unfinished(h *stored) *finding {
	switch {
	case h == nil:
		return &finding{what: foundBroken, text: "the execution was never stored"}
	case h.state == store.Parked:
		return &finding{what: foundParked, text: parkedText(h)}
	}
	return &finding{what: foundBroken, text: fmt.Sprintf("the execution is %s", h.state)}
}

// compareExecution compares an execution with the same of the undisturbed run.
func (tr *trial) compareExecution(was, now *stored) *finding {
	switch {
	case now == nil:
		return &finding{what: foundOutcome, text: fmt.Sprintf("no execution of %q began, as %s of the undisturbed run did", was.function, was.key.ID)}
	case was.state == store.Acknowledged || now.state == store.Acknowledged:
	case was.state != now.state || tailText(was.tail) != tailText(now.tail):
		return &finding{
			what: foundOutcome, key: was.key,
			text: fmt.Sprintf("the outcome of %q\n%s", was.function, sideBySide(stateText(was), stateText(now))),
		}
	}
	before, after := was.scopes(), now.scopes()
	for scope, list := range before {
		for i, ref := range list {
			if i >= len(after[scope]) {
				return &finding{what: foundLeft, ref: tr.proof.world.op(ref)}
			}
			if op := after[scope][i]; op.kind != ref.kind || op.name != ref.name || !bytes.Equal(op.print, ref.print) {
				return &finding{what: foundAnother, ref: tr.proof.world.op(ref), now: op}
			}
		}
	}
	return nil
}

// op returns the operation as the undisturbed run saw it.
func (w *world) op(op *operation) *operation {
	if seen := w.ops[op.site]; seen != nil {
		return seen
	}
	return op
}

// compareWorks compares what the peers' handlers were asked to do. How often is the peer's business.
func (tr *trial) compareWorks() *finding {
	for host, p := range tr.peers {
		was := tr.proof.works[host]
		for w := range p.works {
			if _, ok := was[w]; !ok {
				return &finding{what: foundWorked, text: fmt.Sprintf("%s was asked, and was not in the undisturbed run: %s %s %s", host, w.method, w.url, shortText(w.body))}
			}
		}
		for w := range was {
			if _, ok := p.works[w]; !ok {
				return &finding{what: foundWorked, text: fmt.Sprintf("%s was not asked, and was in the undisturbed run: %s %s %s", host, w.method, w.url, shortText(w.body))}
			}
		}
	}
	return nil
}
