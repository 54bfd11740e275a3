package sim

import (
	"maps"
	"slices"
)

// required returns what worlds have to reach, all together, for a test of them to be worth anything: every kind of fault and operation,
// every way in which a process can die, every end and verdict.
func required() []string {
	list := []string{
		"verdict: done", "verdict: running", "verdict: none", "verdict: refused", "verdict: gone",
		"answer: none 412", "answer: none 507", "answer: none 503", "answer: running 202", "answer: running 409", "answer: running 500",
		"answer: running 503", "answer: refused 413", "answer: refused 422", "answer: gone 410",
		"end: answered", "end: rejected", "end: undelivered", "end: unknown",
		"told of: rejected", "told of: undelivered", "told of: unknown",
		"outcome: function answered", "outcome: function canceled", "outcome: handler answered", "outcome: report answered",
		"evicted: function", "evicted: handler", "evicted: message",
		"parked: crashed", "parked: differs", "parked: at most once", "parked: not registered", "goes on after it was parked",
		"not now, and forgotten", "forgotten", "the floor rises", "conflict", "stale at the insert",
		"acknowledged by header", "acknowledged by DELETE", "acknowledged in bulk",
		"an effect is had again", "replayed", "reused", "refused: the id was used", "promised: not done",
		"unknown, and done", "unknown, and not done", "refused for want of room",
		"stopped in order", "fenced", "a node cannot be made",
		"a late copy arrives", "a late copy arrives: an acknowledgement",
		"a plain client is answered again", "a thief is answered", "the same id of two principals", "at the floor: none", "a plain peer replays", "a call is given up", "an SDK tries again",
		"by hand: post done", "by hand: post gone", "by hand: show done", "by hand: ack gone",
		"money: paid", "money: unknown",
		"dies in a function", "dies in a handler", "dies in a branch", "dies between a step's effect and its record",
		"dies during recovery", "dies at a read", "dies after a cancellation",
	}
	for _, side := range []string{
		"before its request leaves", "before it works on a request", "after it worked on a request", "when an answer has come",
	} {
		list = append(list, "dies "+side, "dies "+side+": an acknowledgement")
	}
	for _, kind := range []string{"insert", "update", "children", "outcome", "acknowledgement", "the floor's raise"} {
		list = append(list, "dies before a commit: "+kind, "dies after a commit: "+kind)
	}
	for f := range faultKinds {
		list = append(list, "fault: "+f.String())
	}
	for _, c := range choices {
		list = append(list, "operation: "+c.kind)
	}
	for _, kind := range []string{"persist", "step", "call", "send", "sleep", "branch", "function", "start", "wait"} {
		list = append(list, "recorded: "+kind)
	}
	return list
}

// Missing returns what of that is not among counts.
func Missing(counts map[string]int) (list []string) {
	for _, what := range required() {
		if counts[what] == 0 {
			list = append(list, what)
		}
	}
	return list
}

// Reached returns what was reached, in order.
func (r *Result) Reached() []string { return slices.Sorted(maps.Keys(r.Counts)) }
