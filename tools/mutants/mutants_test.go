package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.."

func bugsOf(t *testing.T) []*mutant {
	t.Helper()
	sub, err := fs.Sub(bugs, "bugs")
	if err != nil {
		t.Fatal(err)
	}
	list, err := load(sub)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEveryBugApplies(t *testing.T) {
	for _, m := range bugsOf(t) {
		if _, err := m.apply(os.DirFS(root)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func TestEveryInvariantIsBrokenTwice(t *testing.T) {
	n := map[string]int{}
	for _, m := range bugsOf(t) {
		for _, b := range m.breaks {
			n[b]++
		}
	}
	for i := 1; i <= 10; i++ {
		if inv := fmt.Sprint("I", i); n[inv] < 2 {
			t.Errorf("%s is broken by %d bugs, want two or more", inv, n[inv])
		}
	}
}

func TestEveryFaultOfTheModelIsPlanted(t *testing.T) {
	const page = "docs/model/README.md"
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	planted := map[string]bool{}
	for _, m := range bugsOf(t) {
		planted[m.row] = true
	}
	_, table, _ := strings.Cut(string(text), "| row | test |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := 0
	for l := range strings.Lines(table) {
		row, test, _ := strings.Cut(strings.Trim(l, "| \n"), " | ")
		if !strings.HasPrefix(row, "N") || strings.HasPrefix(test, "none") {
			continue
		}
		rows++
		if !planted[row] {
			t.Errorf("%s has the row %s, for which there is no bug", page, row)
		}
	}
	if rows < 20 {
		t.Errorf("%s has %d rows with tests, want 20 or more", page, rows)
	}
}

const example = `Replies are
made up.
breaks: I3 S6
row: N8b
file: x/a.go
test: x TestA|TestB
test: . TestC
-- old --
	a

	b
-- new --
	c
`

func TestABugIsReadAndPlanted(t *testing.T) {
	m, err := parse("made-up", example)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%+v", *m)
	want := "{name:made-up what:Replies are made up. breaks:[I3 S6] row:N8b file:x/a.go tests:[{dir:x pattern:TestA|TestB} {dir:. pattern:TestC}] old:\ta\n\n\tb new:\tc}"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for text, want := range map[string]string{
		"(\n\ta\n\n\tb\n)":           "(\n\tc\n)",
		"(\n\ta\n\tb\n)":             "it no longer applies: x/a.go has the old text 0 times",
		"(\n\ta\n\n\tb\n\ta\n\n\tb)": "it no longer applies: x/a.go has the old text 2 times",
	} {
		got, err := m.apply(fstest.MapFS{"x/a.go": {Data: []byte(text)}})
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestABugInErrorIsRefused(t *testing.T) {
	for name, change := range map[string][2]string{
		"no sentence":       {"Replies are\nmade up.\n", ""},
		"no end of it":      {"made up.", "made up"},
		"no invariant":      {"I3 S6", "S6"},
		"an odd rule":       {"I3 S6", "I3 X6"},
		"no file":           {"file: x/a.go\n", ""},
		"no test":           {"test: x TestA|TestB\ntest: . TestC\n", ""},
		"no pattern":        {"test: . TestC", "test: ."},
		"a bad pattern":     {"TestC", "Test("},
		"no old text":       {"-- old --", ""},
		"no new text":       {"-- new --", ""},
		"nothing is new":    {"\tc\n", "\ta\n\n\tb\n"},
		"empty is the old":  {"\ta\n\n\tb\n", "\n"},
		"an unknown field":  {"row: N8b", "raw: N8b"},
		"a sentence astray": {"row: N8b", "N8b"},
	} {
		text := strings.Replace(example, change[0], change[1], 1)
		if m, err := parse("x", text); err == nil {
			t.Errorf("%s: got %+v, want an error", name, *m)
		}
	}
}

func TestOnlyATestThatFailsFindsABug(t *testing.T) {
	exit := errors.New("exit status 1")
	for _, c := range []struct {
		name, output string
		err          error
		by, why      string
	}{
		{"a test fails", "--- FAIL: TestA (0.00s)\n    a_test.go:1: oh\nFAIL\n", exit, "TestA", ""},
		{"a subtest fails", "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        --- FAIL: TestA/b/c (0.00s)\n            a_test.go:1: oh\nFAIL\n", exit, "TestA/b/c", ""},
		{"a test panics", "--- FAIL: TestA (0.00s)\npanic: oh [recovered]\n", exit, "TestA", ""},
		{"a goroutine is left over", "PASS\ngoleak: Errors on successful test run: found unexpected goroutines\n", exit, "goleak, in TestMain", ""},
		{"none fails", "ok  \tx\t0.1s\n", nil, "", survived},
		{"none runs", "ok  \tx\t0.1s [no tests to run]\n", nil, "", "there are no such tests"},
		{"they hang", "panic: test timed out after 1m0s\n", exit, "", "the tests hang"},
		{"one fails, and they hang", "--- FAIL: TestA (0.00s)\npanic: test timed out after 1m0s\n", exit, "", "the tests hang"},
		{"it does not compile", "# x\n./a.go:1:1: oh\nFAIL\tx [build failed]\n", exit, "", "it does not compile"},
		{"another goroutine panics", "panic: oh\n\ngoroutine 7 [running]:\n", exit, "", "the tests break down: exit status 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if by, why := judge(c.output, c.err); by != c.by || why != c.why {
				t.Errorf("got %q, %q, want %q, %q", by, why, c.by, c.why)
			}
		})
	}
}
