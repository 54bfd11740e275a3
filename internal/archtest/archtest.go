// Package archtest holds the rules about the shape of this repository that a compiler does not check: who may import whom, where the
// wire's words stand, how long a file may get. A rule is a function from the source files to its violations; the test of the package
// applies every rule to the repository, and to a small example that breaks it.
//
// The files are read, not built: a rule sees every file, whatever its build constraints.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// File is a Go source file of the repository.
type File struct {
	Path  string // from the root of the repository, with slashes
	Dir   string // of Path; "." is the root package
	Test  bool
	Lines int
	AST   *ast.File
	Fset  *token.FileSet
}

// Violation is one place where a rule is broken.
type Violation struct {
	Where string // path:line
	What  string
}

// String returns the violation as a compiler would print it.
func (v Violation) String() string { return v.Where + ": " + v.What }

// Rule is a named rule.
type Rule struct {
	Name  string
	Check func([]*File) []Violation
}

// Rules returns all rules, with the limits that hold for this repository.
func Rules() []Rule {
	return []Rule{
		{"imports", Imports},
		{"commands", Commands},
		{"header names", HeaderNames},
		{"size", Size},
		{"doc comments", DocComments},
		{"leftovers", Leftovers},
	}
}

// Load reads the Go files of fsys. It leaves out what the go command would: testdata, vendor, directories that begin with a dot or an
// underscore. Modules of their own are read like the rest.
func Load(fsys fs.FS) ([]*File, error) {
	var files []*File
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && ignored(d.Name()):
			return fs.SkipDir
		case d.IsDir() || path.Ext(p) != ".go":
			return nil
		}
		f, err := load(fsys, p)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func ignored(dir string) bool {
	return dir == "testdata" || dir == "vendor" || strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_")
}

func load(fsys fs.FS, p string) (*File, error) {
	src, err := fs.ReadFile(fsys, p)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return &File{
		Path:  p,
		Dir:   path.Dir(p),
		Test:  strings.HasSuffix(p, "_test.go"),
		Lines: fset.File(tree.FileStart).LineCount(),
		AST:   tree,
		Fset:  fset,
	}, nil
}

// at makes a violation at n.
func (f *File) at(n ast.Node, format string, args ...any) Violation {
	pos := f.Fset.Position(n.Pos())
	return Violation{Where: fmt.Sprintf("%s:%d", f.Path, pos.Line), What: fmt.Sprintf(format, args...)}
}

// under tells whether f lies in dir or below it.
func (f *File) under(dir string) bool {
	return f.Dir == dir || strings.HasPrefix(f.Dir, dir+"/")
}

// shipped returns the files that are no tests.
func shipped(files []*File) []*File {
	return slices.DeleteFunc(slices.Clone(files), func(f *File) bool { return f.Test })
}
