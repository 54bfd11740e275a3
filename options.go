package chttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"
)

// Defaults of Options, Policy, Destination and HandlerOptions, and limits that have no option.
const (
	defaultRetention   = 7 * 24 * time.Hour
	defaultLinger      = 10 * time.Minute
	defaultMaxResident = 10_000
	defaultMaxValue    = 10 << 20
	defaultUntil       = 7 * 24 * time.Hour // to a peer known to be certified
	defaultUntilPlain  = 23 * time.Hour     // to any other: plain servers keep keys for 24 h
	defaultConcurrency = 16
	defaultWait        = 10 * time.Second
	defaultMaxBody     = 10 << 20
	defaultAttempts    = 5
	skew               = 2 * time.Minute     // S8: how far a client's clock may be ahead
	certifiedRetention = 15 * 24 * time.Hour // S9: longest until − sent
	plainRetention     = 24 * time.Hour      // section 6
	minAnonymousID     = 22                  // S2
	attemptTimeout     = 40 * time.Second    // one attempt; longer than a server waits
	lazyFlush          = 10 * time.Millisecond
	maxJournal         = 64 << 20 // bytes that may wait for the writer
	maxResidentBytes   = 256 << 20
	errorBody          = 4 << 10 // of Error.Body and of the response kept with a failed message
	shutdownAcks       = 2 * time.Second
	slowStop           = 10 * time.Second
	sweepRows          = 2_000
	scanPage           = 256
	ackDelay           = time.Second
	restPause          = time.Second     // out of memory, for what waits for an answer
	unreadPause        = 2 * time.Second // at least, and at most twice that: out of memory, when the store could not be read
	maxAcksOwed        = 10_000
)

// Options of a Node. The zero value is ready to use.
type Options struct {
	// Transport does one attempt. It must not retry. Default: a copy of http.DefaultTransport that keeps more idle connections.
	Transport http.RoundTripper

	// Destination tells the policy of the peer that req goes to. It is asked at each attempt. Default: by authority, no credentials.
	Destination func(ctx context.Context, req *http.Request) (Destination, error)

	// Failed is called, as an execution of its own, for each sent message that was rejected, undelivered or unknown. Default: listed
	// only.
	Failed func(ctx context.Context, m Info) error

	// Codec encodes inputs, values and outcomes. Default: encoding/json.
	Codec Codec

	// Errors are the sentinels that errors.Is finds again after a replay, by their texts. Default: those of context, io, fs and sql.
	Errors []error

	// Logger is told what an operator must know. Default: slog.Default().
	Logger *slog.Logger

	// Policy of every operation that does not say otherwise. Default: the defaults of Policy's fields.
	Policy Policy

	// Retention of finished functions: so long Start finds them again and their outcome and oplog can be looked at. Default: 7 days.
	Retention time.Duration

	// Linger is how long an acknowledged id is remembered (PROTOCOL A2), and a delivered message that chose no id. Default: 10 min.
	Linger time.Duration

	// MaxResident is how many executions are in memory at once. Default: 10,000.
	MaxResident int

	// MaxValue bounds one value, request or response, in bytes. Default: 10 MiB.
	MaxValue int
}

// Policy is how operations are done. A zero field leaves what the outer Policy says.
type Policy struct {
	ID          ID                // of the message. Default: derived (inside) or random (Node.Send)
	Name        string            // of the operation's place, for calls. Default: method and URL without its query
	Destination string            // Default: the URL's authority
	Labels      map[string]string // stored with the message, for Destination, Failed, lists
	After       time.Duration     // first attempt no sooner. Default: at once
	Until       time.Duration     // no attempt after. Default: 7 days from the first (23 h to plain peers)
	Attempts    int               // tries of a step whose error asks for another. Default: 1, a step's error is its result
	AtMostOnce  bool              // park, rather than repeat, when a crash leaves it unknown
	ReadOnly    bool              // no effect outside: nothing waits for the disk
}

// over returns p with its zero fields taken from outer.
func (p Policy) over(outer Policy) Policy {
	if p.ID == "" {
		p.ID = outer.ID
	}
	if p.Name == "" {
		p.Name = outer.Name
	}
	if p.Destination == "" {
		p.Destination = outer.Destination
	}
	if p.Labels == nil {
		p.Labels = outer.Labels
	}
	if p.After == 0 {
		p.After = outer.After
	}
	if p.Until == 0 {
		p.Until = outer.Until
	}
	if p.Attempts == 0 {
		p.Attempts = outer.Attempts
	}
	p.AtMostOnce = p.AtMostOnce || outer.AtMostOnce
	p.ReadOnly = p.ReadOnly || outer.ReadOnly
	return p
}

