package archtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/certifiedhttp/chttp/internal/archtest"
)

// repository is the root of the module, from where this test runs.
const repository = "../.."

func TestRepositoryKeepsEveryRule(t *testing.T) {
	files, err := archtest.Load(os.DirFS(repository))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("read %d files: that is not the repository", len(files))
	}
	for _, rule := range archtest.Rules() {
		t.Run(rule.Name, func(t *testing.T) {
			for _, v := range rule.Check(files) {
				t.Error(v)
			}
		})
	}
}

func TestTheDrawingNamesEveryFileOfTheRoot(t *testing.T) {
	const drawing = "ARCHITECTURE.md"
	text, err := os.ReadFile(filepath.Join(repository, drawing))
	if err != nil {
		t.Fatal(err)
	}
	files, err := archtest.Load(os.DirFS(repository))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range archtest.Drawing(drawing, string(text), files) {
		t.Error(v)
	}
}

func TestADrawingIsComparedWithWhatIsThere(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"all", "`a.go` and x/b.go", ""},
		{"one left out", "nothing", "D: does not name a.go"},
		{"one too many", "a.go, `c.go`", "D: names c.go, which is not there"},
		{"another package's too many", "a.go, x/c.go", "D: names x/c.go"},
	}
	src := &fstest.MapFile{Data: []byte("package x\n")}
	files, err := archtest.Load(fstest.MapFS{"a.go": src, "a_test.go": src, "x/b.go": src})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, archtest.Drawing("D", tt.text, files), tt.want)
		})
	}
}

func TestLinksOfTheRepositoryLeadSomewhere(t *testing.T) {
	bad, err := archtest.Links(os.DirFS(repository))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range bad {
		t.Error(v)
	}
}

