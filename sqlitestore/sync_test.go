//go:build linux && (amd64 || arm64)

package sqlitestore_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/certifiedhttp/chttp/internal/torture/drive"
	"github.com/certifiedhttp/chttp/store"
)

// TestAFailedSyncOfTheFileIsNotForgotten: SQLite does not sync what it writes back up to where a reader is, and when a later sync fails, it
// does not write that again; the sync after it says that all is well, and the log is overwritten.
func TestAFailedSyncOfTheFileIsNotForgotten(t *testing.T) {
	if err := drive.Usable(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	d, err := drive.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "node.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), partialEnv+"="+path, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(cmd); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "partial" {
		t.Fatalf("it says %q", lines.Text())
	}
	d.Arm(drive.Fault{Op: drive.Sync, Suffix: ".db", Times: 1, Errno: syscall.EIO})
	fmt.Fprintln(stdin)
	lines.Scan()
	said, closed := 0, false
	if _, err := fmt.Sscan(lines.Text(), &said, &closed); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cmd.Wait(), d.Err()); err != nil {
		t.Fatal(err)
	}
	if d.Lift() == 0 {
		t.Fatal("no sync failed")
	}
	if !closed {
		t.Error("the store goes on after a sync of the file failed")
	}
	if _, err := d.LosePower(rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	check(t, s)
	if records, err := s.List(ctx, store.Query{}); err != nil || len(records) != said {
		t.Errorf("%d records of %d that were said to be stored, %v", len(records), said, err)
	}
}
