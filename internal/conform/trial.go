package conform

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// check is one claim of a rule, and how it is tried.
type check struct {
	rule  string
	claim string
	need  need
	run   func(*trial)
}

// trial is one run of a check. Once it is over, because a claim did not hold or something is missing, what is asked of it does nothing
// more; the first thing that was wrong is what it reports.
type trial struct {
	*run
	ctx    context.Context
	check  *check
	began  int64
	number int    // of the try, from 1
	later  func() // what is to be seen after a while (needShortLinger) or a restart (needRestart)

	chancy bool      // a failure may be by chance, and is tried again
	late   bool      // it failed after limit
	limit  time.Time // a failure after it says only that answers came late; zero: it says what it says

	mu      sync.Mutex // guards what follows
	steps   []step
	why     string // what did not hold
	missing string // what is not there
	unseen  string // why it cannot be told
}

func (t *trial) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why != "" || t.missing != "" || t.unseen != "" || t.ctx.Err() != nil
}

func (t *trial) end(to *string, format string, args []any) {
	if !t.over() {
		t.mu.Lock()
		*to = fmt.Sprintf(format, args...)
		t.mu.Unlock()
	}
}

// fail ends the trial: the claim does not hold.
func (t *trial) fail(format string, args ...any) {
	t.late = t.late || !t.limit.IsZero() && time.Now().After(t.limit)
	t.end(&t.why, format, args)
}

// lack ends the trial: what it needs is not there.
func (t *trial) lack(format string, args ...any) { t.end(&t.missing, format, args) }

// obscure ends the trial: whether the claim holds cannot be told.
func (t *trial) obscure(format string, args ...any) { t.end(&t.unseen, format, args) }

// note puts something into the script that a person has to do.
func (t *trial) note(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, step{note: s})
}

func (t *trial) finish() {
	if !t.over() {
		t.later()
	}
}

func (t *trial) finding() Finding {
	f := Finding{Rule: t.check.rule, Claim: t.check.claim, Verdict: Pass}
	switch {
	case t.why != "":
		f.Verdict, f.Why, f.Script = Fail, t.why, t.script(t.steps, t.began)
	case t.missing != "":
		f.Verdict, f.Why = NotOffered, t.missing
	case t.unseen != "":
		f.Verdict, f.Why = NotSeen, t.unseen
	}
	return f
}

// message returns a new message to the endpoint.
func (t *trial) message() *request {
	t.sequence++
	now := t.now()
	h := http.Header{headerType: {typeJSON}}
	if given := t.opt.Header.Values(headerType); len(given) > 0 {
		h[headerType] = given
	}
	id := fmt.Sprintf("conform-%s-%03d", t.token, t.sequence)
	return &request{
		method: http.MethodPost, url: t.opt.URL, key: []string{`"` + id + `"`}, header: h, body: t.opt.Body,
		stamps: &stamps{sent: now, until: now + 3600},
	}
}

// to returns a new message to another URL of the endpoint.
func (t *trial) to(url string) *request {
	q := t.message()
	q.url = url
	return q
}

// attempt sends one request and has its answer audited.
func (t *trial) attempt(q *request) *answer {
	if t.over() {
		return &answer{req: q, err: t.ctx.Err()}
	}
	a := t.exchange(t.ctx, t.written(q))
	t.mu.Lock()
	t.steps = append(t.steps, step{answer: a})
	steps := slices.Clone(t.steps)
	t.mu.Unlock()
	if t.check.rule != "" && t.certified && q.leaveAfter == 0 {
		t.audit(a, func() string { return t.script(steps, t.began) })
	}
	return a
}

// written returns q as this server is sent it: a plain one gets no stamps, and a plain client's key is bare.
func (t *trial) written(q *request) *request {
	if q.stamps != nil && !t.certified && t.check.rule != "" {
		q = q.plain()
	}
	if q.stamps == nil && len(q.key) == 1 {
		q = q.clone()
		q.key[0] = strings.Trim(q.key[0], `"`)
	}
	return q
}

// answered sends one request that must get an answer.
func (t *trial) answered(q *request) *answer {
	a := t.attempt(q)
	if a.err != nil {
		t.fail("got %s", a)
	}
	return a
}

// pending tells whether the answer says that there is no outcome yet, to a certified or a plain client.
func (a *answer) pending() bool {
	return a.err == nil && (a.is(stateRunning) || a.status == http.StatusConflict && !a.is(stateDone))
}

// outcome sends a message until it is over, as a client does, and returns the outcome.
func (t *trial) outcome(q *request) *answer {
	limit := time.Now().Add(t.opt.Timeout)
	for {
		a := t.answered(q)
		switch {
		case t.over():
			return a
		case a.is(stateNone) && (a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests): // the same again, later
		case !a.pending():
			if t.certified && q.stamps != nil && t.check.rule != "" && !a.is(stateDone) {
				t.fail("got %s, want the outcome, state=done", a)
			}
			return a
		}
		if time.Now().After(limit) {
			t.fail("it is not over after %v: %s", t.opt.Timeout, a)
			return a
		}
		wait, _ := retryAfter(a.header, time.Now())
		t.pause(max(min(wait, time.Second), 50*time.Millisecond))
	}
}

