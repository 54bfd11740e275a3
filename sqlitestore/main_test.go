package sqlitestore_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a goroutine is left over (I9).
func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		victim(path)
	}
	// Each check of the model opens stores on disk; -rapid.checks asks for more.
	flag.Set("rapid.checks", "40")
	goleak.VerifyTestMain(m)
}
