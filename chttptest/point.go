package chttptest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// site is the place of an operation. Places are the same in every run, whatever goes on beside.
type site struct {
	key   store.Key // of the execution
	scope string
	seq   int // none: the execution itself, or a message that was sent and forgotten
}

// none is the seq of what is not an operation.
const none = -1

// moment is when a process dies: at an operation, at a request, or at an outcome.
type moment string

// The moments, in their order.
const (
	momentAsked        moment = "asked"
	momentBegun        moment = "begun"
	momentBegunDurable moment = "begun-durable"
	momentRequestLost  moment = "request-lost"
	momentAnswerLost   moment = "answer-lost"
	momentDone         moment = "done"
	momentRecorded     moment = "recorded"
	momentDurable      moment = "durable"
	momentEnded        moment = "ended"
	momentEndedDurable moment = "ended-durable"
)

// momentText says of each moment where the process died; %s is the operation.
var momentText = map[moment]string{
	momentAsked:        "when %s was about to begin",
	momentBegun:        "after the beginning of %s was recorded, before that was durable",
	momentBegunDurable: "after the beginning of %s was durable",
	momentRequestLost:  "after the request of %s was sent, before the peer got it",
	momentAnswerLost:   "after the peer had done the work of %s, before the answer came",
	momentDone:         "after %s was done, before that was recorded",
	momentRecorded:     "after %s was recorded, before that was durable",
	momentDurable:      "after %s was durable",
	momentEnded:        "when the outcome of %s was about to be stored",
	momentEndedDurable: "after the outcome of %s was durable",
}

// point is where a process dies.
type point struct {
	site
	moment
}

// rootID is the id of the execution that is proved.
const rootID = "chttptest-resumes-execution"

// String is how Options.Only names the point.
func (p point) String() string {
	var b strings.Builder
	if p.key.ID != rootID {
		if p.key.Scope != "" {
			b.WriteString(p.key.Scope + "|")
		}
		b.WriteString(p.key.ID + "!")
	}
	b.WriteString(p.scope)
	if p.seq != none {
		fmt.Fprintf(&b, "#%d", p.seq)
	}
	return b.String() + "." + string(p.moment)
}

// parsePoint reads what String wrote.
func parsePoint(s string) (point, error) {
	p := point{site: site{key: store.Key{ID: rootID}, seq: none}}
	dot := strings.LastIndex(s, ".")
	if dot < 0 || momentText[moment(s[dot+1:])] == "" {
		return p, fmt.Errorf("%q names no moment", s)
	}
	rest := s[:dot]
	p.moment = moment(s[dot+1:])
	if key, after, ok := strings.Cut(rest, "!"); ok {
		rest, p.key.ID = after, key
		if scope, id, ok := strings.Cut(key, "|"); ok {
			p.key = store.Key{Scope: scope, ID: id}
		}
	}
	if hash := strings.LastIndex(rest, "#"); hash >= 0 {
		n, err := strconv.Atoi(rest[hash+1:])
		if err != nil {
			return p, fmt.Errorf("%q names no operation", s)
		}
		p.scope, p.seq = rest[:hash], n
	}
	return p, nil
}

// pointSeparator stands between the points of one run.
const pointSeparator = " + "

func planText(plan []point) string {
	list := make([]string, len(plan))
	for i, p := range plan {
		list[i] = p.String()
	}
	return strings.Join(list, pointSeparator)
}

func parsePlan(s string) (plan []point, err error) {
	for _, text := range strings.Split(s, pointSeparator) {
		p, err := parsePoint(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		plan = append(plan, p)
	}
	return plan, nil
}

// momentsOf returns the moments of an operation at which a process can die, as the undisturbed run made it.
func momentsOf(op *operation) []moment {
	m := []moment{momentAsked}
	if op.begin == nil {
		return m // It never came to anything.
	}
	if op.begin.Phase == record.Begin {
		m = append(m, momentBegun, momentBegunDurable)
		if op.kind == record.Call {
			m = append(m, momentRequestLost, momentAnswerLost)
		}
	}
	if op.end == nil {
		return m
	}
	switch op.kind {
	case record.Branch, record.Function, record.Sleep, record.Step, record.Persist, record.Call, record.Wait:
		m = append(m, momentDone)
	}
	return append(m, momentRecorded, momentDurable)
}
