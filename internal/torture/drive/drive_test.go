//go:build linux && (amd64 || arm64)

package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/certifiedhttp/chttp/internal/torture/drive"
)

// scriptEnv makes the test binary do what it says: see script.
const scriptEnv = "DRIVE_TEST_SCRIPT"

func TestMain(m *testing.M) {
	if words := os.Getenv(scriptEnv); words != "" {
		script(strings.Fields(words))
	}
	os.Exit(m.Run())
}

// script does to the file "f" what words say, each in a thread of its own, and prints what became of each.
func script(words []string) {
	f, err := os.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	for i, word := range words {
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			switch page := int64(word[len(word)-1]-'0') * 4096; word[:len(word)-1] {
			case "sync":
				err = f.Sync()
			case "read":
				_, err = f.ReadAt(make([]byte, 4096), page)
			case "cut":
				err = f.Truncate(page)
			default: // a page of this letter
				_, err = f.WriteAt(bytes.Repeat([]byte{word[0]}, 4096), page)
			}
			fmt.Println(i, err)
		})
		wg.Wait()
	}
	os.Exit(0)
}

// run runs a script on the drive of dir and returns what it printed.
func run(t *testing.T, d *drive.Drive, dir, words string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), scriptEnv+"="+words, "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := d.Start(cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	} else if err != nil {
		fmt.Fprintln(&out, exit.Sys().(syscall.WaitStatus).Signal())
	}
	if err := d.Err(); err != nil {
		t.Error(err)
	}
	return out.String()
}

func newDrive(t *testing.T) (d *drive.Drive, dir string) {
	t.Helper()
	if err := drive.Usable(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir = t.TempDir()
	d, err := drive.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

// pages returns the letter of each page of the file, upper case where it is not all of one.
func pages(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	var s []byte
	for ; len(b) > 0; b = b[min(len(b), 4096):] {
		letter := b[0]
		if !bytes.Equal(b[:min(len(b), 4096)], bytes.Repeat([]byte{letter}, 4096)) {
			letter = 'T'
		}
		if letter == 0 {
			letter = '0'
		}
		s = append(s, letter)
	}
	return string(s)
}

func TestAFaultBefallsTheNthCallOfAllThreads(t *testing.T) {
	for _, c := range []struct {
		fault drive.Fault
		want  string
		pages string
	}{
		{drive.Fault{Op: drive.Sync, First: 2, Times: 1, Errno: syscall.EIO}, "0 ok 1 ok 2 ok 3 EIO 4 ok 5 ok", "xy"},
		{drive.Fault{Op: drive.Write, First: 2, Errno: syscall.ENOSPC}, "0 ok 1 ok 2 ENOSPC 3 ok 4 EOF 5 ok", "x"},
		{drive.Fault{Op: drive.Write, First: 2, Errno: syscall.ENOSPC, Half: true}, "0 ok 1 ok 2 ENOSPC 3 ok 4 EOF 5 ok", "xT"},
		{drive.Fault{Op: drive.Read, Errno: syscall.EIO, Suffix: "f"}, "0 ok 1 ok 2 ok 3 ok 4 EIO 5 ok", "xy"},
		{drive.Fault{Op: drive.Read, Errno: syscall.EIO, Suffix: "g"}, "0 ok 1 ok 2 ok 3 ok 4 ok 5 ok", "xy"},
		{drive.Fault{Op: drive.Sync, First: 2}, "0 ok 1 ok 2 ok killed", "xy"},
		{drive.Fault{Op: drive.Write, First: 2}, "0 ok 1 ok killed", "x"},
		{drive.Fault{Op: drive.Write, First: 2, Half: true}, "0 ok 1 ok killed", "xT"},
	} {
		d, dir := newDrive(t)
		d.Arm(c.fault)
		got := run(t, d, dir, "x0 sync0 y1 sync0 read1 sync0")
		r := strings.NewReplacer("<nil>", "ok", "\n", " ", "write f: ", "", "read f: ", "", "sync f: ", "",
			"input/output error", "EIO", "no space left on device", "ENOSPC")
		if got = strings.TrimSpace(r.Replace(got)); got != c.want {
			t.Errorf("%v: got %q, want %q", &c.fault, got, c.want)
		}
		if got := pages(t, dir); got != c.pages {
			t.Errorf("%v: pages %q, want %q", &c.fault, got, c.pages)
		}
		if hits := d.Lift(); (hits > 0) == (c.fault.Suffix == "g") {
			t.Errorf("%v: %d hits", &c.fault, hits)
		}
	}
}

// TestWithoutPowerTheMediumIsLeft runs scripts, loses power many times over, and collects what was left.
func TestWithoutPowerTheMediumIsLeft(t *testing.T) {
	for _, c := range []struct {
		script string
		fault  drive.Fault
		want   string // what may be left, and is, of some power cut
	}{
		{script: "x0 y1 sync0", want: "xy"},
		{script: "x0 sync0 y0", want: "x y T"},
		{script: "x0 sync0 y1", want: "x xy xT"},
		{script: "x0 y1 sync0 cut1", want: "x xy"},
		{script: "x0 y1 sync0 cut0 z0 sync0", want: "z"},
		// What a sync could not write is lost, although the next one says that all is well; unless it is written again.
		{script: "x0 sync0 y0 sync0 sync0", fault: drive.Fault{Op: drive.Sync, First: 2, Times: 1, Errno: syscall.EIO}, want: "x"},
		{script: "x0 sync0 y0 sync0 z0 sync0", fault: drive.Fault{Op: drive.Sync, First: 2, Times: 1, Errno: syscall.EIO}, want: "z"},
	} {
		seen := make(map[string]bool)
		for seed := range uint64(30) {
			d, dir := newDrive(t)
			if c.fault.Errno != 0 {
				d.Arm(c.fault)
			}
			run(t, d, dir, c.script)
			if _, err := d.LosePower(rand.New(rand.NewPCG(1, seed))); err != nil {
				t.Fatal(err)
			}
			left := pages(t, dir)
			seen[left] = true
			if !strings.Contains(" "+c.want+" ", " "+left+" ") {
				t.Errorf("%s: %q is left, want one of %q", c.script, left, c.want)
			}
			if seed > 5 && len(seen) == len(strings.Fields(c.want)) || c.want == left {
				break // that was all of them
			}
		}
		for _, want := range strings.Fields(c.want) {
			if !seen[want] {
				t.Errorf("%s: %q was never left", c.script, want)
			}
		}
	}
}

func TestADriveHasRoomForSoMuch(t *testing.T) {
	d, dir := newDrive(t)
	d.Limit(2*4096 + 100)
	if got, want := run(t, d, dir, "x0 x1 x2 y0"), "2 write f: no space left on device\n"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := pages(t, dir); got != "yx" {
		t.Errorf("pages %q, want yx", got)
	}
	d.Limit(3 * 4096)
	run(t, d, dir, "x2")
	if got := pages(t, dir); got != "yxx" {
		t.Errorf("pages %q, want yxx", got)
	}
}
