package conform

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Profiles of a server.
const (
	ProfileAuto      = "auto"      // the certified one if it says that it is certified
	ProfileCertified = "certified" // all rules
	ProfilePlain     = "plain"     // Idempotency-Key alone, section 6
)

// Options of Server. URL is required; it takes a POST of Body and answers it with a status below 400, another answer at each real
// execution.
type Options struct {
	URL string

	Slow  string // answers like URL after a second or a few. Default: URL with sleep=2 in its query
	Busy  string // answers 503 and does nothing. Default: URL with status=503
	Error string // answers 500. Default: URL with status=500
	Crash string // its handler crashes. Default: URL with crash=1

	Also   []string    // URL on other nodes of the same store
	Header http.Header // of every request: credentials, and what the endpoint needs
	Other  http.Header // instead, for a second principal
	Body   []byte      // Default: {"conform":"a test"}

	Profile string        // Default: ProfileAuto
	Rules   []string      // only these. Default: all
	Timeout time.Duration // of one answer. Default: 30 s

	Restart func(context.Context) error // kills the server and starts it again. Default: that is not tested

	Found func(Finding) // is told of every finding as soon as there is one
}

// DefaultTimeout is how long an answer may take.
const DefaultTimeout = 30 * time.Second

// shortLinger is the longest linger for whose end is waited.
const shortLinger = 15 * time.Second

const defaultBody = `{"conform":"a test"}`

// run is one test of a server.
type run struct {
	opt       Options
	transport *http.Transport
	origin    string // scheme and authority
	rules     []Rule
	token     string // in every id of this run

	certified bool
	discovery discovery
	retention time.Duration
	linger    time.Duration
	skew      time.Duration
	offset    int64 // the server's clock minus ours, seconds
	distinct  bool  // answers tell executions apart
	counter   int   // which number of an answer's body counts executions; -1: none
	step      int64 // by which a number rises with each message; 0: none
	slow      func() (time.Duration, string)
	anonymous func() bool

	forgets  time.Time // by when acknowledged messages must be forgotten
	findings []Finding
	audits   *ledger
	sequence int
}

// Server tests the server behind Options.URL. The error says why nothing could be tested; an OptionError, that it was not tried.
func Server(ctx context.Context, o Options) (*Report, error) {
	r, err := newRun(o)
	if err != nil {
		return nil, &OptionError{err}
	}
	defer r.transport.CloseIdleConnections()
	if err := r.probe(ctx); err != nil {
		return nil, err
	}
	r.all(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rep := &Report{Target: r.opt.URL, Profile: ProfilePlain, Lines: lines(r.rules, r.findings)}
	if r.certified {
		rep.Profile, rep.Store = ProfileCertified, r.discovery.Store
	}
	switch {
	case r.counter >= 0:
		rep.Counts = "a number in its answers counts executions"
	case r.step > 1:
		rep.Counts = fmt.Sprintf("a number in its answers rises by %d with each message: is each executed %d times?", r.step, r.step)
	case r.distinct:
		rep.Counts = "its answers tell executions apart"
	default:
		rep.Counts = "its answers do not tell executions apart"
	}
	return rep, nil
}

func newRun(o Options) (*run, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the URL is wrong: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%q is not an http or https URL", o.URL)
	}
	u.Fragment = ""
	o.URL = u.String()
	for _, e := range []struct {
		url   *string
		query string
	}{{&o.Slow, "sleep=2"}, {&o.Busy, "status=503"}, {&o.Error, "status=500"}, {&o.Crash, "crash=1"}} {
		if *e.url == "" {
			*e.url = withQuery(o.URL, e.query)
		}
	}
	if o.Body == nil {
		o.Body = []byte(defaultBody)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	rules, err := chosen(serverRules, o.Rules)
	if err != nil {
		return nil, err
	}
	switch o.Profile {
	case "":
		o.Profile = ProfileAuto
	case ProfileAuto, ProfileCertified, ProfilePlain:
	default:
		return nil, fmt.Errorf("there is no profile %q", o.Profile)
	}
	r := &run{
		opt: o, rules: rules, origin: u.Scheme + "://" + u.Host, token: strings.ToLower(rand.Text()[:14]), counter: -1,
		transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DisableCompression: true, ExpectContinueTimeout: time.Second,
		},
	}
	r.slow = sync.OnceValues(r.probeSlow)
	r.anonymous = sync.OnceValue(r.probeAnonymous)
	r.audits = newLedger()
	return r, nil
}

