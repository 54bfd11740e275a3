package sim_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/certifiedhttp/chttp/internal/sim"
)

// state of an id as its clients may know it.
type state struct {
	body   string // of the request that it was accepted with; "" while there is none
	answer string // "" while nobody was told
	acked  bool
}

// oneExecution says what clients by hand may be told of one id, wherever its server dies and whatever is lost or doubled: it has one
// execution, of one request, with one answer; another request under it is refused; it is gone after an acknowledgement, and not before. What
// says nothing, such as 202, 503 and no answer at all, says nothing. Where handlers say "not now", an execution without an answer may
// be forgotten at any time (S7).
func oneExecution(forgets bool) porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(s, in, _ any) []any {
			next := step(s.(state), in.(sim.Exchange))
			if forgets && s.(state).answer == "" && s != any(state{}) {
				next = append(next, step(state{}, in.(sim.Exchange))...)
			}
			return next
		},
	}).ToModel()
}

// step returns what may hold after x, if s held before.
func step(s state, x sim.Exchange) []any {
	var next []any
	add := func(n state) { next = append(next, n) }
	switch {
	case x.State == "done": // A "show" names no request.
		if s.body == "" && x.Kind == "post" {
			add(state{body: x.Body, answer: x.Answer})
		}
		same := x.Kind == "show" || s.body == x.Body
		if s.body != "" && same && (s.answer == "" || s.answer == x.Answer) {
			add(state{body: s.body, answer: x.Answer, acked: s.acked})
		}
	case x.State == "refused":
		if s.body != "" && s.body != x.Body {
			add(s)
		}
	case x.Kind == "ack" && x.State == "gone":
		if s.body != "" {
			add(state{body: s.body, answer: s.answer, acked: true})
		}
	case x.State == "gone":
		if s.acked && (x.Kind == "show" || s.body == x.Body) {
			add(s)
		}
	default:
		add(s)
		switch {
		case x.Kind == "post" && s.body == "":
			add(state{body: x.Body})
		case x.Kind == "ack" && s.body != "":
			add(state{body: s.body, answer: s.answer, acked: true})
		}
	}
	return next
}

// patience is how long an order is looked for.
const patience = 5 * time.Second

// unordered returns a violation for each id of which the clients were told what no order explains.
func unordered(r *sim.Result) (bad []sim.Violation) {
	model := oneExecution(r.Config.Faults.Has(sim.NotNow))
	for _, id := range slices.Sorted(maps.Keys(r.Histories)) {
		var list []porcupine.Operation
		last := int64(1)
		for _, x := range r.Histories[id] {
			last = max(last, x.Call, x.Return)
		}
		for _, x := range r.Histories[id] {
			end := x.Return
			if end == 0 {
				end = last + 1
			}
			list = append(list, porcupine.Operation{ClientId: x.Client, Input: x, Call: x.Call, Return: end})
			if x.Kind == "post" { // Copies of it may arrive at any time.
				ghost := sim.Exchange{Client: x.Client, Kind: "post", Body: x.Body}
				list = append(list, porcupine.Operation{ClientId: x.Client, Input: ghost, Call: x.Call, Return: last + 1})
			}
		}
		if porcupine.CheckOperationsTimeout(model, list, patience) == porcupine.Illegal {
			bad = append(bad, sim.Violation{Rule: "linear", Text: fmt.Sprintf("no order explains what clients were told of %s: %+v", id, r.Histories[id])})
		}
	}
	return bad
}
