package archtest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// fileName matches the name of a Go file with what stands before it: a slash or a dot makes it another package's, or a pattern.
var fileName = regexp.MustCompile(`[\w./*-]*\b\w+\.go\b`)

// Drawing compares the files of the root package with those that text, which describes them, names. It tells of files that text leaves
// out and of names that stand for no file.
func Drawing(name, text string, files []*File) (bad []Violation) {
	named := map[string]bool{}
	for _, n := range fileName.FindAllString(text, -1) {
		named[n] = true
	}
	there := map[string]bool{}
	for _, f := range shipped(files) {
		there[f.Path] = true
		if f.Dir == "." && !named[f.Path] {
			bad = append(bad, Violation{name, fmt.Sprintf("does not name %s", f.Path)})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(named)) {
		if !there[n] {
			bad = append(bad, Violation{name, fmt.Sprintf("names %s, which is not there", n)})
		}
	}
	return bad
}
