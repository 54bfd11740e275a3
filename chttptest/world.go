package chttptest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// world is what the undisturbed run recorded. Every other run is given the same, by place: one world, in which processes die.
type world struct {
	root       store.Key
	ops        map[site]*operation
	order      []*operation // as they were asked for
	executions map[store.Key]*stored
	born       map[store.Key]birth
	effects    any
	answer     string        // that a handler's caller got
	took       time.Duration // of the fake clock
	nearest    time.Duration // from an operation to its deadline, or to the end of its message; 0: there is none
	deadlines  bool          // there are such of contexts
}

// operation is one operation as a run made it.
type operation struct {
	site
	function string
	kind     record.Kind
	name     string
	print    []byte
	content  []byte // what print is of
	line     string
	at       time.Time
	deadline time.Time     // of its context; zero: none
	patience time.Duration // of the http.Client that makes it; 0: it waits for ever
	recorded bool          // it was given back
	stray    bool
	message  string
	begin    *record.Entry
	end      *record.Entry
}

// birth is what ids are derived from.
type birth struct {
	run     uint64
	created int64
}

// stored is what was ever durable of an execution.
type stored struct {
	key      store.Key
	function string
	created  int64
	print    []byte
	head     []byte
	state    store.State
	tail     []byte
	entries  []record.Entry
}

// note takes over what a change says.
func (h *stored) note(c *store.Change) error {
	if c.Version == 1 {
		h.function, h.created, h.print, h.head = c.Function, c.Created, slices.Clone(c.Print), slices.Clone(c.Head)
	}
	h.state, h.tail = c.State, slices.Clone(c.Tail)
	entries, err := record.ParseEntries(slices.Clone(c.Chunk))
	h.entries = append(h.entries, entries...)
	return err
}

// scopes returns the operations of the execution, by scope and in order, without what is not one.
func (h *stored) scopes() map[string][]*operation {
	all := make(map[string][]*operation)
	for i := range h.entries {
		e := &h.entries[i]
		list := all[e.Scope]
		switch e.Phase {
		case record.Begin, record.Whole:
			op := &operation{site: site{h.key, e.Scope, e.Seq}, function: h.function, kind: e.Kind, name: e.Name, print: e.Print, begin: e}
			if e.Phase == record.Whole {
				op.end = e
			}
			all[e.Scope] = append(list, op)
		case record.End:
			if e.Seq < len(list) {
				list[e.Seq].end = e
			}
		}
	}
	return all
}

// crashes returns how the runs of the execution crashed.
func (h *stored) crashes() (how []string) {
	for _, e := range h.entries {
		if e.Phase == record.Crash {
			how = append(how, string(e.Data))
		}
	}
	return how
}

// newWorld makes a world of an undisturbed run.
func newWorld(tr *trial) *world {
	w := &world{root: tr.root, ops: make(map[site]*operation), executions: tr.histories, born: tr.born, effects: tr.effects, answer: tr.answer, took: tr.took}
	for _, op := range tr.lives[0].trail {
		if w.ops[op.site] == nil {
			w.ops[op.site] = op
			w.order = append(w.order, op)
		}
		w.near(op)
	}
	return w
}

// near notes how far what op has to end by is away.
func (w *world) near(op *operation) {
	add := func(d time.Duration) {
		if d > 0 && (w.nearest == 0 || d < w.nearest) {
			w.nearest = d
		}
	}
	if !op.deadline.IsZero() {
		w.deadlines = true
		add(op.deadline.Sub(op.at))
	}
	if op.patience > 0 {
		w.deadlines = true // Whether it is the client's own or the function's cannot be told.
		add(op.patience)
	}
	if op.begin != nil && op.begin.Until != 0 {
		add(time.UnixMilli(op.begin.Until).Sub(op.at))
	}
}

// points returns where the process of an undisturbed run can die.
func (w *world) points() (all []point) {
	for _, op := range w.order {
		for _, m := range momentsOf(op) {
			all = append(all, point{op.site, m})
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(w.executions), compareKeys) {
		at := site{key: key, seq: none}
		if w.executions[key].function == sendFunction {
			all = append(all, point{at, momentRequestLost}, point{at, momentAnswerLost})
		}
		all = append(all, point{at, momentEnded}, point{at, momentEndedDurable})
	}
	return all
}

// sendFunction is the function of a message that is sent and forgotten.
const sendFunction = "chttp.send"

func compareKeys(a, b store.Key) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Scope, b.Scope))
}
