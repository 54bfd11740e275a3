package chttp

import (
	"strings"
	"time"
)

// Preferences that a request may state (section 1, RFC 7240), as they are sent and as Preference-Applied repeats them.
const (
	preferAsync   = "respond-async"  // 202 once accepted durably
	preferMinimal = "return=minimal" // keep only the status: fire and forget
)

// maxWait is the longest that a request can ask to be held open.
const maxWait = 5 * time.Minute

// preferences is what a request prefers. The zero value prefers nothing.
type preferences struct {
	Async   bool
	Minimal bool
	Wait    time.Duration // with HasWait: no longer than this for the outcome
	HasWait bool
}

// parsePrefer reads a Prefer field. What it does not know or cannot read is ignored, and of a preference that is stated more than once the
// first counts (RFC 7240, section 2).
func parsePrefer(values []string) preferences {
	var p preferences
	if fieldSize(values) > maxField {
		return p
	}
	var returned bool
	for _, line := range values {
		for line != "" {
			var preference string
			preference, line = cutUnquoted(line, ',')
			preference, _ = cutUnquoted(preference, ';') // no parameters are defined for ours
			name, value, _ := strings.Cut(preference, "=")
			value = unquote(strings.Trim(value, " \t"))
			switch strings.ToLower(strings.Trim(name, " \t")) {
			case "respond-async":
				p.Async = true
			case "return":
				if !returned {
					returned, p.Minimal = true, strings.EqualFold(value, "minimal")
				}
			case "wait":
				if wait, ok := deltaSeconds(value, maxWait); ok && !p.HasWait {
					p.Wait, p.HasWait = wait, true
				}
			}
		}
	}
	return p
}

// cutUnquoted cuts s at the first separator outside quotes. An open quote runs to the end.
func cutUnquoted(s string, separator byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == separator:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// unquote returns what a quoted string without escapes holds, and every other word as it is.
func unquote(s string) string {
	if inner := scanQuoted(s); inner != "" {
		return inner
	}
	return s
}

// deltaSeconds reads a number of seconds (RFC 9110, section 10.2.3), at most limit, however many digits it has.
func deltaSeconds(digits string, limit time.Duration) (time.Duration, bool) {
	if digits == "" {
		return 0, false
	}
	var d time.Duration
	for i := range len(digits) {
		c := digits[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		d = min(d*10+time.Duration(c-'0')*time.Second, limit)
	}
	return d, true
}
