package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// mutant is a bug to be planted: one text of one file, replaced by another.
type mutant struct {
	name   string
	what   string   // what it breaks, in a sentence
	breaks []string // invariants, and rules of the protocol
	row    string   // of docs/model, if it is the fault of one
	file   string   // from the root of the repository
	tests  []suite  // that are expected to find it, in the order in which they are tried
	old    string
	new    string
}

// suite is tests of one package.
type suite struct {
	dir     string // of the package, from the root of the repository
	pattern string // of go test -run
}

// load reads the mutants of a directory: one a file, named for it.
func load(fsys fs.FS) ([]*mutant, error) {
	names, err := fs.Glob(fsys, "*.txtar")
	if err != nil {
		return nil, err
	}
	list := make([]*mutant, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		m, err := parse(strings.TrimSuffix(path.Base(name), ".txtar"), string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, m)
	}
	return list, nil
}

var known = regexp.MustCompile(`^([ICAS][0-9]+)$`)

// parse reads a mutant: a sentence, then lines of a field each, then the old text and the new one.
//
//	A run that was forgotten is gone on with.
//	breaks: I2 S4
//	row: N6b
//	file: memstore/commit.go
//	test: . TestModelN6b
//	-- old --
//	r.Run != c.Run
//	-- new --
//	false
func parse(name, text string) (*mutant, error) {
	m := &mutant{name: name}
	head, rest, ok := strings.Cut(text, "\n-- old --\n")
	old, replacement, cut := strings.Cut(rest, "\n-- new --\n")
	if !ok || !cut {
		return nil, errors.New("it has no old text, or no new one")
	}
	m.old, m.new = old, strings.TrimSuffix(replacement, "\n")
	for line := range strings.Lines(head + "\n") {
		field, value, isField := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case isField && field == "breaks":
			m.breaks = strings.Fields(value)
		case isField && field == "row":
			m.row = value
		case isField && field == "file":
			m.file = value
		case isField && field == "test":
			dir, pattern, _ := strings.Cut(value, " ")
			m.tests = append(m.tests, suite{dir, pattern})
		default:
			m.what = strings.TrimSpace(m.what + " " + strings.TrimSpace(line))
		}
	}
	return m, m.validate()
}

func (m *mutant) validate() error {
	switch {
	case m.what == "" || !strings.HasSuffix(m.what, "."):
		return errors.New("it does not say in a sentence what it breaks")
	case len(m.breaks) == 0 || !strings.HasPrefix(m.breaks[0], "I"):
		return errors.New("it names no invariant first")
	case m.file == "" || len(m.tests) == 0:
		return errors.New("it names no file, or no test")
	case m.old == m.new || m.old == "":
		return errors.New("it changes nothing")
	}
	for _, b := range m.breaks {
		if !known.MatchString(b) {
			return fmt.Errorf("%q is no invariant and no rule", b)
		}
	}
	for _, s := range m.tests {
		if _, err := regexp.Compile(s.pattern); err != nil || s.pattern == "" {
			return fmt.Errorf("the pattern of its tests, %q: %w", s.pattern, err)
		}
	}
	return nil
}

// apply returns the file with the bug in it.
func (m *mutant) apply(fsys fs.FS) (string, error) {
	src, err := fs.ReadFile(fsys, m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(src), m.old); n != 1 {
		return "", fmt.Errorf("it no longer applies: %s has the old text %d times", m.file, n)
	}
	return strings.Replace(string(src), m.old, m.new, 1), nil
}