func (p Policy) validate() error {
	switch {
	case p.ID != "" && validID(p.ID) != nil:
		return fmt.Errorf("Policy.ID %q: %w", p.ID, validID(p.ID))
	case p.After < 0:
		return fmt.Errorf("Policy.After is negative: %v", p.After)
	case p.Until < 0:
		return fmt.Errorf("Policy.Until is negative: %v", p.Until)
	case p.Until > certifiedRetention:
		return fmt.Errorf("Policy.Until is %v; servers remember %v at the most", p.Until, certifiedRetention)
	case p.Until > 0 && p.After >= p.Until:
		return fmt.Errorf("Policy.After (%v) is not before Policy.Until (%v): no attempt would be made", p.After, p.Until)
	case p.Attempts < 0:
		return fmt.Errorf("Policy.Attempts is negative: %d", p.Attempts)
	}
	return nil
}

// Destination is one peer's policy.
type Destination struct {
	Policy
	Name        string                        // shares breaker and limits, and tells peers on one authority apart. Default: the authority
	Authorize   func(req *http.Request) error // fresh credentials or signature for one attempt; the body is in GetBody
	Concurrency int                           // attempts at once. Default: 16
	Rate        float64                       // attempts a second. Default: no limit
	Plain       bool                          // the peer has no de-duplication: send no Idempotency-Key
}

// HandlerOptions of Node.Handler.
type HandlerOptions struct {
	Anonymous  bool                                                                 // serve callers without a principal (ids of 22 characters or more)
	RequireKey bool                                                                 // 400 without a key. Default: run under a new id
	Principal  func(*http.Request) (string, error)                                  // stable name, at most 255 bytes. error: 401. nil: the anonymous scope, only with Anonymous
	Context    func(ctx context.Context, principal string) (context.Context, error) // Default: nothing but the oplog
	Header     func(name string) bool                                               // which request headers are stored, and seen. Default: all but credentials
	Wait       time.Duration                                                        // for the outcome, before 202 or 409. Default: 10 s
	MaxBody    int64                                                                // bytes. Default: 10 MiB
	Attempts   int                                                                  // crashes until parked. Default: 5
}

// Codec encodes values. What Unmarshal brings back is what every run of a function sees, the first included.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(b []byte, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// withDefaults returns a copy of o, defaulted and checked.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.Policy.Labels = maps.Clone(c.Policy.Labels)
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	if c.Codec == nil {
		c.Codec = jsonCodec{}
	}
	if c.Errors == nil {
		c.Errors = defaultErrors
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	setDefault(&c.Retention, defaultRetention)
	setDefault(&c.Linger, defaultLinger)
	setDefault(&c.MaxResident, defaultMaxResident)
	setDefault(&c.MaxValue, defaultMaxValue)
	switch {
	case c.Retention < 0:
		return c, fmt.Errorf("Options.Retention is negative: %v", c.Retention)
	case c.Linger < time.Second:
		return c, fmt.Errorf("Options.Linger is %v; it must be a second or more, and longer than a request can be delayed in the network", c.Linger)
	case c.MaxResident < 0:
		return c, fmt.Errorf("Options.MaxResident is negative: %d", c.MaxResident)
	case c.MaxValue < 0:
		return c, fmt.Errorf("Options.MaxValue is negative: %d", c.MaxValue)
	case c.Policy.ID != "":
		return c, errors.New("Options.Policy.ID is set: an id names one message; set it with chttp.With")
	}
	return c, c.Policy.validate()
}

// maxIdlePerHost is how many idle connections the default transport keeps to one authority.
const maxIdlePerHost = 256

// newTransport returns a node's own transport.
func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 4*maxIdlePerHost, maxIdlePerHost
	return t
}

func (o *HandlerOptions) withDefaults() (HandlerOptions, error) {
	var c HandlerOptions
	if o != nil {
		c = *o
	}
	setDefault(&c.Wait, defaultWait)
	setDefault(&c.MaxBody, defaultMaxBody)
	setDefault(&c.Attempts, defaultAttempts)
	if c.Header == nil {
		c.Header = func(string) bool { return true }
	}
	switch {
	case c.Principal == nil && !c.Anonymous:
		return c, errors.New("HandlerOptions.Principal is nil: say who calls, or set Anonymous to serve everybody in one scope")
	case c.Wait < 0:
		return c, fmt.Errorf("HandlerOptions.Wait is negative: %v", c.Wait)
	case c.MaxBody < 0:
		return c, fmt.Errorf("HandlerOptions.MaxBody is negative: %d", c.MaxBody)
	case c.Attempts < 0:
		return c, fmt.Errorf("HandlerOptions.Attempts is negative: %d", c.Attempts)
	}
	return c, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
