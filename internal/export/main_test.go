package export_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a goroutine is left over (I9).
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
