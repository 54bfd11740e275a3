package chttptest

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// grace is how long a run that took too long is given to end by itself.
const grace = 2 * time.Second

// bubble runs f in a bubble of its own and waits for its end, by the real clock no longer than patience; then late is called, and what still
// does not end is left alone. The error says what did not end.
func bubble(t *testing.T, patience time.Duration, late func(), f func(t *testing.T)) error {
	done := make(chan error, 1)
	header := make(chan string, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%v", p)
			}
		}()
		synctest.Test(t, func(t *testing.T) {
			header <- bubbleOf(goroutineHeader())
			f(t)
		})
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return leftover(err, header)
	case <-timer.C:
	}
	late()
	stacks := allStacks()
	timer.Reset(grace)
	select {
	case err := <-done:
		return leftover(err, header)
	case <-timer.C:
	}
	return fmt.Errorf("after %v it has not ended:%s", patience, blockedIn(stacks, <-header))
}

// leftover names the goroutines that the bubble's end waited for in vain.
func leftover(err error, header chan string) error {
	if err == nil || !strings.Contains(err.Error(), "deadlock") {
		return err
	}
	select {
	case h := <-header:
		return fmt.Errorf("goroutines are left when it has ended:%s", blockedIn(allStacks(), h))
	default:
		return err
	}
}

// allStacks returns the stacks of all goroutines.
func allStacks() []stack {
	b := make([]byte, 1<<16)
	for {
		n := runtime.Stack(b, true)
		if n < len(b) {
			return parseStacks(b[:n])
		}
		b = make([]byte, 2*len(b))
	}
}

// goroutineHeader returns the first line of this goroutine's stack.
func goroutineHeader() string {
	b := make([]byte, 256)
	line, _, _ := strings.Cut(string(b[:runtime.Stack(b, false)]), "\n")
	return line
}

// bubbleOf returns "synctest bubble N" of a stack's first line, or "".
func bubbleOf(header string) string {
	i := strings.Index(header, "synctest bubble ")
	if i < 0 {
		return ""
	}
	return strings.TrimRight(header[i:], "]:")
}

// stack is that of one goroutine.
type stack struct {
	id      string
	state   string // "running", "sync.Mutex.Lock"
	bubble  string
	frames  []frame // the innermost first
	creator string  // "pkg.function in goroutine 7"
}

// frame is a function on a stack, and its line.
type frame struct{ function, line string }

func parseStacks(b []byte) (all []stack) {
	for text := range bytes.SplitSeq(b, []byte("\n\n")) {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		head, ok := strings.CutPrefix(lines[0], "goroutine ")
		if !ok {
			continue
		}
		s := stack{bubble: bubbleOf(head)}
		s.id, head, _ = strings.Cut(head, " ")
		s.state, _, _ = strings.Cut(strings.Trim(head, "[]: "), ",")
		for i := 1; i+1 < len(lines); i += 2 {
			at, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
			if by, ok := strings.CutPrefix(lines[i], "created by "); ok {
				s.creator = by
				continue
			}
			function := lines[i]
			if cut := strings.LastIndex(function, "("); cut > 0 {
				function = function[:cut]
			}
			s.frames = append(s.frames, frame{function, at})
		}
		all = append(all, s)
	}
	return all
}

// user returns the innermost frame of the stack that is not of the standard library or of this module, if there is one.
func (s *stack) user() (frame, bool) {
	for _, f := range s.frames {
		if !ownFrame(f.function) && !stdFile(f.line) {
			return f, true
		}
	}
	return frame{}, false
}

// ownFrame tells whether a function is of chttp or of this package.
func ownFrame(function string) bool {
	return strings.HasPrefix(function, module+".") || strings.HasPrefix(function, module+"/chttptest.")
}

// stdFile tells whether a file is of the standard library.
func stdFile(file string) bool {
	if stdRoot != "" {
		return strings.HasPrefix(file, stdRoot)
	}
	first, _, _ := strings.Cut(file, "/") // built with -trimpath
	return !strings.Contains(first, ".")
}

// stdRoot is where the standard library's source was when this was built.
var stdRoot = func() string {
	file, _ := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer()).FileLine(0)
	return strings.TrimSuffix(file, "strings/strings.go")
}()

// module is the path of this module.
const module = "github.com/certifiedhttp/chttp"

// blockedIn lists the goroutines of a bubble that are in the test's code.
func blockedIn(all []stack, of string) string {
	var b strings.Builder
	for _, s := range all {
		if s.bubble != of || of == "" {
			continue
		}
		if f, ok := s.user(); ok {
			fmt.Fprintf(&b, "\n  %s in %s, at %s", s.state, short(f.function), shortLine(f.line))
		}
	}
	if b.Len() == 0 {
		return " no goroutine of it is in the test's code"
	}
	return b.String()
}

// short cuts the path before a function's package.
func short(function string) string { return function[strings.LastIndex(function, "/")+1:] }

// inTransaction tells whether this goroutine has begun a transaction of database/sql that has not ended.
func inTransaction() bool {
	const begin = "database/sql.(*DB).beginDC in goroutine " // It starts what waits for the transaction's end.
	mine := begin + goroutineID()
	return slices.ContainsFunc(allStacks(), func(s stack) bool { return s.creator == mine })
}
