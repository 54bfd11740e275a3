package chttptest

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// sideBySide shows what was and what is.
func sideBySide(was, now string) string {
	was, now, at := aroundDifference(was, now)
	text := fmt.Sprintf("   undisturbed: %s\n           now: %s", was, now)
	if at >= 0 {
		text += "\n                " + strings.Repeat(" ", at) + "^"
	}
	return text
}

// Of values that are long, so much is shown around their first difference.
const (
	windowBefore = 60
	windowAfter  = 60
)

// aroundDifference returns the parts of a and b around their first difference, as one line each, and where it is in them; -1: they are equal.
func aroundDifference(a, b string) (string, string, int) {
	x, y := []rune(oneLine(a)), []rune(oneLine(b))
	at := 0
	for at < len(x) && at < len(y) && x[at] == y[at] {
		at++
	}
	if at == len(x) && at == len(y) {
		return string(x[:min(len(x), windowBefore+windowAfter)]), string(y[:min(len(y), windowBefore+windowAfter)]), -1
	}
	from := max(0, at-windowBefore)
	cut := func(r []rune) string {
		s := string(r[min(from, len(r)):min(at+windowAfter, len(r))])
		if from > 0 {
			s = "…" + s
		}
		if len(r) > at+windowAfter {
			s += "…"
		}
		return s
	}
	column := at - from
	if from > 0 {
		column++
	}
	return cut(x), cut(y), column
}

func oneLine(s string) string {
	return strings.NewReplacer("\n", "⏎", "\t", " ", "\r", "").Replace(printable([]byte(s)))
}

// report says what was found, or "".
func (p *proof) report() string {
	var b strings.Builder
	seen := make(map[string]bool)
	for _, f := range p.found {
		if k := f.like(); seen[k] || len(seen) == mostFindings {
			continue
		} else if seen[k] = true; len(seen) == 1 {
			fmt.Fprintf(&b, "chttptest: %s does not resume\n", p.title())
		}
		p.write(&b, f)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (p *proof) title() string {
	if p.name == "" {
		return "the " + p.subject.kind
	}
	return fmt.Sprintf("%s %q", p.subject.kind, p.name)
}

// like is equal for findings of which one is enough.
func (f *finding) like() string {
	k := fmt.Sprint(f.what, f.line, f.role)
	for _, op := range []*operation{f.ref, f.now} {
		if op != nil {
			k += fmt.Sprint(op.site)
			break
		}
	}
	return k
}

func (p *proof) write(b *strings.Builder, f *finding) {
	head, mend := f.headline()
	fmt.Fprintf(b, "\n%s\n", wrap(f.when()+head, "  "))
	if f.text != "" && f.what != foundNobody && f.what != foundOtherwise {
		fmt.Fprintf(b, "%s\n", indent(f.text))
	}
	if f.compares() {
		f.columns(b)
		f.contents(b)
		c := p.diagnose(f)
		if f.what == foundDeadline {
			c = cause{why: "the context's deadline is made of a clock", mend: mend}
		}
		mend = c.mend
		fmt.Fprintf(b, "\n%s\n", wrap("Likely: "+c.why+".", "  "))
	}
	if mend != "" {
		fmt.Fprintf(b, "%s\n", wrap("Mend: "+mend+".", "  "))
	}
	if only := f.only(); only != "" {
		fmt.Fprintf(b, "  Again: &chttptest.Options{Only: %q}\n", only)
	}
}

// only returns what Options.Only names the run by, or "".
func (f *finding) only() string {
	switch {
	case f.trial == nil || len(f.died) == 0 && !f.trial.process:
		return ""
	case f.trial.process:
		return processPrefix + planText(f.died)
	}
	return planText(f.died)
}

// when says what has happened before.
func (f *finding) when() string {
	if f.trial == nil || f.trial.proof.world == nil {
		return ""
	}
	w := f.trial.proof.world
	var parts []string
	for i, at := range f.died {
		how := "The process died "
		if i > 0 {
			how = "the next one died "
		}
		parts = append(parts, how+fmt.Sprintf(momentText[at.moment], w.siteText(at.site)))
	}
	switch {
	case f.what == foundProcess:
		return ""
	case len(parts) > 0:
		return strings.Join(parts, "; ") + ". When it goes on, "
	case f.trial.process:
		return "In another process, "
	case f.trial.name == "later":
		return "Without a crash, only later, "
	case f.trial.name == "slow":
		return "Without a crash, only slower, "
	}
	return "Without a crash, run once more, "
}

// siteText names a place to people.
func (w *world) siteText(at site) string {
	if op := w.ops[at]; op != nil {
		return fmt.Sprintf("%s (%s)", op.describe(), shortLine(op.line))
	}
	if x := w.executions[at.key]; x != nil && at.key != w.root {
		return fmt.Sprintf("%q, %s,", x.function, at.key.ID)
	}
	return "the function"
}

// compares tells whether the finding is that a run differs from the undisturbed one.
func (f *finding) compares() bool {
	switch f.what {
	case foundAnother, foundAdded, foundLeft, foundOtherwise, foundDeadline, foundIds, foundValue, foundOutcome, foundWorked, foundEffects:
		return true
	}
	return false
}

// columns shows the operations of the scope beside each other, up to the one that differs.
func (f *finding) columns(b *strings.Builder) {
	at := f.place()
	if f.trial == nil || len(f.trial.lives) == 0 || f.ref == nil && f.now == nil {
		return
	}
	w := f.trial.proof.world
	last := make(map[int]*operation)
	for _, op := range f.trial.lives[len(f.trial.lives)-1].trail {
		if op.key == at.key && op.scope == at.scope {
			last[op.seq] = op
		}
	}
	b.WriteByte('\n')
	rows := [][3]string{{"", "undisturbed", f.nowTitle()}}
	for seq := max(0, at.seq-mostBefore); seq <= at.seq+1; seq++ {
		ref, now := w.ops[site{at.key, at.scope, seq}], last[seq]
		if ref == nil && now == nil {
			break
		}
		mark := fmt.Sprintf("  %3d", seq)
		if seq == at.seq {
			mark = fmt.Sprintf("> %3d", seq)
		}
		row := [3]string{mark, "–", "–"}
		if ref != nil {
			row[1] = label(ref) + "  " + shortLine(ref.line)
		}
		switch {
		case now != nil && now.recorded && seq != at.seq:
			row[2] = "given back"
		case now != nil && ref != nil && label(now) == label(ref) && now.line == ref.line:
			row[2] = "the same"
			if seq == at.seq {
				row[2] = label(now)
			}
		case now != nil:
			row[2] = label(now) + "  " + shortLine(now.line)
		case seq > at.seq:
			row[2] = ""
		}
		rows = append(rows, row)
	}
	if at.scope != "" {
		fmt.Fprintf(b, "  in the scope %s\n", at.scope)
	}
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r[1]))
	}
	for _, r := range rows {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(r[1]))
		fmt.Fprintf(b, "%s\n", strings.TrimRight(fmt.Sprintf("%5s  %s%s  | %s", r[0], r[1], pad, r[2]), " |"))
	}
}

