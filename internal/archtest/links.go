package archtest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// link matches the target of a Markdown link, without what follows a #.
var link = regexp.MustCompile(`\]\(([^)#\s]+)`)

// testName matches the name of a test in a Markdown file.
var testName = regexp.MustCompile("`(Test[A-Z0-9]\\w*)`")

// TestNames finds tests that Markdown files name and that are not among files: what is said to attack a promise must be there.
func TestNames(fsys fs.FS, files []*File) (bad []Violation, err error) {
	known := make(map[string]bool)
	for _, f := range files {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.Test {
				known[fn.Name.Name] = true
			}
		}
	}
	err = eachMarkdown(fsys, func(p string, text []byte) {
		for _, m := range testName.FindAllSubmatch(text, -1) {
			if !known[string(m[1])] {
				bad = append(bad, Violation{p, fmt.Sprintf("names %s, a test that is not there", m[1])})
			}
		}
	})
	return bad, err
}

// Links finds links of Markdown files to files that are not there. Addresses elsewhere are left alone.
func Links(fsys fs.FS) (bad []Violation, err error) {
	err = eachMarkdown(fsys, func(p string, text []byte) {
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := fs.Stat(fsys, path.Join(path.Dir(p), m[1])); err != nil {
				bad = append(bad, Violation{p, fmt.Sprintf("leads to %s, which is not there", m[1])})
			}
		}
	})
	return bad, err
}

func eachMarkdown(fsys fs.FS, do func(path string, text []byte)) error {
	return fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && ignored(d.Name()):
			return fs.SkipDir
		case d.IsDir() || path.Ext(p) != ".md":
			return nil
		}
		text, err := fs.ReadFile(fsys, p)
		if err == nil {
			do(p, text)
		}
		return err
	})
}