func withQuery(u, query string) string {
	if strings.Contains(u, "?") {
		return u + "&" + query
	}
	return u + "?" + query
}

// now is the time of the server's clock, in Unix seconds.
func (r *run) now() int64 { return time.Now().Unix() + r.offset }

// wants tells whether the rule is to be tested.
func (r *run) wants(rule string) bool {
	return slices.ContainsFunc(r.rules, func(x Rule) bool { return x.Name == rule })
}

// found keeps a finding.
func (r *run) found(f Finding) {
	if !r.wants(f.Rule) {
		return
	}
	r.findings = append(r.findings, f)
	if r.opt.Found != nil {
		r.opt.Found(f)
	}
}

// all runs every check: those that end at once, then what is to be seen once acknowledged messages are forgotten, then what is to be
// seen after a restart.
func (r *run) all(ctx context.Context) {
	var forgotten, restarted []*trial
	audited := slices.ContainsFunc(claimsOfAnswers, func(c claim) bool { return r.wants(c.rule) })
	for _, c := range checks() {
		if !r.wants(c.rule) && !audited || ctx.Err() != nil {
			continue
		}
		t := r.try(ctx, &c)
		switch {
		case t.later == nil || t.over():
			r.found(t.finding())
		case c.need.has(needRestart):
			restarted = append(restarted, t)
		default:
			forgotten = append(forgotten, t)
		}
	}
	r.forgets = time.Now().Add(2*r.linger + 5*time.Second)
	for _, t := range forgotten {
		t.finish()
		r.found(t.finding())
	}
	if len(restarted) > 0 {
		err := r.restart(ctx)
		for _, t := range restarted {
			t.note("restart the server here")
			if err != nil {
				t.fail("the server did not come back: %v", err)
			}
			t.finish()
			r.found(t.finding())
		}
	}
	for _, f := range r.auditFindings() {
		r.found(f)
	}
}

// tries is how often a check is tried that may have failed by chance.
const tries = 3

// try runs a check. What depends on being quick enough, and was not, is tried again.
func (r *run) try(ctx context.Context, c *check) *trial {
	for n := 1; ; n++ {
		t := &trial{run: r, ctx: ctx, check: c, began: r.now(), number: n}
		if t.missing = r.lacks(c.need); t.missing == "" {
			c.run(t)
		}
		switch {
		case t.why == "" || !t.late && !t.chancy:
			return t
		case n < tries:
			continue
		case t.late:
			t.unseen, t.why = "the slow endpoint is not slow enough for how long answers take here: "+t.why, ""
		}
		return t
	}
}

// patience is how long a restarted server is waited for.
const patience = 30 * time.Second

// restart has the server restarted and waits until it answers.
func (r *run) restart(ctx context.Context) error {
	if err := r.opt.Restart(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a := r.exchange(ctx, &request{method: http.MethodGet, url: r.origin + wellKnown})
		if a.err == nil && a.status < 500 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %s", a)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// need is what a check cannot do without.
type need int

const (
	needCertified need = 1 << iota
	needDistinct
	needSlow
	needOther
	needCredentials
	needAlso
	needShortLinger
	needRestart
)

func (n need) has(m need) bool { return n&m != 0 }

// lacks says what is missing of what a check needs; "" if nothing is.
func (r *run) lacks(n need) string {
	switch {
	case n.has(needCertified) && !r.certified:
		return "the server does not speak Certified"
	case n.has(needDistinct) && !r.distinct:
		return "two messages are answered alike, so that an execution cannot be told from a replay: have the endpoint answer with a counter"
	case n.has(needOther) && len(r.opt.Other) == 0:
		return "there is no second principal: --other 'Authorization: …'"
	case n.has(needCredentials) && !r.credentials():
		return "there are no credentials to leave out: --header 'Authorization: …'"
	case n.has(needAlso) && len(r.opt.Also) == 0:
		return "there is no second node: --also URL"
	case n.has(needShortLinger) && r.linger > shortLinger:
		return fmt.Sprintf("the linger is %s; it is waited for when it is %v or less", r.discovery.Linger, shortLinger)
	case n.has(needRestart) && r.opt.Restart == nil:
		return "the server is not restarted: --restart COMMAND"
	}
	if n.has(needSlow) {
		_, missing := r.slow()
		return missing
	}
	return ""
}

func (r *run) credentials() bool {
	for name := range r.opt.Header {
		if Credential(name) {
			return true
		}
	}
	return false
}

var errEndpoint = errors.New("the endpoint must take a POST and answer it with a status below 400")
