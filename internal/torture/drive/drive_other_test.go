//go:build !linux || !(amd64 || arm64)

package drive

import (
	"os"
	"testing"
)

func TestDrive(t *testing.T) {
	if os.Getenv("CI") != "" {
		t.Fatal("the tests with real processes and drives need Linux on amd64 or arm64")
	}
	t.Skip("a drive needs Linux on amd64 or arm64")
}
