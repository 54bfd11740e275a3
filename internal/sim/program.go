package sim

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// In is the input of the worlds' functions: a program is made of its name, the same in every run.
type In struct {
	Name  string // of the execution
	Depth int    // of the programs that it may still call
	Sum   uint64
	Money bool   // it pays
	Twin  string // what it starts another one by, as its twin does
	Other string // what tells it from another input with the same name; a twin's: what it starts
}

// program is what a function or handler does: operations, and an end.
type program struct {
	ops    []*op
	status int // a handler's; 0: it returns what it has
	fails  bool
}

// op is one operation of a program.
type op struct {
	kind  string
	path  string // within the execution
	host  string
	route string
	n     int
	d     time.Duration
	sub   [][]*op
}

// String writes the operation on one line.
func (o *op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%s", o.path, o.kind)
	if o.host != "" {
		fmt.Fprintf(&b, "(%s/%s)", o.host, o.route)
	}
	for _, sub := range o.sub {
		fmt.Fprintf(&b, "%v", sub)
	}
	return b.String()
}

// Hosts beside the nodes.
const (
	dedupHost   = "dedup"   // a peer that keeps keys
	plainHost   = "plain"   // one that does not
	nowhereHost = "nowhere" // nobody
)

// The routes of a node, each a handler with a scope of its own.
const (
	routeA         = "a"
	routeB         = "b"
	routeAnonymous = "anonymous"
)

var routes = [...]string{routeA, routeA, routeB, routeAnonymous} // more of one, so that acknowledgements find something to ride on

// choice is a kind of operation, and how often it is chosen.
type choice struct {
	kind   string
	weight int
	fault  Fault // only in worlds that have it, if not none
	deep   int   // how many programs or parts it may need below it
	place  where
}

type where uint8

const (
	anywhere where = iota
	inHandler
)

const none = faultKinds

// choices are the operations that programs are made of.
var choices = []choice{
	{"persist", 8, none, 0, anywhere},
	{"now", 3, none, 0, anywhere},
	{"do", 6, none, 0, anywhere},
	{"run", 3, none, 0, anywhere},
	{"do once", 2, none, 0, anywhere},
	{"do read-only", 2, none, 0, anywhere},
	{"do with tries", 2, none, 0, anywhere},
	{"do with error", 2, none, 0, anywhere},
	{"post", 10, none, 1, anywhere},
	{"post JSON", 2, none, 1, anywhere},
	{"post with an id", 2, none, 1, anywhere},
	{"post with a deadline", 3, none, 1, anywhere},
	{"post by an SDK", 3, none, 1, anywhere},
	{"post too much", 1, none, 0, anywhere},
	{"post to dedup", 3, none, 0, anywhere},
	{"post to plain", 2, none, 0, anywhere},
	{"post to nowhere", 1, none, 0, anywhere},
	{"get", 2, none, 0, anywhere},
	{"put", 4, none, 1, anywhere},
	{"send with an id", 2, none, 1, anywhere},
	{"send another with the same id", 1, none, 1, anywhere},
	{"send later", 2, none, 1, anywhere},
	{"send all", 2, none, 1, anywhere},
	{"send to dedup", 2, none, 0, anywhere},
	{"send to plain", 1, none, 0, anywhere},
	{"send to nowhere", 2, none, 0, anywhere},
	{"send too much", 1, none, 0, anywhere},
	{"branches", 5, none, 1, anywhere},
	{"call", 3, none, 1, anywhere},
	{"start", 4, none, 1, anywhere},
	{"start with an id", 2, none, 1, anywhere},
	{"start another with the same id", 1, none, 1, anywhere},
	{"start and leave", 2, none, 1, anywhere},
	{"sleep", 6, none, 0, anywhere},
	{"with", 2, none, 1, anywhere},
	{"loop", 3, none, 1, anywhere},
	{"lookup", 2, none, 0, anywhere},
	{"fail", 1, none, 0, anywhere},
	{"panic", 3, Panic, 0, anywhere},
	{"panic for ever", 1, Panic, 0, anywhere},
	{"not now", 4, NotNow, 0, inHandler},
	{"diverge", 1, Diverge, 0, anywhere},
	{"end early", 1, Diverge, 0, anywhere},
}

// author writes programs.
type author struct {
	w       *World
	r       *rand.Rand
	handler bool
}

// program returns the program of the execution called name. It is the same whenever it is asked for.
func (w *World) program(name string, depth int, handler bool) *program {
	a := &author{w, w.luck.draw("program", name, depth), handler}
	p := &program{ops: a.ops("", depth, w.cfg.Ops), status: 200}
	switch n := a.r.IntN(100); {
	case n < 8:
		p.status, p.fails = []int{400, 404, 409, 500}[a.r.IntN(4)], true
	case n < 20:
		p.status = 201
	}
	return p
}

// ops writes at most most operations, at least one.
func (a *author) ops(path string, depth, most int) []*op {
	list := make([]*op, 1+a.r.IntN(max(1, most)))
	for i := range list {
		list[i] = a.op(strings.TrimPrefix(path+"."+strconv.Itoa(i), "."), depth, most)
	}
	return list
}

func (a *author) op(path string, depth, most int) *op {
	c := a.choose(depth)
	o := &op{kind: c.kind, path: path, n: a.r.IntN(1000), d: spread(a.r, 20*time.Millisecond, 20*time.Second)}
	hosts := a.w.hosts()
	o.host, o.route = hosts[a.r.IntN(len(hosts))], routes[a.r.IntN(len(routes))]
	switch c.kind {
	case "sleep":
		if a.r.IntN(6) == 0 {
			o.d = spread(a.r, time.Minute, 15*time.Minute)
		}
	case "branches":
		for i := range 2 + a.r.IntN(2) {
			o.sub = append(o.sub, a.ops(path+"."+strconv.Itoa(i), depth-1, most/3))
		}
	case "call", "with":
		o.sub = [][]*op{a.ops(path, depth-1, most/2)}
	case "loop":
		o.sub = [][]*op{a.ops(path+".r", depth-1, most/3)}
	}
	return o
}

// choose returns a kind of operation for which there is depth enough left.
func (a *author) choose(depth int) *choice {
	sum := 0
	for try := 0; try < 2; try++ {
		n := -1
		if try == 1 {
			n = a.r.IntN(sum)
		}
		for i := range choices {
			c := &choices[i]
			if c.fault != none && !a.w.has(c.fault) || c.deep > depth || c.place == inHandler && !a.handler {
				continue
			}
			if try == 0 {
				sum += c.weight
			} else if n -= c.weight; n < 0 {
				return c
			}
		}
	}
	panic("sim: nothing to choose from")
}
