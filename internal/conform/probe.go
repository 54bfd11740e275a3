package conform

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Defaults of what discovery tells, for a server that does not tell it.
const (
	defaultRetention = 15 * 24 * time.Hour
	defaultLinger    = 10 * time.Minute
	defaultSkew      = 2 * time.Minute
)

// probe finds out what is offered. Its error says why nothing can be tested.
func (r *run) probe(ctx context.Context) error {
	a := r.exchange(ctx, &request{method: http.MethodGet, url: r.origin + wellKnown})
	if a.err != nil {
		return fmt.Errorf("the server is not there: %w", a.err)
	}
	offered := r.discover(a)
	t := &trial{run: r, ctx: ctx, check: &check{}, began: r.now()}
	first := t.attempt(t.message())
	switch {
	case first.err != nil:
		return fmt.Errorf("the endpoint does not answer: %w", first.err)
	case first.mark.state == stateRunning:
		first = t.outcome(first.req)
	}
	switch {
	case first.status == http.StatusUnauthorized || first.status == http.StatusForbidden:
		return fmt.Errorf("the endpoint answers %d: give credentials with --header 'Authorization: …'", first.status)
	case first.status >= http.StatusBadRequest:
		return fmt.Errorf("%w: %s", errEndpoint, first)
	}
	r.certified = r.opt.Profile == ProfileCertified || r.opt.Profile == ProfileAuto && (offered || first.mark.present)
	samples := []*answer{t.first(t.message()), t.first(t.message()), t.first(t.message())}
	if t.over() {
		return fmt.Errorf("%w: %s", errEndpoint, t.why)
	}
	r.distinct = differ(samples[0], samples[1]) && differ(samples[1], samples[2])
	r.counter, r.step = counter(samples)
	if r.step != 1 {
		r.counter = -1
	}
	return nil
}

// discover takes over what discovery says. It is false if the server has none.
func (r *run) discover(a *answer) bool {
	var d discovery
	ok := a.status == http.StatusOK && json.Unmarshal(a.body, &d) == nil && slices.Contains(d.Versions, 1)
	r.retention, r.linger, r.skew = defaultRetention, defaultLinger, defaultSkew
	if !ok {
		return false
	}
	r.discovery = d
	for text, to := range map[string]*time.Duration{d.Retention: &r.retention, d.Linger: &r.linger, d.Skew: &r.skew} {
		if p, err := period(text); err == nil && p > 0 {
			*to = p
		}
	}
	if off := d.Now - time.Now().Unix(); d.Now > 0 && (off > 2 || off < -2) {
		r.offset = off
	}
	return true
}

// differ tells whether two answers to the same request show that it was executed twice.
func differ(a, b *answer) bool {
	return a.status != b.status || string(a.body) != string(b.body) || firstDifference(a.header, b.header) != ""
}

var digits = regexp.MustCompile(`[0-9]{1,15}`)

// numbers returns the numbers in an answer's body.
func numbers(a *answer) (list []int64) {
	for _, s := range digits.FindAll(a.body, -1) {
		n, _ := strconv.ParseInt(string(s), 10, 64)
		list = append(list, n)
	}
	return list
}

// counter returns which number of the samples' bodies rises by the same step from each to the next, and the step; the one that
// rises by 1 if there is one, and -1 if there is none.
func counter(samples []*answer) (which int, step int64) {
	var list [][]int64
	for _, s := range samples {
		list = append(list, numbers(s))
		if len(list[0]) != len(numbers(s)) {
			return -1, 0
		}
	}
	which = -1
	for i := range list[0] {
		d := list[1][i] - list[0][i]
		if d > 0 && list[2][i]-list[1][i] == d && (which < 0 || d == 1) {
			which, step = i, d
		}
		if step == 1 {
			break
		}
	}
	return which, step
}

// leastSlow is how long a slow endpoint takes at the least.
const leastSlow = 300 * time.Millisecond

// probeSlow measures how long the slow endpoint takes, or says that it is none.
func (r *run) probeSlow() (time.Duration, string) {
	t := &trial{run: r, ctx: context.Background(), check: &check{}, began: r.now()}
	q := t.message()
	q.url = r.opt.Slow
	began := time.Now()
	a := t.outcome(q)
	took := time.Since(began)
	switch {
	case t.over():
		return 0, fmt.Sprintf("the slow endpoint %s does not answer: %s", r.opt.Slow, t.why)
	case a.status >= http.StatusBadRequest || took < leastSlow:
		return 0, fmt.Sprintf("there is nothing slow: %s answers %d after %d ms", r.opt.Slow, a.status, took.Milliseconds())
	}
	return took, ""
}

// probeAnonymous tells whether the requests of this run go in the anonymous scope: short ids are refused there (S2).
func (r *run) probeAnonymous() bool {
	t := &trial{run: r, ctx: context.Background(), check: &check{}, began: r.now()}
	q := t.message()
	q.key = []string{`"` + r.token[:8] + `"`}
	a := t.attempt(q)
	return a.err == nil && a.problem.Code == "key-invalid"
}