func (t *trial) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
	}
}

// first has a new message done, and wants its answer not to be taken for a replay.
func (t *trial) first(q *request) *answer {
	a := t.answered(q)
	if a.pending() {
		return t.outcome(q)
	}
	switch {
	case t.over() || t.check.rule == "":
	case t.certified && q.stamps != nil && !a.is(stateDone):
		t.fail("a new message: got %s, want state=done", a)
	case a.mark.replayed || a.header.Get(headerReplayed) != "":
		t.fail("a new message is answered as a replay: %s", a)
	}
	return a
}

// replay sends the message once more and wants the outcome that it had, from the record.
func (t *trial) replay(q *request, want *answer) *answer {
	a := t.outcome(q)
	if !t.over() {
		t.sameOutcome(a, want)
	}
	return a
}

// kept sends the message once more and wants it to be done as before; whether byte for byte, S6 and section 6 tell.
func (t *trial) kept(q *request, want *answer) {
	a := t.outcome(q)
	switch {
	case t.over():
	case a.status != want.status, t.certified && q.stamps != nil && !a.mark.replayed, !t.certified && string(a.body) != string(want.body):
		t.fail("the message itself is answered with %s, before with %s", a, want)
	}
}

// sameOutcome wants a to be the outcome want once more.
func (t *trial) sameOutcome(a, want *answer) {
	name := firstDifference(want.header, a.header)
	switch {
	case a.status != want.status:
		t.fail("the copy is answered with %s, the first with %s", a, want)
	case string(a.body) != string(want.body):
		t.fail("the copy's content is another: %s, the first was %s", a.excerpt(want), want.excerpt(a))
	case name != "" && t.certified:
		t.fail("the copy's header field %s is %q, the first was %q", name, a.header.Values(name), want.header.Values(name))
	case t.certified && a.req.stamps != nil && !a.mark.replayed:
		t.fail("the copy's answer does not say replayed=?1: %s", a)
	}
}

// none wants an answer that is no outcome, with this status, state and code.
func (t *trial) none(a *answer, status int, state, code string) {
	if !t.over() && (a.status != status || a.mark.state != state || a.problem.Code != code) {
		t.fail("got %s, want status %d, state=%s, code %s", a, status, state, code)
	}
}

// plainNone wants an answer to a plain client that is no outcome.
func (t *trial) plainNone(a *answer, status int, code string) {
	switch {
	case t.over():
	case !t.certified && a.status != status:
		t.fail("got %s, want status %d", a, status)
	case t.certified && (a.status != status || a.problem.Code != code):
		t.fail("got %s, want status %d, code %s", a, status, code)
	}
}

// once wants the endpoint to be executed once while f runs.
func (t *trial) once(f func()) { t.executes(1, f) }

// executes wants the endpoint to be executed n times while f runs, where its answers count.
func (t *trial) executes(n int64, f func()) {
	before, counts := t.count()
	f()
	if after, again := t.count(); counts && again && !t.over() && after-before-1 != n {
		t.fail("the endpoint was executed %d times, want %d", after-before-1, n)
	}
}

// count executes the endpoint once, and returns how often it has been.
func (t *trial) count() (int64, bool) {
	if t.counter < 0 || t.over() {
		return 0, false
	}
	steps := t.steps
	a := t.outcome(t.message())
	n := numbers(a)
	if t.over() || len(n) <= t.counter {
		return 0, false
	}
	t.steps = steps // for scripts it is without interest
	return n[t.counter], true
}

// together sends n copies at once and returns their outcomes.
func (t *trial) together(n int, urls []string, q *request) []*answer {
	all := make([]*answer, n)
	var wg sync.WaitGroup
	steps := t.steps
	for i := range all {
		c := q.clone()
		c.url = urls[i%len(urls)]
		wg.Go(func() { all[i] = t.outcome(c) })
	}
	wg.Wait()
	shown := t.written(q).clone()
	shown.copies = n
	t.steps = append(steps, step{answer: &answer{req: shown, sent: all[0].sent}})
	return all
}

// unrecorded are header fields that belong to one response rather than to the outcome.
var unrecorded = []string{
	headerCertified, headerReplayed, "Preference-Applied", "Date", "Set-Cookie", "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade",
	"Trailer", "Proxy-Connection", "Traceparent", "Tracestate", "Traceresponse", "Server-Timing", "Via", "Age", "Alt-Svc", "Cf-Ray",
	"Request-Id", "X-Request-Id", "X-Correlation-Id", "X-Trace-Id", "X-Runtime", "X-Response-Time",
}

// firstDifference names a recorded header field that is not the same in both; "" if all are.
func firstDifference(a, b http.Header) string {
	for _, pair := range [...][2]http.Header{{a, b}, {b, a}} {
		for name, values := range pair[0] {
			if !slices.Contains(unrecorded, name) && !slices.Equal(values, pair[1][name]) {
				return name
			}
		}
	}
	return ""
}
