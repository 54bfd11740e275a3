package conform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ListenOptions of a Listener.
type ListenOptions struct {
	Addr     string        // host and port; the next ports are taken as well, unless the port is 0
	Rules    []string      // only these are reported. Default: all
	Quiet    time.Duration // how long nothing more must come after what is final. Default: 5 s
	Patience time.Duration // how long another attempt is waited for, beyond what the client was told to wait. Default: 30 s
	Found    func(Finding) // is told what is found as soon as it is known: what held by the end of a scenario, what did not at once
}

// Defaults of ListenOptions.
const (
	DefaultQuiet    = 5 * time.Second
	DefaultPatience = 30 * time.Second
)

// Place is an URL that a client is to send one message to.
type Place struct {
	URL  string `json:"url"`
	Does string `json:"does"` // what befalls the message
}

// place is a desk that is open.
type place struct {
	desk    desk
	ahead   time.Duration // of its clock
	address string
	server  *http.Server
	socket  net.Listener
}

func (p *place) url() string { return "http://" + p.address }

// Listener is a server of many faults: it judges the client that sends to it by what it does about them.
type Listener struct {
	opt    ListenOptions
	rules  []Rule
	claims *ledger
	places []*place

	mu       sync.Mutex // guards what follows
	messages []*message
	told     map[claim]bool
}

// Listen opens the addresses of a Listener. Run must follow.
func Listen(o ListenOptions) (*Listener, error) {
	rules, err := chosen(clientRules, o.Rules)
	if err != nil {
		return nil, &OptionError{err}
	}
	o.Quiet, o.Patience = cmp.Or(o.Quiet, DefaultQuiet), cmp.Or(o.Patience, DefaultPatience)
	l := &Listener{opt: o, rules: rules, claims: newLedger(), told: map[claim]bool{}}
	host, port, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return nil, &OptionError{fmt.Errorf("listen: %w", err)}
	}
	first, err := strconv.Atoi(port)
	if err != nil || first < 0 || first > 65535-int(desks) {
		return nil, &OptionError{fmt.Errorf("listen: %q is no port, or has none behind it", port)}
	}
	for d := range desks {
		at := 0
		if first > 0 {
			at = first + int(d)
		}
		socket, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(at)))
		if err != nil {
			l.close()
			return nil, err
		}
		p := &place{desk: d, socket: socket, address: socket.Addr().String()}
		if d == deskClock {
			p.ahead = clockAhead
		}
		p.server = &http.Server{Handler: l.handler(p), ReadHeaderTimeout: time.Minute}
		l.places = append(l.places, p)
	}
	return l, nil
}

// Places returns the URLs to which the client is to send, one message each, every one with a body of its own. A message to any other path
// of an address meets the next of its scenarios that none has met.
func (l *Listener) Places() []Place {
	var all []Place
	for _, s := range scenarios {
		all = append(all, Place{l.places[s.desk].url() + "/" + s.name, s.does})
	}
	return all
}

// Run serves until ctx ends or all scenarios are over, and reports.
func (l *Listener) Run(ctx context.Context) (*Report, error) {
	served := make(chan error, desks)
	for _, p := range l.places {
		go func() { served <- p.server.Serve(p.socket) }()
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var err error
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case err = <-served:
			ended = true
			served <- err // to be waited for
		case now := <-ticker.C:
			ended = l.rest(now)
		}
	}
	l.close()
	for range l.places {
		<-served
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return nil, err
	}
	return l.report(), nil
}

func (l *Listener) close() {
	for _, p := range l.places {
		p.server.Close()
		p.socket.Close()
	}
}

// rest judges what did not come. It is true when all scenarios are over.
func (l *Listener) rest(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := map[string]bool{}
	for _, m := range l.messages {
		m.rest(now)
		over[m.scenario.name] = m.over
	}
	return !slices.ContainsFunc(scenarios, func(s scenario) bool { return !over[s.name] })
}

