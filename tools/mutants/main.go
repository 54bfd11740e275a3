// Command mutants plants bugs, one at a time, and looks whether the tests find them. A bug is a file of the directory bugs: which text is
// replaced by which, what that breaks, and which tests are to notice. It is planted with go test -overlay, so that no file of the
// repository is ever changed, and nothing in it is there for the bugs.
//
//	mutants              plants all, and says by which test each was found; exit 1 when one was not
//	mutants -run NAME    those whose name matches the expression
//	mutants -list        what there is
//	mutants -v           shows what the tests say
//
// A bug that no longer applies or does not compile, and one that is noticed only because the tests hang, count as not found.
package main

import (
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

//go:embed bugs
var bugs embed.FS

func main() {
	only := flag.String("run", "", "plant only the bugs whose name matches this expression")
	list := flag.Bool("list", false, "list the bugs")
	verbose := flag.Bool("v", false, "show what the tests say")
	jobs := flag.Int("j", runtime.NumCPU(), "how many are planted at the same time")
	root := flag.String("root", "..", "the root of the repository")
	flag.Parse()
	ok, err := run(*root, *only, *list, *verbose, *jobs)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(root, only string, list, verbose bool, jobs int) (ok bool, err error) {
	match, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	sub, err := fs.Sub(bugs, "bugs")
	if err != nil {
		return false, err
	}
	all, err := load(sub)
	if err != nil {
		return false, err
	}
	var chosen []*mutant
	for _, m := range all {
		if match.MatchString(m.name) {
			chosen = append(chosen, m)
		}
	}
	switch {
	case len(chosen) == 0:
		return false, fmt.Errorf("no bug's name matches %q", only)
	case list:
		for _, m := range chosen {
			fmt.Printf("%s (%s, %s)\n    %s\n", m.name, m.file, m.broken(), m.what)
		}
		return true, nil
	}
	if root, err = filepath.Abs(root); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	r := &runner{root: root, temp: dir, verbose: verbose}
	if err := r.healthy(chosen); err != nil {
		return false, err
	}
	return r.all(chosen, jobs), nil
}

// broken says what the bug breaks, as the table does.
func (m *mutant) broken() string {
	list := m.breaks
	if m.row != "" {
		list = append(list[:len(list):len(list)], m.row)
	}
	return strings.Join(list, " ")
}

// all plants the bugs, as many at the same time as there are jobs, and prints a line of the table when each is done.
func (r *runner) all(list []*mutant, jobs int) (ok bool) {
	began := time.Now()
	name, broken := len("bug"), len("breaks")
	for _, m := range list {
		name, broken = max(name, len(m.name)), max(broken, len(m.broken()))
	}
	fmt.Printf("%7s  %-*s  %-*s  %7s  found by\n", "", name, "bug", broken, "breaks", "seconds")
	todo := make(chan *mutant)
	done := make(chan verdict)
	for range max(1, jobs) {
		go func() {
			for m := range todo {
				done <- r.plant(m)
			}
		}()
	}
	go func() {
		defer close(todo)
		for _, m := range list {
			todo <- m
		}
	}()
	var missed []verdict
	for i := range list {
		v := <-done
		fmt.Printf("%7s  %-*s  %-*s  %7.1f  %s\n", fmt.Sprintf("%d/%d", i+1, len(list)), name, v.mutant.name, broken, v.mutant.broken(), v.took.Seconds(), v.line())
		if v.by == "" {
			missed = append(missed, v)
		}
		if v.by == "" || r.verbose {
			fmt.Print(indent(v.output))
		}
	}
	if len(missed) == 0 {
		fmt.Printf("all %d found, in %v\n", len(list), time.Since(began).Round(time.Second))
		return true
	}
	fmt.Printf("%d of %d not found:\n", len(missed), len(list))
	for _, v := range missed {
		fmt.Printf("  %s: %s\n    %s\n", v.mutant.name, v.why, v.mutant.what)
	}
	return false
}

func indent(text string) string {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return ""
	}
	return "        | " + strings.ReplaceAll(text, "\n", "\n        | ") + "\n"
}
