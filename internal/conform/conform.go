// Package conform tests implementations of the wire protocol, docs/protocol.md, from outside and in any language: Server sends to an
// endpoint and judges its answers, a Listener is a server of many faults and judges the client that sends to it. Both know nothing of
// this repository's implementation, and report what they found by the rules of the protocol: docs/conformance.md is for their users.
package conform

import (
	"slices"
)

// Verdict is what was found about a rule, or about one claim of it.
type Verdict string

// The verdicts.
const (
	Pass       Verdict = "pass"
	Fail       Verdict = "fail"
	NotOffered Verdict = "not offered" // what it is about is not there to be tested
	NotSeen    Verdict = "not seen"    // it cannot be seen from outside, or did not occur
)

// OptionError is an error in options: nothing was tried.
type OptionError struct{ Err error }

func (e *OptionError) Error() string { return e.Err.Error() }
func (e *OptionError) Unwrap() error { return e.Err }

// Finding is what was found about one claim of a rule.
type Finding struct {
	Rule    string  `json:"rule"`
	Claim   string  `json:"claim"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`    // what came instead, or what is missing
	Script  string  `json:"script,omitempty"` // for a shell: the requests that showed a server's failure
	Seen    string  `json:"seen,omitempty"`   // what came from a client that failed, and was answered, a line each
}

// Line is what was found about one rule.
type Line struct {
	Rule     string    `json:"rule"`
	Says     string    `json:"says"` // in a few words
	Verdict  Verdict   `json:"verdict"`
	Why      string    `json:"why,omitempty"` // of a rule that was neither kept nor broken
	Findings []Finding `json:"findings,omitempty"`
}

// Passed counts the claims of the rule that hold.
func (l *Line) Passed() (n int) {
	for _, f := range l.Findings {
		if f.Verdict == Pass {
			n++
		}
	}
	return n
}

// Report is what was found about all rules.
type Report struct {
	Target  string `json:"target"`
	Profile string `json:"profile,omitempty"` // of a server: ProfileCertified or ProfilePlain
	Store   string `json:"store,omitempty"`   // of a server: what it calls its store
	Counts  string `json:"counts,omitempty"`  // of a server: how executions are told apart
	Lines   []Line `json:"rules"`
}

// Count returns how many rules have the verdict v.
func (r *Report) Count(v Verdict) (n int) {
	for _, l := range r.Lines {
		if l.Verdict == v {
			n++
		}
	}
	return n
}

// lines puts findings under the rules that they are about.
func lines(rules []Rule, findings []Finding) []Line {
	var all []Line
	for _, r := range rules {
		l := Line{Rule: r.Name, Says: r.Says, Verdict: NotSeen, Why: r.Hidden}
		for _, f := range findings {
			if f.Rule == r.Name {
				l.Findings = append(l.Findings, f)
			}
		}
		for _, v := range [...]Verdict{Fail, Pass, NotOffered, NotSeen} {
			i := slices.IndexFunc(l.Findings, func(f Finding) bool { return f.Verdict == v })
			if i < 0 {
				continue
			}
			l.Verdict, l.Why = v, ""
			if v == NotOffered || v == NotSeen {
				l.Why = l.Findings[i].Why
			}
			break
		}
		all = append(all, l)
	}
	return all
}