// mostBefore is how many operations before the one that differs are shown.
const mostBefore = 8

func (f *finding) nowTitle() string {
	if len(f.died) > 0 {
		return "after the crash"
	}
	return "now"
}

// mostLabel is how long an operation's name may be in a column.
const mostLabel = 48

func label(op *operation) string {
	s := []rune(op.describe())
	if len(s) > mostLabel {
		return string(s[:mostLabel/2]) + "…" + string(s[len(s)-mostLabel/2:])
	}
	return string(s)
}

func (f *finding) place() site {
	if f.now != nil {
		return f.now.site
	}
	if f.ref != nil {
		return f.ref.site
	}
	return site{}
}

// contents shows what differs in the operation.
func (f *finding) contents(b *strings.Builder) {
	switch {
	case f.what == foundDeadline:
		fmt.Fprintf(b, "\n%s\n", indent(sideBySide(deadlineText(f.ref), deadlineText(f.now))))
	case f.ref != nil && f.now != nil && f.ref.kind == f.now.kind && !bytes.Equal(f.ref.content, f.now.content):
		was, now := f.ref.content, f.now.content
		if headA, bodyA, ok := bytes.Cut(was, []byte("\n\n")); ok {
			if headB, bodyB, ok := bytes.Cut(now, []byte("\n\n")); ok && bytes.Equal(headA, headB) {
				was, now = bodyA, bodyB
			}
		}
		fmt.Fprintf(b, "\n%s\n", indent(sideBySide(string(was), string(now))))
	}
}

func deadlineText(op *operation) string {
	if op.deadline.IsZero() {
		return "none"
	}
	return op.deadline.Format("2006-01-02T15:04:05.000000000Z07:00")
}

func indent(s string) string { return "  " + strings.ReplaceAll(strings.Trim(s, "\n"), "\n", "\n  ") }

// words splits s where there is space, but not inside of quotes.
func words(s string) (list []string) {
	quoted, from := false, 0
	for i, r := range s + " " {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted || i == len(s):
			if i > from {
				list = append(list, s[from:i])
			}
			from = i + 1
		}
	}
	return list
}

// lineWidth is how long the lines of a message are.
const lineWidth = 112

// wrap breaks a paragraph into lines.
func wrap(s, prefix string) string {
	var b strings.Builder
	n := 0
	for i, word := range words(s) {
		w := utf8.RuneCountInString(word)
		switch {
		case i == 0:
			b.WriteString(prefix)
			n = len(prefix)
		case n+1+w > lineWidth:
			b.WriteString("\n" + prefix + "  ")
			n = len(prefix) + 2
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += w
	}
	return b.String()
}
