package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain makes the test binary the command itself, for scripts and for the processes of the demonstration. The tests fail when a
// goroutine of theirs is left over (I9).
func TestMain(m *testing.M) {
	testscript.Main(unleaked{m}, map[string]func(){"chttp": main, "serve": serveMain})
}

// unleaked is tests that leave no goroutine behind.
type unleaked struct{ *testing.M }

// Run runs the tests and then looks for what they have left.
func (u unleaked) Run() int {
	code := u.M.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goleak:", err)
			code = 1
		}
	}
	return code
}
