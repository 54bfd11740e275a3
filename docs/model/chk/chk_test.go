package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// small is how many states a row may have that go test looks at; make model looks at all.
const small = 400_000

// published are the rows of the table in README.md: the cells between the bars, without the time.
func published(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table [][]string
	_, rest, _ := strings.Cut(string(text), "| row |")
	for i, l := range strings.Split(rest, "\n") {
		switch {
		case i < 2: // the head
		case !strings.HasPrefix(l, "| "):
			return table
		default:
			cells := strings.Split(strings.Trim(l, "| "), " | ")
			table = append(table, cells[:len(cells)-1])
		}
	}
	return table
}

func TestTheTableNamesEveryRowAndWhatItBreaks(t *testing.T) {
	table, list := published(t), rows()
	if len(table) != len(list) {
		t.Fatalf("README.md has %d rows, the checker %d", len(table), len(list))
	}
	for i, v := range list {
		var fails []string
		for j, cell := range table[i][1 : len(table[i])-1] {
			if strings.Contains(cell, "FAIL") {
				fails = append(fails, properties[j])
			}
		}
		if got := strings.Join(fails, " "); table[i][0] != v.name || got != v.want {
			t.Errorf("row %d: README.md has %q, which fails %q; the checker %q, which fails %q", i, table[i][0], got, v.name, v.want)
		}
	}
}

func TestSmallRowsAreAsPublished(t *testing.T) {
	table := published(t)
	for i, v := range rows() {
		var states int
		if fmt.Sscan(table[i][len(table[i])-1], &states); states > small {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			r := v.check(2*small, "")
			if got := failed(r); got != v.want {
				t.Errorf("fails %q, want %q", got, v.want)
			}
			got := strings.Split(strings.Trim(line(&v, r), "| "), " | ")
			if got, want := strings.Join(got[:len(got)-1], " | "), strings.Join(table[i], " | "); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			for property := range r.broken {
				name, _, _ := strings.Cut(v.name, " ")
				want, err := os.ReadFile(filepath.Join("../traces", name+"_"+property+".txt"))
				if got := counterexample(&v, property, r); err != nil || got != string(want) {
					t.Errorf("%s: the counterexample is another than the one in traces (%v):\n%s", property, err, got)
				}
			}
		})
	}
}

func TestEveryCounterexampleIsOfARow(t *testing.T) {
	want := map[string]bool{}
	for _, v := range rows() {
		name, _, _ := strings.Cut(v.name, " ")
		for p := range strings.FieldsSeq(v.want) {
			want[name+"_"+p+".txt"] = true
		}
	}
	files, err := os.ReadDir("../traces")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !want[f.Name()] {
			t.Errorf("traces/%s is of no row", f.Name())
		}
		delete(want, f.Name())
	}
	for name := range want {
		t.Errorf("traces/%s is not there", name)
	}
}

func TestP5HoldsWhereTheInequalityDoes(t *testing.T) {
	if !sweep(2) {
		t.Error("P5 and the inequality differ")
	}
}

func TestEveryFaultHasATestInTheCode(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| row | test |")
	table, _, _ = strings.Cut(table, "\n\n")
	tested := map[string]bool{}
	for l := range strings.Lines(table) {
		if cells := strings.Split(l, "|"); len(cells) == 4 {
			for name := range strings.SplitSeq(cells[1], ",") {
				tested[strings.TrimSpace(name)] = true
			}
		}
	}
	for _, v := range rows() {
		if name, _, _ := strings.Cut(v.name, " "); v.want != "" && !tested[name] {
			t.Errorf("README.md names no test for %s", name)
		}
	}
	code := ""
	files, err := filepath.Glob("../../../*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code += string(b)
	}
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(table, -1) {
		if !strings.Contains(code, "\nfunc "+name[1]+"(") {
			t.Errorf("README.md names %s, which is not there", name[1])
		}
	}
}

func TestEveryOperationHasAText(t *testing.T) {
	for op := range operations {
		if texts[op] == "" {
			t.Errorf("operation %d has no text", op)
		}
		if s := (label{op: op}).String(); strings.Contains(s, "%!") {
			t.Errorf("operation %d: %s", op, s)
		}
	}
}
