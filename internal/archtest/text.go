package archtest

import (
	"go/ast"
	"go/token"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
)

// Limits of Size.
const (
	maxFileLines     = 450
	maxFunctionLines = 70
)

// longFunctions may be longer than maxFunctionLines: "dir.Name" or "dir.Type.Name", and why.
var longFunctions = map[string]string{}

// headerNames are the header fields of the protocol, and wireFiles the files of the root package that may spell them.
var (
	headerNames = []string{"Idempotency-Key", "Certified", "Certified-Ack", "Content-Digest"}
	wireFiles   = []string{"wire.go"}
)

// HeaderNames keeps the protocol's header names in one place of the root package.
func HeaderNames(files []*File) (bad []Violation) {
	for _, f := range shipped(files) {
		if f.Dir != "." || slices.Contains(wireFiles, f.Path) {
			continue
		}
		for n := range ast.Preorder(f.AST) {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				continue
			}
			s, _ := strconv.Unquote(lit.Value)
			if slices.Contains(headerNames, textproto.CanonicalMIMEHeaderKey(s)) {
				bad = append(bad, f.at(lit, "spells %s, which is wire.go's", lit.Value))
			}
		}
	}
	return bad
}

// Size keeps files and functions at a length that a reader can hold in mind.
func Size(files []*File) (bad []Violation) {
	for _, f := range shipped(files) {
		if f.Lines > maxFileLines {
			bad = append(bad, f.at(f.AST, "has %d lines, more than %d", f.Lines, maxFileLines))
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := f.Fset.Position(fn.End()).Line - f.Fset.Position(fn.Pos()).Line + 1
			if _, excused := longFunctions[f.Dir+"."+name(fn)]; lines > maxFunctionLines && !excused {
				bad = append(bad, f.at(fn, "%s has %d lines, more than %d", name(fn), lines, maxFunctionLines))
			}
		}
	}
	return bad
}

// leftover is what says of itself that it is not finished.
var leftover = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

// Leftovers finds what was left for later: marks in comments, and functions that are still stubs.
func Leftovers(files []*File) (bad []Violation) {
	for _, f := range files {
		for _, group := range f.AST.Comments {
			for _, c := range group.List {
				if mark := leftover.FindString(c.Text); mark != "" {
					bad = append(bad, f.at(c, "has a %s", mark))
				}
			}
		}
		for n := range ast.Preorder(f.AST) {
			call, ok := n.(*ast.CallExpr)
			if ok && isIdent(call.Fun, "panic") && len(call.Args) == 1 && isString(call.Args[0], "stub") {
				bad = append(bad, f.at(call, "is a stub"))
			}
		}
	}
	return bad
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func isString(e ast.Expr, want string) bool {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return false
	}
	got, err := strconv.Unquote(lit.Value)
	return err == nil && got == want
}
