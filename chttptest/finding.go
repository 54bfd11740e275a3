package chttptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// finding is what is wrong with a function, as one run has shown.
type finding struct {
	what
	trial *trial
	died  []point    // the deaths before it
	ref   *operation // of the undisturbed run
	now   *operation
	key   store.Key
	text  string
	line  string
	role  string
}

// what kind a finding is of.
type what int

const (
	foundBroken      what = iota // it cannot be tried
	foundProcess                 // another process does not come to it
	foundEndless                 // it does not end
	foundNobody                  // it calls a host that is no peer
	foundParked                  // it is parked
	foundCrashed                 // it panics
	foundStray                   // an operation is not made on its own goroutine
	foundTransaction             // one is open across an operation
	foundLocked                  // a lock is held across an operation
	foundCoded                   // the codec changes a value
	foundAnother                 // an operation is another
	foundAdded                   // there is one more
	foundLeft                    // there is one less
	foundOtherwise               // an operation begins otherwise
	foundDeadline                // an operation's context has another deadline
	foundIds                     // what it sends or starts has another id
	foundValue                   // a branch or function has another value
	foundOutcome                 // it ends otherwise
	foundWorked                  // the peers had other work
	foundEffects                 // the effects are others
)

// describe names an operation to people.
func (op *operation) describe() string {
	if op.name == "" || op.kind.String() == op.name {
		return op.kind.String()
	}
	return fmt.Sprintf("%s %q", op.kind, op.name)
}

// shortLine cuts what is before the last two parts of a file's path.
func shortLine(line string) string {
	i := strings.LastIndex(line, "/")
	if i < 0 {
		return line
	}
	return line[i+1:]
}

// mostText is how long a value may be where it is shown in a line.
const mostText = 120

func shortText(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\n", " ")
	if utf8.RuneCountInString(s) <= mostText {
		return s
	}
	return string([]rune(s)[:mostText]) + "…"
}

// printable shows bytes to people.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' {
			return '·'
		}
		return r
	}, string(bytes.ToValidUTF8(b, []byte("·"))))
}

// showValue shows what Effects returned.
func showValue(v any) string {
	if b, err := json.Marshal(v); err == nil && string(b) != "{}" {
		return string(b)
	}
	return fmt.Sprintf("%+v", v)
}

func errorText(e *record.Error) string {
	if e == nil {
		return ""
	}
	return e.Text
}

// resultText shows an operation's result.
func resultText(e *record.Entry) string {
	switch {
	case e == nil:
		return ""
	case e.Err != nil:
		return "error: " + e.Err.Text
	case e.Response != nil:
		return fmt.Sprintf("%d %s", e.Response.Status, printable(e.Response.Body))
	}
	return printable(e.Data)
}

// tailText shows an outcome, without when it was.
func tailText(tail []byte) string {
	t, err := record.ParseTail(tail)
	switch {
	case err != nil:
		return err.Error()
	case t.Err != nil:
		return "error: " + t.Err.Text
	case t.Response != nil:
		return fmt.Sprintf("%d %v %s", t.Response.Status, t.Response.Header, printable(t.Response.Body))
	case t.Why != "":
		return t.Why
	}
	return printable(t.Value)
}

func stateText(h *stored) string { return fmt.Sprintf("%s: %s", h.state, tailText(h.tail)) }

// crashedIn leaves out of a panic's text what of its stack is not the user's.
func crashedIn(how string) string {
	var kept []string
	for _, line := range strings.Split(how, "\n") {
		if ownFrame(line) {
			break
		}
		kept = append(kept, strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(kept, "\n")
}

// parkedText is why an execution is parked.
func parkedText(h *stored) string {
	t, err := record.ParseTail(h.tail)
	if err != nil {
		return err.Error()
	}
	return t.Why
}