func TestALinkThatLeadsNowhereIsFound(t *testing.T) {
	const text = "[a](b.md#part) [b](#here) [c](https://example.com/) [d](../README.md) [e](gone.md)"
	bad, err := archtest.Links(fstest.MapFS{"README.md": {}, "docs/a.md": {Data: []byte(text)}, "docs/b.md": {}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, bad, "docs/a.md: leads to gone.md")
}

func TestTestsThatDocumentsNameAreThere(t *testing.T) {
	files, err := archtest.Load(os.DirFS(repository))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := archtest.TestNames(os.DirFS(repository), files)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range bad {
		t.Error(v)
	}
}

func TestATestThatIsNotThereIsFound(t *testing.T) {
	fsys := fstest.MapFS{
		"a_test.go": {Data: []byte("package a\nfunc TestHere() {}\n")},
		"README.md": {Data: []byte("`TestHere` `TestGone` TestOfNothing")},
	}
	files, err := archtest.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := archtest.TestNames(fsys, files)
	if err != nil {
		t.Fatal(err)
	}
	check(t, bad, "README.md: names TestGone")
}

// A source is a file of an example: its path, and its text without the package clause.
type source struct{ path, text string }

var examples = []struct {
	rule string
	name string
	file source
	want string // part of the violation; "" when the file is right
}{
	{"imports", "root, standard library", source{"a.go", `import "net/http"`}, ""},
	{"imports", "root, contract", source{"a.go", `import "github.com/certifiedhttp/chttp/store"`}, ""},
	{"imports", "root, driver", source{"a.go", `import "github.com/certifiedhttp/chttp/memstore"`}, "imports github.com/certifiedhttp/chttp/memstore"},
	{"imports", "root, something new", source{"a.go", `import "example.com/x"`}, "a.go:4: package in . imports example.com/x"},
	{"imports", "a longer name is another package", source{"a.go", `import "github.com/google/uuidx"`}, "uuidx"},
	{"imports", "tests are free", source{"a_test.go", `import "example.com/x"`}, ""},
	{"imports", "contract, root", source{"store/a.go", `import "github.com/certifiedhttp/chttp"`}, "package in store"},
	{"imports", "codec, contract", source{"internal/record/a.go", `import "github.com/certifiedhttp/chttp/store"`}, "package in internal/record"},
	{"imports", "driver, contract", source{"memstore/a.go", `import "github.com/certifiedhttp/chttp/store"`}, ""},
	{"imports", "driver, root", source{"memstore/a.go", `import "github.com/certifiedhttp/chttp"`}, "package in memstore"},
	{"imports", "driver, its database", source{"sqlitestore/a.go", `import "modernc.org/sqlite/lib"`}, ""},
	{"imports", "driver, another database", source{"sqlitestore/a.go", `import "github.com/mattn/go-sqlite3"`}, "package in sqlitestore"},
	{"imports", "suite, driver", source{"storetest/a.go", `import "github.com/certifiedhttp/chttp/sqlitestore"`}, "imports the driver"},
	{"imports", "suite, anything else", source{"storetest/a.go", `import "pgregory.net/rapid"`}, ""},
	{"imports", "test helpers, root", source{"chttptest/a.go", `import "github.com/certifiedhttp/chttp"`}, ""},
	{"imports", "test helpers, memory", source{"chttptest/a.go", `import "github.com/certifiedhttp/chttp/memstore"`}, ""},
	{"imports", "test helpers, the project's own", source{"chttptest/a.go", `import "github.com/certifiedhttp/chttp/internal/record"`}, ""},
	{"imports", "test helpers, a database", source{"chttptest/a.go", `import "github.com/certifiedhttp/chttp/sqlitestore"`}, "package in chttptest"},
	{"imports", "test helpers, others' packages", source{"chttptest/a.go", `import "go.uber.org/goleak"`}, "package in chttptest"},
	{"imports", "cgo", source{"admin/a.go", `import "C"`}, "imports C"},

	{"commands", "library", source{"a.go", `import "github.com/certifiedhttp/chttp/cmd/chttp"`}, "imports the command"},
	{"commands", "test", source{"examples/a_test.go", `import "github.com/certifiedhttp/chttp/cmd/chttp/x"`}, "imports the command"},
	{"commands", "command", source{"cmd/chttp/a.go", `import "github.com/certifiedhttp/chttp/cmd/chttp/x"`}, ""},

	{"header names", "elsewhere", source{"handler.go", `const h = "Idempotency-Key"`}, "handler.go:4"},
	{"header names", "in lower case", source{"handler.go", `const h = "certified-ack"`}, "certified-ack"},
	{"header names", "in a longer text", source{"handler.go", `const h = "the Idempotency-Key is missing"`}, ""},
	{"header names", "in wire.go", source{"wire.go", `const h = "Idempotency-Key"`}, ""},
	{"header names", "in another package's wire.go", source{"x/wire.go", `const h = "Certified"`}, ""},
	{"header names", "in a test", source{"a_test.go", `const h = "Certified"`}, ""},

	{"size", "file of 450 lines", source{"a.go", strings.Repeat("//\n", 446)}, ""},
	{"size", "file of 451 lines", source{"a.go", strings.Repeat("//\n", 447)}, "has 451 lines"},
	{"size", "function of 70 lines", source{"a.go", "func (*t[K]) f() {" + strings.Repeat("\n", 69) + "}"}, ""},
	{"size", "function of 71 lines", source{"a.go", "func (*t[K]) f() {" + strings.Repeat("\n", 70) + "}"}, "t.f has 71 lines"},
	{"size", "test of any length", source{"a_test.go", "func f() {" + strings.Repeat("\n", 470) + "}"}, ""},

	{"doc comments", "function", source{"a.go", "func F() {}"}, "F has no comment"},
	{"doc comments", "method", source{"a.go", "func (*T[K, V]) F() {}"}, "T.F has no comment"},
	{"doc comments", "method of what is not exported", source{"a.go", "func (*t) F() {}"}, ""},
	{"doc comments", "type", source{"a.go", "type T int"}, "T has no comment"},
	{"doc comments", "type in a group", source{"a.go", "// Types.\ntype (\n\tT int\n)"}, "T has no comment"},
	{"doc comments", "constant", source{"a.go", "const A = 1"}, "A has no comment"},
	{"doc comments", "constants in a group", source{"a.go", "// Numbers.\nconst (\n\tA = 1\n\tB = 2\n)"}, ""},
	{"doc comments", "comment at the end", source{"a.go", "const A = 1 // one"}, ""},
	{"doc comments", "what users cannot import", source{"x/internal/y/a.go", "func F() {}"}, ""},

	{"leftovers", "stub", source{"a.go", `func f() { panic("stub") }`}, "is a stub"},
	{"leftovers", "other panic", source{"a.go", `func f() { panic("store: no version") }`}, ""},
	{"leftovers", "mark", source{"a_test.go", "// TO" + "DO: more"}, "a_test.go:4: has a TO" + "DO"},
	{"leftovers", "mark within a word", source{"a.go", "// mast" + "TO" + "DON"}, ""},
}

func TestEveryRuleFindsWhatItForbidsAndNothingElse(t *testing.T) {
	rules := map[string]func([]*archtest.File) []archtest.Violation{}
	for _, r := range archtest.Rules() {
		rules[r.Name] = r.Check
	}
	fails := map[string]bool{}
	for _, ex := range examples {
		t.Run(ex.rule+"/"+ex.name, func(t *testing.T) {
			fails[ex.rule] = fails[ex.rule] || ex.want != ""
			check(t, rules[ex.rule](example(t, ex.file)), ex.want)
		})
	}
	for name := range rules {
		if !fails[name] {
			t.Errorf("rule %q has no example that breaks it", name)
		}
	}
}

func TestAPackageNeedsAComment(t *testing.T) {
	fsys := fstest.MapFS{
		"x/a.go": {Data: []byte("package x\n")},
		"x/b.go": {Data: []byte("package x\n")},
		"y/a.go": {Data: []byte("package y\n")},
		"y/b.go": {Data: []byte("// Package y is there.\npackage y\n")},
	}
	files, err := archtest.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	check(t, archtest.DocComments(files), "x/a.go:1: package x has no comment")
}

func TestLoadLeavesOutWhatTheGoCommandDoes(t *testing.T) {
	src := &fstest.MapFile{Data: []byte("package x\n")}
	fsys := fstest.MapFS{"testdata/a.go": src, ".x/a.go": src, "_x/a.go": src, "vendor/a.go": src, "a.txt": src, "x/a.go": src}
	files, err := archtest.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Path != "x/a.go" {
		t.Errorf("got %d files, want x/a.go alone", len(files))
	}
}

func TestLoadRefusesWhatIsNotGo(t *testing.T) {
	fsys := fstest.MapFS{"a.go": {Data: []byte("pack age")}}
	if _, err := archtest.Load(fsys); err == nil {
		t.Error("got no error")
	}
}

// example makes the files of a repository in which s stands.
func example(t *testing.T, s source) []*archtest.File {
	t.Helper()
	text := "// Package x is an example.\npackage x\n\n" + s.text + "\n"
	files, err := archtest.Load(fstest.MapFS{s.path: {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func check(t *testing.T, got []archtest.Violation, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("got %v, want nothing", got)
	case want != "" && len(got) != 1:
		t.Errorf("got %v, want one violation: %s", got, want)
	case want != "" && !strings.Contains(got[0].String(), want):
		t.Errorf("got %v, want %s", got[0], want)
	}
}
