package archtest

import (
	"strconv"
	"strings"
)

// Module is the path of this repository's module.
const Module = "github.com/certifiedhttp/chttp"

// imports says what a package may import beside the standard library: these packages and those below them, but of the root package only
// itself. A package that is not named is free, as are tests.
var imports = map[string][]string{
	".": {
		Module + "/store", Module + "/internal/record", Module + "/internal/probe",
		"github.com/dunglas/httpsfv", "github.com/google/uuid", "golang.org/x/time/rate",
	},
	"store":             {},
	"internal/record":   {},
	"internal/probe":    {Module + "/internal/record"},
	"internal/export":   {Module + "/store", Module + "/internal/record"},
	"internal/archtest": {},
	"internal/conform":  {"github.com/dunglas/httpsfv"}, // it judges the root package from outside
	"memstore":          {Module + "/store"},
	"sqlitestore":       {Module + "/store", "modernc.org/sqlite", "golang.org/x/sys"},
	"chttptest":         {Module, Module + "/store", Module + "/memstore", Module + "/internal"},
}

// drivers implement package store. The suite that proves them, storetest, knows none of them.
var drivers = []string{Module + "/memstore", Module + "/sqlitestore", Module + "/pgstore"}

// Imports keeps the core small and the drivers apart. cgo is refused everywhere: users build without a C compiler.
func Imports(files []*File) (bad []Violation) {
	for _, f := range shipped(files) {
		allowed, ruled := imports[f.Dir]
		for _, spec := range f.AST.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			switch {
			case p == "C":
				bad = append(bad, f.at(spec, "imports C"))
			case f.under("storetest") && within(p, drivers):
				bad = append(bad, f.at(spec, "the suite that proves drivers imports the driver %s", p))
			case ruled && !std(p) && !within(p, allowed):
				bad = append(bad, f.at(spec, "package in %s imports %s", f.Dir, p))
			}
		}
	}
	return bad
}

// Commands keeps what is in cmd from being imported by anybody outside of it, tests included.
func Commands(files []*File) (bad []Violation) {
	for _, f := range files {
		for _, spec := range f.AST.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			if within(p, []string{Module + "/cmd"}) && !f.under("cmd") {
				bad = append(bad, f.at(spec, "imports the command %s", p))
			}
		}
	}
	return bad
}

// std tells whether path is of the standard library: its first element has no dot.
func std(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// within tells whether path is one of roots or lies below one. Nothing lies below the root package.
func within(path string, roots []string) bool {
	for _, r := range roots {
		if path == r || r != Module && strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}
