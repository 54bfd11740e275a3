package conform

import "sync"

// claim is something that a rule says, of which every occurrence is judged.
type claim struct{ rule, text string }

// ledger keeps what was seen of claims that are judged again and again: how often they held, and how one first did not. It is safe for
// concurrent use.
type ledger struct {
	mu     sync.Mutex // guards what follows
	held   map[claim]int
	broken map[claim]Finding
	first  map[string]string
}

func newLedger() *ledger {
	return &ledger{held: map[claim]int{}, broken: map[claim]Finding{}, first: map[string]string{}}
}

// same returns the first value that was seen of what is to be always the same.
func (l *ledger) same(what, value string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.first[what]; !ok {
		l.first[what] = value
	}
	return l.first[what]
}

// saw counts one occurrence, in which c held.
func (l *ledger) saw(c claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[c]++
}

// broke keeps the first occurrence in which c did not hold; it is false for a later one. Script and seen are as in Finding.
func (l *ledger) broke(c claim, why, script, seen string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.broken[c]; known {
		return false
	}
	l.broken[c] = Finding{c.rule, c.text, Fail, why, script, seen}
	return true
}

// finding returns what was found about c; unseen says why it may not have been.
func (l *ledger) finding(c claim, unseen string) Finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.broken[c]; ok {
		return f
	}
	if l.held[c] > 0 {
		return Finding{Rule: c.rule, Claim: c.text, Verdict: Pass}
	}
	return Finding{Rule: c.rule, Claim: c.text, Verdict: NotSeen, Why: unseen}
}
