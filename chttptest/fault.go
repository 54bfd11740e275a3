package chttptest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// FaultKind is a kind of fault.
type FaultKind int

// The kinds of faults. Where a connection breaks, the client has the error of a reset TCP connection, unless the fault is Silent.
const (
	Pass            FaultKind = iota // no fault
	Refuse                           // the connection is refused: nothing leaves the client
	LoseRequest                      // the request never arrives, and the connection breaks
	CutRequest                       // half of the request's body arrives (without one, of its head), and the connection breaks for both
	BadGateway                       // a proxy answers 502 without asking the server
	Double                           // the request arrives a second time; that answer goes nowhere
	LoseAnswer                       // the server does its work and answers, and the connection breaks: the client cannot know
	CutAnswer                        // the client gets half of the answer's body (without one, of its head), and the connection breaks
	BadGatewayAfter                  // the server does its work and answers, and a proxy makes a 502 of it
	kinds                            // how many there are
)

var kindNames = [kinds]string{
	"pass", "refuse", "lose request", "cut request", "bad gateway", "double", "lose answer", "cut answer", "bad gateway after",
}

// String names the kind in words.
func (k FaultKind) String() string {
	if k < 0 || k >= kinds {
		return fmt.Sprintf("FaultKind(%d)", int(k))
	}
	return kindNames[k]
}

// FaultKinds returns all kinds but Pass.
func FaultKinds() []FaultKind {
	var list []FaultKind
	for k := Pass + 1; k < kinds; k++ {
		list = append(list, k)
	}
	return list
}

// Fault is what one request meets. The zero value lets it through.
type Fault struct {
	Kind        FaultKind
	Silent      bool          // of LoseRequest and LoseAnswer: nothing breaks, and the client waits until it gives up
	Delay       time.Duration // of the request: it arrives so much later, also when the client has given up
	AnswerDelay time.Duration // of the answer's beginning
	Again       time.Duration // of Double: the second copy leaves so much after the first. Default: together
}

// String describes the fault.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Kind.String())
	if f.Silent {
		b.WriteString(", silent")
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"delay", f.Delay}, {"answer delay", f.AnswerDelay}, {"again after", f.Again}} {
		if d.d != 0 {
			fmt.Fprintf(&b, ", %s %v", d.name, d.d)
		}
	}
	return b.String()
}

// check panics unless f makes sense.
func (f Fault) check() {
	switch {
	case f.Kind < 0 || f.Kind >= kinds:
		panic(fmt.Sprintf("chttptest: %v is no kind of fault", f.Kind))
	case f.Delay < 0 || f.AnswerDelay < 0 || f.Again < 0:
		panic(fmt.Sprintf("chttptest: a time of the fault is negative: %v", f))
	}
}

// Defaults of Faults.
const (
	defaultMaxDelay = 5 * time.Second
	defaultMaxAgain = time.Minute
)

// Faults are the chances, from 0 to 1, that a request meets a fault. At most one of the first six comes true, so that they must not sum up
// to more than 1; a delay may come in addition. Delays are what reorders concurrent requests, and their answers. The zero value is a
// network without faults.
type Faults struct {
	Refuse      float64
	LoseRequest float64
	LoseAnswer  float64
	Cut         float64 // CutRequest or CutAnswer, with equal chances
	BadGateway  float64 // BadGateway or BadGatewayAfter, with equal chances
	Double      float64 // together, or up to MaxAgain apart, with equal chances

	Silent   float64       // the chance that a loss is silent. A client must give up by itself then
	Delay    float64       // of the request or of its answer, with equal chances
	MaxDelay time.Duration // delays are up to this. Default: 5 s
	MaxAgain time.Duration // see Double. Default: 1 min
}

// EveryFault returns Faults in which every kind of fault has the chance p, at most 1/8. Half of the losses are silent: a client needs a
// timeout.
func EveryFault(p float64) Faults {
	return Faults{
		Refuse: p, LoseRequest: p, LoseAnswer: p, Cut: 2 * p, BadGateway: 2 * p, Double: p,
		Silent: 0.5, Delay: p,
	}
}

// Draw draws what a request meets. For a Script that leaves to chance what it does not decide.
func (f Faults) Draw(r *rand.Rand) Fault {
	drawn := Fault{Kind: f.kind(r.Float64(), r.IntN(2) == 0)}
	switch drawn.Kind {
	case LoseRequest, LoseAnswer:
		drawn.Silent = r.Float64() < f.Silent
	case Double:
		if r.IntN(2) == 0 {
			drawn.Again = upTo(r, f.MaxAgain, defaultMaxAgain)
		}
	}
	if r.Float64() < f.Delay {
		d := upTo(r, f.MaxDelay, defaultMaxDelay)
		if r.IntN(2) == 0 {
			drawn.Delay = d
		} else {
			drawn.AnswerDelay = d
		}
	}
	return drawn
}

// kind returns the kind for a number of [0, 1), and for one of two sides.
func (f Faults) kind(x float64, request bool) FaultKind {
	side := func(first, second FaultKind) FaultKind {
		if request {
			return first
		}
		return second
	}
	for _, chance := range []struct {
		p    float64
		kind FaultKind
	}{
		{f.Refuse, Refuse},
		{f.LoseRequest, LoseRequest},
		{f.LoseAnswer, LoseAnswer},
		{f.Cut, side(CutRequest, CutAnswer)},
		{f.BadGateway, side(BadGateway, BadGatewayAfter)},
		{f.Double, Double},
	} {
		if x < chance.p {
			return chance.kind
		}
		x -= chance.p
	}
	return Pass
}

// upTo returns a duration of (0, most].
func upTo(r *rand.Rand, most, otherwise time.Duration) time.Duration {
	if most == 0 {
		most = otherwise
	}
	return 1 + time.Duration(r.Int64N(int64(most)))
}

// check panics unless f makes sense.
func (f Faults) check() {
	sum := 0.0
	for _, c := range []struct {
		name  string
		p     float64
		oneOf bool
	}{
		{"Refuse", f.Refuse, true},
		{"LoseRequest", f.LoseRequest, true},
		{"LoseAnswer", f.LoseAnswer, true},
		{"Cut", f.Cut, true},
		{"BadGateway", f.BadGateway, true},
		{"Double", f.Double, true},
		{"Silent", f.Silent, false},
		{"Delay", f.Delay, false},
	} {
		if !(c.p >= 0 && c.p <= 1) { // NaN too
			panic(fmt.Sprintf("chttptest: Faults.%s is %v; a chance is between 0 and 1", c.name, c.p))
		}
		if c.oneOf {
			sum += c.p
		}
	}
	switch {
	case sum > 1+1e-9:
		panic(fmt.Sprintf("chttptest: the chances of Faults sum up to %v; only one comes true at a time, so they must not exceed 1", sum))
	case f.MaxDelay < 0:
		panic(fmt.Sprintf("chttptest: Faults.MaxDelay is negative: %v", f.MaxDelay))
	case f.MaxAgain < 0:
		panic(fmt.Sprintf("chttptest: Faults.MaxAgain is negative: %v", f.MaxAgain))
	}
}
