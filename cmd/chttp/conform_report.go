package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/certifiedhttp/chttp/internal/conform"
)

// tell prints a report. Its error is that of a rule that is broken, or of a test that tested nothing.
func (f *conformCommand) tell(c *console, r *conform.Report) error {
	if c.json {
		if err := c.document(r); err != nil {
			return err
		}
	} else {
		f.print(c, r)
	}
	switch {
	case r.Count(conform.Fail) > 0:
		return errFailed
	case r.Count(conform.Pass) == 0:
		return advise(errors.New("nothing was tested"), conformHelp)
	}
	return nil
}

func (f *conformCommand) print(c *console, r *conform.Report) {
	if r.Profile != "" {
		store := ""
		if r.Store != "" {
			store = fmt.Sprintf(", store %q", r.Store)
		}
		c.printf("%s: %s profile%s; %s\n\n", r.Target, r.Profile, store, r.Counts)
	}
	for i := range r.Lines {
		f.line(c, &r.Lines[i])
	}
	untested(c, r)
	rules := "rules"
	if len(r.Lines) == 1 {
		rules = "rule"
	}
	c.printf("\n%d %s: %d pass, %d fail, %d not offered, %d not seen\n", len(r.Lines), rules, r.Count(conform.Pass), r.Count(conform.Fail),
		r.Count(conform.NotOffered), r.Count(conform.NotSeen))
}

// line prints what was found about one rule, and under it what a reader has to look at.
func (f *conformCommand) line(c *console, l *conform.Line) {
	claims := ""
	if n := len(l.Findings); n > 0 {
		claims = fmt.Sprintf("%d/%d", l.Passed(), n)
	}
	why := ""
	if l.Why != "" {
		why = " (" + harmless(l.Why) + ")"
	}
	c.printf("%s %s %-5s %s%s\n", pad(l.Rule, 4), verdict(c, l.Verdict), claims, l.Says, why)
	for i := range l.Findings {
		if x := &l.Findings[i]; f.Verbose || x.Verdict == conform.Fail {
			printClaim(c, x, "     ")
		}
	}
}

// printClaim prints what was found about one claim.
func printClaim(c *console, x *conform.Finding, indent string) {
	rule := ""
	if indent == "" {
		rule = pad(x.Rule, 4) + " "
	}
	why := ""
	if x.Why != "" {
		why = ": " + harmless(x.Why)
	}
	c.printf("%s%s%s %s%s\n", indent, rule, verdict(c, x.Verdict), x.Claim, why)
	for _, s := range []string{x.Script, x.Seen} {
		if s == "" {
			continue
		}
		for line := range strings.SplitSeq(s, "\n") {
			c.printf("          %s\n", harmless(line))
		}
	}
}

// harmless is s without what could steer the terminal: much of it is what whoever is tested has sent.
func harmless(s string) string { return printable([]byte(strings.ToValidUTF8(s, ".")), 1<<20) }

// verdict writes a verdict in its column: a failure in capitals, to be found among many lines.
func verdict(c *console, v conform.Verdict) string {
	switch s := pad(string(v), 11); v {
	case conform.Pass:
		return c.outTerm.paint(green, s)
	case conform.Fail:
		return c.outTerm.paint(red, strings.ToUpper(s))
	default:
		return c.outTerm.paint(faint, s)
	}
}

// pad fills s up to n characters.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-len([]rune(s))))
}

// untested prints why what was not tested was not, and which rules it would have been about.
func untested(c *console, r *conform.Report) {
	var reasons []string
	about := map[string][]string{}
	for _, l := range r.Lines {
		for _, x := range l.Findings {
			if x.Verdict != conform.NotOffered && x.Verdict != conform.NotSeen {
				continue
			}
			if !slices.Contains(reasons, x.Why) {
				reasons = append(reasons, x.Why)
			}
			if !slices.Contains(about[x.Why], l.Rule) {
				about[x.Why] = append(about[x.Why], l.Rule)
			}
		}
	}
	if len(reasons) == 0 {
		return
	}
	c.printf("\nNot tested, in whole or in part:\n")
	for _, why := range reasons {
		c.printf("  %s: %s\n", strings.Join(about[why], " "), harmless(why))
	}
}
