package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// runner runs tests with a bug planted.
type runner struct {
	root    string // of the repository
	temp    string
	verbose bool
}

// verdict is what became of a bug.
type verdict struct {
	mutant *mutant
	by     string // the test that found it; "" when none did
	why    string // it was not found
	output string // of the tests
	took   time.Duration
}

// line is the verdict in the table.
func (v *verdict) line() string {
	if v.by == "" {
		return "NOT FOUND: " + v.why
	}
	return v.by
}

// testTimeout is how long the tests of one bug may take: those that do not hang take seconds.
const testTimeout = time.Minute

// goTest runs tests and returns what they said.
func (r *runner) goTest(args ...string) (output string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// Most of the time goes into compiling, which is a third faster without optimization.
	always := []string{"test", "-vet=off", "-gcflags=-N -l", "-timeout", testTimeout.String()}
	cmd := exec.CommandContext(ctx, "go", append(always, args...)...)
	cmd.Dir = r.root
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// healthy runs the tests of the bugs with no bug planted: what fails then finds nothing.
func (r *runner) healthy(list []*mutant) error {
	patterns := map[string][]string{}
	for _, m := range list {
		for _, s := range m.tests {
			if !slices.Contains(patterns[s.dir], s.pattern) {
				patterns[s.dir] = append(patterns[s.dir], s.pattern)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(patterns)) {
		if output, err := r.goTest("-run", strings.Join(patterns[dir], "|"), "./"+dir); err != nil {
			return fmt.Errorf("the tests of %s fail with no bug planted: %w\n%s", dir, err, output)
		}
	}
	return nil
}

// plant runs the tests of a bug with it planted.
func (r *runner) plant(m *mutant) verdict {
	began := time.Now()
	v := verdict{mutant: m}
	overlay, err := r.overlay(m)
	if err != nil {
		v.why = err.Error()
		return v
	}
	for _, s := range m.tests {
		output, err := r.goTest("-count=1", "-failfast", "-overlay", overlay, "-run", s.pattern, "./"+s.dir)
		v.output += output
		if v.by, v.why = judge(output, err); v.by != "" || v.why != survived {
			break
		}
	}
	v.took = time.Since(began)
	return v
}

// overlay writes the file with the bug, and what tells go test to take it for the one in the repository.
func (r *runner) overlay(m *mutant) (name string, err error) {
	src, err := m.apply(os.DirFS(r.root))
	if err != nil {
		return "", err
	}
	changed := filepath.Join(r.temp, m.name+".go")
	if err := os.WriteFile(changed, []byte(src), 0o600); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(r.root, filepath.FromSlash(m.file)): changed}})
	if err != nil {
		return "", err
	}
	name = filepath.Join(r.temp, m.name+".json")
	return name, os.WriteFile(name, b, 0o600)
}

// survived is why a bug was not found where all tests pass.
const survived = "all tests pass"

// failed matches the failure of a test, and of the first of its subtests and theirs.
var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)[^\n]*(?:\n {4}--- FAIL: (\S+)[^\n]*)?(?:\n {8}--- FAIL: (\S+))?`)

// judge tells from the output of the tests, and how they ended, which of them found the bug, or why none did.
func judge(output string, err error) (by, why string) {
	test := failed.FindStringSubmatch(output)
	switch {
	case strings.Contains(output, "[no tests to run]"):
		return "", "there are no such tests"
	case err == nil:
		return "", survived
	case strings.Contains(output, "[build failed]") || strings.Contains(output, "[setup failed]"):
		return "", "it does not compile"
	case strings.Contains(output, "panic: test timed out"):
		return "", "the tests hang"
	case test != nil:
		return cmp.Or(test[3], test[2], test[1]), ""
	case strings.Contains(output, "goleak: "):
		return "goleak, in TestMain", ""
	}
	return "", "the tests break down: " + err.Error()
}
