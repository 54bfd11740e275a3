// Package quickstart_test proves the README: its code is the code beside this file, and its session is what really happens.
package quickstart_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	readme = "../../README.md"

	// address is where the server of the README listens; tests put it elsewhere.
	address = "localhost:8080"
)

func TestReadmeShowsThePrograms(t *testing.T) {
	blocks := fenced(t, "go")
	for _, program := range []string{"server", "client"} {
		src := read(t, filepath.Join(program, "main.go"))
		_, body, ok := strings.Cut(src, "\n)\n\n") // behind the imports
		if !ok {
			t.Fatalf("%s: found no imports", program)
		}
		if !slices.Contains(blocks, body) {
			t.Errorf("README.md has no block that equals what %s/main.go has behind its imports", program)
		}
	}
}

func TestReadmeSessionIsWhatHappens(t *testing.T) {
	dir, at := t.TempDir(), freeAddress(t)
	build(t, dir, "server", at)

	// Every line of the session that begins with $ is a command; what follows it is what it prints.
	var script, want strings.Builder
	for line := range strings.Lines(fenced(t, "console")[0]) {
		if cmd, ok := strings.CutPrefix(line, "$ "); ok {
			script.WriteString(strings.ReplaceAll(cmd, address, at))
			continue
		}
		want.WriteString(line)
	}
	got := string(run(t, dir, "bash", "-c", "trap 'kill -9 $!' EXIT\n"+script.String()))
	if got, want := orders(got), orders(want.String()); got != want {
		t.Errorf("README.md's session\n%s\nwant\n%s", got, want)
	}
}

func TestReadmeClientBuysOnceThoughStartedTwice(t *testing.T) {
	dir, at := t.TempDir(), freeAddress(t)
	build(t, dir, "server", at)
	build(t, dir, "client", at)
	start(t, dir, at)
	var receipts []string
	for range 2 {
		receipts = append(receipts, string(run(t, dir, filepath.Join(dir, "bin", "client"))))
	}
	if receipts[0] != receipts[1] || !strings.HasSuffix(receipts[0], ": a lamp\n") {
		t.Errorf("got receipts %q, want one receipt for a lamp, twice", receipts)
	}
}

var number = regexp.MustCompile(`order \d+`)

// orders names the orders of text by when they appear first: their numbers are random.
func orders(text string) string {
	var seen []string
	return number.ReplaceAllStringFunc(text, func(n string) string {
		if !slices.Contains(seen, n) {
			seen = append(seen, n)
		}
		return "order " + string(rune('A'+slices.Index(seen, n)))
	})
}

// fenced returns the README's blocks of a language.
func fenced(t *testing.T, lang string) (blocks []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+lang+"\n(.*?)^```$").FindAllStringSubmatch(read(t, readme), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no block of %s", lang)
	}
	return blocks
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// build makes dir/bin/program, of the program's source with another address.
func build(t *testing.T, dir, program, at string) {
	t.Helper()
	src, err := filepath.Abs(filepath.Join(program, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(dir, program+".go")
	write(t, moved, []byte(strings.ReplaceAll(read(t, src), address, at)))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{src: moved}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), overlay)
	run(t, ".", "go", "build", "-buildvcs=false", "-overlay", filepath.Join(dir, "overlay.json"),
		"-o", filepath.Join(dir, "bin", program), "./"+program)
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the server until the test ends, and returns when it answers.
func start(t *testing.T, dir, at string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "bin", "server"))
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + at)
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not answer: %v", err)
		}
	}
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Cleanup(func() {
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("%s:\n%s", name, stderr.Bytes())
		}
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}
