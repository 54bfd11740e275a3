package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary the command itself, for scripts and for the processes of the demonstration.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chttp": main, "serve": serveMain})
}
