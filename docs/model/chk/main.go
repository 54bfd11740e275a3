// Command chk checks the rules of the protocol in the small: it goes through every state that one or two messages, a client and a server
// can reach, and looks whether the properties hold in all of them. README.md, one directory up, says what is modelled, and what came out.
//
//	chk                  all rows; exit 1 when one is not as expected
//	chk -run "A6 "       those whose name contains this
//	chk -run A3 -cover   and the transitions that were never taken
//	chk -traces DIR      writes the counterexamples
//	chk -list            names the rows
//	chk -sweep           the inequality of P5, over a grid
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	only := flag.String("run", "", "check only the rows whose name contains this")
	list := flag.Bool("list", false, "list the rows")
	grid := flag.Bool("sweep", false, "check the inequality of P5 over a grid")
	most := flag.Int("max", 40_000_000, "most states of a row")
	traces := flag.String("traces", "", "write the counterexamples into this directory")
	cover := flag.Bool("cover", false, "list the transitions that a row never took")
	flag.Parse()
	if *grid {
		if !sweep(4) {
			os.Exit(1)
		}
		return
	}
	if !*list {
		fmt.Printf("| row | %s | states | time |\n|---|%s---|---|\n", strings.Join(properties, " | "), strings.Repeat("---|", len(properties)))
	}
	asExpected := true
	for _, v := range rows() {
		switch {
		case !strings.Contains(v.name, *only):
			continue
		case *list:
			fmt.Println(v.name)
			continue
		}
		r := v.check(*most, "")
		fmt.Println(line(&v, r))
		if *cover {
			for op, happened := range r.happened {
				if !happened {
					fmt.Printf("  never: %s\n", label{op: operation(op)})
				}
			}
		}
		if failed := failed(r); failed != v.want || r.capped {
			fmt.Printf("NOT AS EXPECTED: fails %q, expected %q\n", failed, v.want)
			asExpected = false
		}
		if *traces != "" {
			if err := write(*traces, &v, r); err != nil {
				fmt.Fprintln(os.Stderr, "chk:", err)
				os.Exit(1)
			}
		}
	}
	if !asExpected {
		os.Exit(1)
	}
}

// failed lists the properties that r broke, in their order.
func failed(r result) string {
	var list []string
	for _, p := range properties {
		if r.broken[p] != nil {
			list = append(list, p)
		}
	}
	return strings.Join(list, " ")
}

// line is a row of the table.
func line(v *variant, r result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", v.name)
	for _, p := range properties {
		switch trace := r.broken[p]; {
		case trace != nil:
			fmt.Fprintf(&b, " **FAIL** (%d) |", len(trace))
		case (p == "P5" || p == "P7") && !v.calms:
			b.WriteString(" – |")
		default:
			b.WriteString(" ok |")
		}
	}
	capped := ""
	if r.capped {
		capped = " (and more)"
	}
	fmt.Fprintf(&b, " %d%s | %.1fs |", r.states, capped, r.took.Seconds())
	return b.String()
}

// write puts the counterexamples of a row into files of dir.
func write(dir string, v *variant, r result) error {
	for property := range r.broken {
		name, _, _ := strings.Cut(v.name, " ")
		path := filepath.Join(dir, name+"_"+property+".txt")
		if err := os.WriteFile(path, []byte(counterexample(v, property, r)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// counterexample is the trace to where a property of the row does not hold, as text.
func counterexample(v *variant, property string, r result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "row: %s\nviolates: %s\n", v.name, property)
	for i, l := range r.broken[property] {
		fmt.Fprintf(&b, "%3d  %s\n", i, l)
	}
	return b.String()
}
