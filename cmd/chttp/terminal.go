package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// terminal is what is known of where output goes. The zero terminal is a file.
type terminal struct {
	live  bool // a line can be written over
	color bool
}

func newTerminal(f *os.File) terminal {
	live := isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	return terminal{live: live, color: live && os.Getenv("NO_COLOR") == ""}
}

// The colors, as the parameters of the terminal's escape sequence.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
)

func (t terminal) paint(color, s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// liveLine is one line that shows how something goes on: written over on a terminal, otherwise written now and then.
type liveLine struct {
	w     io.Writer
	term  terminal
	every time.Duration // between two lines that stay
	last  time.Time
	shown bool
}

// newLiveLine returns a line that is due for the first time a while from now.
func newLiveLine(w io.Writer, t terminal, every time.Duration) *liveLine {
	return &liveLine{w: w, term: t, every: every, last: time.Now()}
}

// show shows s.
func (l *liveLine) show(s string) {
	if l.term.live {
		fmt.Fprintf(l.w, "\r\x1b[K\x1b[?7l%s\x1b[?7h", s) // cut off at the edge, not wrapped
		l.shown = true
		return
	}
	if time.Since(l.last) >= l.every {
		l.last = time.Now()
		fmt.Fprintln(l.w, s)
	}
}

// clear takes the line away.
func (l *liveLine) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}

// barWidth is how many characters a bar has.
const barWidth = 16

// bar returns a bar of which part of all is full.
func bar(part, all int) string {
	full := 0
	if all > 0 {
		full = min(part, all) * barWidth / all
	}
	return strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
}

// count writes n with commas.
func count[T ~int | ~int64](n T) string {
	digits := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// messages writes n and what it counts.
func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return count(n) + " messages"
}

// age writes how long something took or is ago, in one unit.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "in " + age(-max(d, -math.MaxInt64))
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// table writes rows with their columns aligned and trailing spaces cut.
func table(w io.Writer, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// printable returns b as one line of text, at most limit characters of it, or tells how many bytes it is.
func printable(b []byte, limit int) string {
	if !utf8.Valid(b) {
		return fmt.Sprintf("(%s bytes, not text)", count(len(b)))
	}
	var line strings.Builder
	for n, r := range []rune(string(b[:min(len(b), limit*utf8.UTFMax)])) {
		if n == limit || len(b) > limit*utf8.UTFMax && n == limit-1 {
			return line.String() + "…"
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			line.WriteByte(' ')
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError:
			line.WriteByte('.') // nothing in a file may steer the terminal
		default:
			line.WriteRune(r)
		}
	}
	return line.String()
}
