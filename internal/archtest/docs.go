package archtest

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// DocComments wants a comment on every package, and on every exported identifier of the packages that users import. One comment on a
// group of constants or variables speaks for all of them. Fields and methods of interfaces are left to the eye.
func DocComments(files []*File) (bad []Violation) {
	packages := map[string]*File{}
	documented := map[string]bool{}
	for _, f := range shipped(files) {
		if packages[f.Dir] == nil {
			packages[f.Dir] = f
		}
		documented[f.Dir] = documented[f.Dir] || f.AST.Doc != nil
		if public(f) {
			bad = append(bad, undocumented(f)...)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if f := packages[dir]; !documented[dir] {
			bad = append(bad, f.at(f.AST.Name, "package %s has no comment", f.AST.Name.Name))
		}
	}
	return bad
}

// public tells whether users can import f's package.
func public(f *File) bool {
	return f.AST.Name.Name != "main" && !strings.Contains("/"+f.Dir+"/", "/internal/") && !f.under("examples")
}

func undocumented(f *File) (bad []Violation) {
	for _, decl := range f.AST.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && exported(d) {
				bad = append(bad, f.at(d.Name, "%s has no comment", name(d)))
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				bad = append(bad, undocumentedSpec(f, d, spec)...)
			}
		}
	}
	return bad
}

func undocumentedSpec(f *File, d *ast.GenDecl, spec ast.Spec) (bad []Violation) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
			bad = append(bad, f.at(s.Name, "%s has no comment", s.Name.Name))
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				bad = append(bad, f.at(n, "%s has no comment", n.Name))
			}
		}
	}
	return bad
}

// exported tells whether users can name fn: it is exported, and so is the type whose method it is.
func exported(fn *ast.FuncDecl) bool {
	r := receiver(fn)
	return fn.Name.IsExported() && (r == "" || ast.IsExported(r))
}

// name returns fn's name, preceded by that of its receiver's type.
func name(fn *ast.FuncDecl) string {
	if r := receiver(fn); r != "" {
		return r + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// receiver returns the name of the type whose method fn is, or "".
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	e := fn.Recv.List[0].Type
	for {
		switch t := e.(type) {
		case *ast.StarExpr:
			e = t.X
		case *ast.IndexExpr:
			e = t.X
		case *ast.IndexListExpr:
			e = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}
