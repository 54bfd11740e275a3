package conform

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is what a trial did: a request and its answer, or something between requests that a person has to do.
type step struct {
	answer *answer
	note   string
}

// script writes the steps for a POSIX shell with curl: new ids, and times that are as far from now as they were.
func (r *run) script(steps []step, began int64) string {
	w := &scripter{run: r, began: began}
	for i, s := range steps {
		if s.answer != nil && s.answer.mark.message != "" && usedLater(steps[i+1:], s.answer.mark.message) && !slices.Contains(w.messages, s.answer.mark.message) {
			w.messages = append(w.messages, s.answer.mark.message)
		}
	}
	var lines []string
	now := "$(date +%s)"
	if r.offset != 0 {
		now = fmt.Sprintf("$(($(date +%%s)%+d))", r.offset)
	}
	lines = append(lines, "now="+now, "run=$$-$now")
	seen := map[string]bool{}
	for _, s := range steps {
		if s.answer == nil {
			lines = append(lines, "# "+s.note)
			continue
		}
		line := w.curl(s.answer)
		if i := slices.Index(w.messages, s.answer.mark.message); i >= 0 && !seen[s.answer.mark.message] {
			seen[s.answer.mark.message] = true
			line = fmt.Sprintf(`m%d=$(%s | tee /dev/stderr | sed -n 's/.*message="\([^"]*\)".*/\1/p')`, i+1, line)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func usedLater(steps []step, message string) bool {
	return slices.ContainsFunc(steps, func(s step) bool {
		return s.answer != nil && (strings.Contains(s.answer.req.url, message) || strings.Contains(string(s.answer.req.body), message))
	})
}

// scripter writes requests as commands.
type scripter struct {
	run      *run
	began    int64
	messages []string // message URLs that are variables of the script, m1 and so on
}

func (w *scripter) curl(a *answer) string {
	q := a.req
	parts := []string{"curl -si"}
	switch q.method {
	case http.MethodHead:
		parts[0] = "curl -sI"
	case http.MethodGet, http.MethodPost:
	default:
		parts = append(parts, "-X "+q.method)
	}
	if q.leaveAfter > 0 {
		parts = append(parts, fmt.Sprintf("--max-time %.2f", q.leaveAfter.Seconds()))
	}
	parts = append(parts, w.quote(q.url))
	h := w.run.headerOf(&answer{req: q})
	if a.sent.at != 0 {
		h.Set(headerCertified, a.sent.String())
	}
	h.Del("User-Agent")
	for _, name := range slices.SortedFunc(maps.Keys(h), func(a, b string) int { return cmp.Compare(order(a)+a, order(b)+b) }) {
		for _, v := range h[name] {
			parts = append(parts, w.field(q.as, name, v))
		}
	}
	if h.Get(headerType) == "" && q.method == http.MethodPost {
		parts = append(parts, "-H 'Content-Type:'") // not curl's own
	}
	line := strings.Join(parts, " ")
	switch {
	case q.zeros > 0:
		line = fmt.Sprintf("head -c %d /dev/zero | %s --data-binary @-", q.zeros, line)
	case len(q.body) > 0 || q.method == http.MethodPost:
		line += " --data-raw " + w.quote(string(q.body))
	}
	if q.copies > 1 {
		line = fmt.Sprintf("for i in $(seq %d); do %s & done; wait", q.copies, line)
	}
	return line
}

// order sorts what a reader looks for first to the front.
func order(name string) string {
	switch name {
	case headerKey:
		return "0"
	case headerCertified:
		return "1"
	}
	return "2"
}

func (w *scripter) field(as principal, name, value string) string {
	if Credential(name) {
		variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if _, given := w.run.opt.Other[name]; as == other && given {
			variable = "OTHER_" + variable
		}
		return `-H "` + name + `: $` + variable + `"`
	}
	return "-H " + w.quote(name+": "+value)
}

// seconds finds times in what is sent.
var seconds = regexp.MustCompile(`\b[0-9]{10}\b`)

// quote quotes s for the shell. What differs from run to run becomes a variable of the script.
func (w *scripter) quote(s string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s)
	text := seconds.ReplaceAllStringFunc(escaped, func(digits string) string {
		n, _ := strconv.ParseInt(digits, 10, 64)
		switch d := n - w.began; {
		case d == 0:
			return "$now"
		case d > -400*86400 && d < 400*86400:
			return fmt.Sprintf("$((now%+d))", d)
		}
		return digits
	})
	text = strings.ReplaceAll(text, w.run.token, "$run")
	for i, m := range w.messages {
		text = strings.ReplaceAll(text, m, fmt.Sprintf("$m%d", i+1))
	}
	if text == s {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	if text == escaped && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	return `"` + text + `"`
}
