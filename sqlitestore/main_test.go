package sqlitestore_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a goroutine is left over (I9).
func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		victim(path)
	}
	if path := os.Getenv(partialEnv); path != "" {
		if err := partial(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Each check of the model opens stores on disk; -rapid.checks asks for more.
	flag.Set("rapid.checks", "40")
	goleak.VerifyTestMain(m)
}