// held keeps that c held, and tells it once.
func (l *Listener) held(c claim) {
	l.claims.saw(c)
	l.tell(c)
}

// broke keeps that c did not hold for m, and tells it once.
func (l *Listener) broke(c claim, m *message, why string) {
	m.logf("%s fails: %s", c.rule, why)
	if l.claims.broke(c, m.scenario.name+": "+why, "", strings.Join(m.log, "\n")) {
		l.told[c] = false
		l.tell(c)
	}
}

func (l *Listener) tell(c claim) {
	wanted := slices.ContainsFunc(l.rules, func(r Rule) bool { return r.Name == c.rule })
	if l.opt.Found != nil && wanted && !l.told[c] {
		l.told[c] = true
		l.opt.Found(l.claims.finding(c, ""))
	}
}

// report says what was found.
func (l *Listener) report() *Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	var findings []Finding
	seen := map[claim]bool{}
	add := func(c claim, unseen string) {
		if !seen[c] {
			seen[c] = true
			findings = append(findings, l.claims.finding(c, unseen))
		}
	}
	for _, c := range claimsOfAttempts {
		add(c, l.unseen(c))
	}
	for _, s := range scenarios {
		for _, r := range s.replies {
			why := fmt.Sprintf("no message came to %s/%s", l.places[s.desk].url(), s.name)
			switch {
			case len(l.messages) == 0:
				why = "no message came"
			case slices.ContainsFunc(l.messages, func(m *message) bool { return m.scenario.name == s.name }):
				why = fmt.Sprintf("the test ended before the scenario %s was over", s.name)
			}
			add(r.claim, why)
		}
	}
	return &Report{Target: l.places[deskMain].url(), Lines: lines(l.rules, findings)}
}

func (l *Listener) unseen(c claim) string {
	switch {
	case len(l.messages) == 0:
		return "no message came"
	case c == claimAcks, c == claimRides, c == claimAckAt:
		return "no such acknowledgement came; none is ever needed (A4), but servers keep outcomes longer without"
	case c == claimFollows:
		return "no message came to the server whose clock is ahead, or its until was too near"
	}
	return "no such attempt came"
}

// find returns the message of an attempt, which may be new.
func (l *Listener) find(p *place, a *attempt) *message {
	for _, m := range l.messages {
		if m.place == p && slices.Contains(m.ids, a.id()) {
			return m
		}
	}
	for _, m := range l.messages { // another id for what has no outcome yet
		unfinished := m.place == p && !m.over && m.last != nil && m.last.follow == again
		if unfinished && len(a.body) > 0 && (a.target == m.first.target || a.target == m.moved) && string(a.body) == string(m.first.body) {
			m.ids = append(m.ids, a.id())
			return m
		}
	}
	m := &message{listener: l, scenario: l.scenario(p, a.target), place: p, id: a.id(), ids: []string{a.id()}, first: a, firstAt: a.begin}
	l.messages = append(l.messages, m)
	return m
}

// scenario returns the scenario that the target names, or the next of p's that no message has met, or one where all goes well.
func (l *Listener) scenario(p *place, target string) *scenario {
	met := map[string]bool{}
	for _, m := range l.messages {
		met[m.scenario.name] = true
	}
	well, next := &scenarios[0], (*scenario)(nil)
	if p.desk == deskPlain {
		well = &wellPlain
	}
	for i := range scenarios {
		s := &scenarios[i]
		if s.desk != p.desk {
			continue
		}
		if target == "/"+s.name {
			return s
		}
		if next == nil && !met[s.name] {
			next = s
		}
	}
	if next == nil {
		return well
	}
	return next
}

// wellPlain is what befalls further messages to the plain server.
var wellPlain = scenario{"well", deskPlain, "is done", []reply{
	{manner: plainly, status: http.StatusCreated, follow: final, claim: claim{"C5", "2xx of a plain peer is final"}},
}}
