// Package chttp gives both ends of a plain HTTP call a durable memory.
//
// This file is the agreed surface, signatures and the doc comments that matter most; bodies panic. The parts marked "later"
// belong to later work and must fit without breaking what is here.
package chttp

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

// ID names a message or an execution: 1 to 255 visible ASCII characters without " \ , ;
type ID = string

// Store is store.Store: the contract and its types live in package store, since only drivers use them.
type Store = store.Store

// Node is a process's durable identity.
type Node struct{}

// Options of a Node. The zero value is ready to use.
type Options struct {
	Transport   http.RoundTripper                                                 // one attempt. Default: http.DefaultTransport
	Destination func(ctx context.Context, req *http.Request) (Destination, error) // Default: by authority, no credentials
	Failed      func(ctx context.Context, m Info) error                           // a sent message was rejected, undelivered or unknown. Itself an execution. Default: listed only
	Codec       Codec                                                             // Default: JSON
	Errors      []error                                                           // sentinels that errors.Is finds again after a replay. Default: those of context, io, fs, sql
	Logger      *slog.Logger                                                      // Default: slog.Default()
	Policy      Policy                                                            // of every operation that does not say otherwise
	Retention   time.Duration                                                     // finished functions. Default: 7 days
	Linger      time.Duration                                                     // after an acknowledgement. Default: 10 min
	MaxResident int                                                               // executions in memory. Default: 10,000
	MaxValue    int                                                               // bytes of one value, request or response. Default: 10 MiB
}

// Policy is how operations are done. A zero field leaves what the outer Policy says.
type Policy struct {
	ID          ID                // of the message. Default: derived (inside) or random (Node.Send)
	Name        string            // of the operation's place, for calls. Default: method and URL without its query
	Destination string            // Default: the URL's authority
	Labels      map[string]string // stored with the message, for Destination, Failed, lists
	After       time.Duration     // first attempt no sooner. Default: at once
	Until       time.Duration     // no attempt after. Default: 7 days (23 h to plain peers)
	Attempts    int               // tries of a step whose error asks for another. Default: 1, a step's error is its result
	AtMostOnce  bool              // park, rather than repeat, when a crash leaves it unknown
	ReadOnly    bool              // no effect outside: nothing waits for the disk
}

// Destination is one peer's policy.
type Destination struct {
	Policy
	Name        string                        // shares breaker, limits, pause. Default: the authority
	Authorize   func(req *http.Request) error // fresh credentials or signature for one attempt; the body is in GetBody
	Concurrency int                           // Default: 16
	Rate        float64                       // attempts a second. Default: no limit
	Plain       bool                          // the peer has no de-duplication: send no Idempotency-Key
}

// HandlerOptions of Node.Handler.
type HandlerOptions struct {
	Anonymous  bool                                                                 // serve callers without a principal (ids of 22 characters or more)
	RequireKey bool                                                                 // 400 without a key. Default: run under a new id
	Principal  func(*http.Request) (string, error)                                  // error: 401. nil: the anonymous scope, only with Anonymous
	Context    func(ctx context.Context, principal string) (context.Context, error) // Default: nothing but the oplog
	Header     func(name string) bool                                               // which request headers are stored, and seen. Default: all but credentials
	Wait       time.Duration                                                        // Default: 10 s
	MaxBody    int64                                                                // Default: 10 MiB
	Attempts   int                                                                  // crashes until parked. Default: 5
}

// Codec encodes values.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(b []byte, v any) error
}

// Tx is a *sql.Tx, *sql.Conn, *sqlx.Tx; pgstore.Tx makes one of a pgx.Tx.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Database is an application's own database in which chttp keeps two small tables. See sqlitestore.Attach, pgstore.Attach.
type Database interface{ DB() *sql.DB }

// Info is what is known of an execution.
type Info struct {
	ID        ID
	Function  string
	State     string // running, waiting, parked, answered, rejected, undelivered, unknown, canceled
	Principal string
	Labels    map[string]string
	Status    int
	Replaying bool
	Err       error
}

// Error is every error of ours about an operation.
type Error struct {
	Op     string
	Name   string
	ID     ID
	Status int    // of a response that is not 2xx (PostJSON only)
	Body   []byte // its first 4 KiB
	Err    error
}

func (e *Error) Error() string { return e.Op }
func (e *Error) Unwrap() error { return e.Err }

// MayHaveHappened is false only where it is certain that there was no effect.
func (e *Error) MayHaveHappened() bool { return !errors.Is(e.Err, ErrNotDone) }

// Sentinels.
var (
	ErrUnknownOutcome = errors.New("unknown outcome")
	ErrNotDone        = errors.New("nothing was done")
	ErrNoExecution    = errors.New("not inside an execution")
	ErrNotRegistered  = errors.New("function not registered")
	ErrReused         = errors.New("id used with another request or input")
	ErrCanceled       = errors.New("canceled")
	ErrParked         = errors.New("parked")
	ErrNotFound       = errors.New("not found")
)

func New(store Store, o *Options) (*Node, error) { panic("stub") }
func (*Node) Register(fns ...Registrant)         { panic("stub") }
func (*Node) Attach(db Database)                 { panic("stub") }
func (*Node) Run(ctx context.Context) error      { panic("stub") }

// Put stores a message and returns as soon as it is durable; Run delivers it, across crashes, until it is answered or Policy.Until.
// The answer is discarded; one of 400 and above, or none, is listed and given to Options.Failed. Called with the context of an
// execution it is an operation of that execution: replayed, not sent twice. A nil error says that it is stored, not that it arrived.
func (*Node) Put(ctx context.Context, url, contentType string, body io.Reader) (ID, error) {
	panic("stub")
}
func (*Node) Send(ctx context.Context, req *http.Request) (ID, error)          { panic("stub") }
func (*Node) SendAll(ctx context.Context, reqs ...*http.Request) ([]ID, error) { panic("stub") }
func (*Node) SendTx(ctx context.Context, tx Tx, req *http.Request) (ID, error) { panic("stub") }
func (*Node) Lookup(ctx context.Context, id ID) (Info, error)                  { panic("stub") }
func (*Node) Resolve(ctx context.Context, promise ID, value any) error         { panic("stub") }

// Handler makes h's answers durable. A request with Idempotency-Key runs h once; repetitions get the recorded answer, also after a
// crash, and a request once accepted is finished without its client. So h may run with no connection at all: it sees only what is
// stored, that is method, URL, path values, body, the headers that HandlerOptions.Header lets through, and the context that
// HandlerOptions.Context builds from the principal; no value of the outer r.Context(). Wrap the router, and let authentication wrap
// the result. GET and HEAD pass through. It registers name: build it before Run.
func (*Node) Handler(name string, h http.Handler, o *HandlerOptions) http.Handler { panic("stub") }

// WellKnown serves the message URLs, acknowledgements and discovery; Handler does so itself where it is mounted at the root.
func (*Node) WellKnown() http.Handler { panic("stub") }
func (*Node) Client() *http.Client    { panic("stub") }

// Transport makes certified calls for whichever execution the request's context belongs to; its zero value is ready.
type Transport struct {
	Outside http.RoundTripper // for requests that belong to no execution. Default: they fail with ErrNoExecution
}

func (*Transport) RoundTrip(*http.Request) (*http.Response, error) { panic("stub") }

type Registrant interface{ register(*Node) }

type Function[In, Out any] struct {
	Key      func(In) string // later: one at a time per key
	Attempts int             // crashes and panics until parked. Default: 5
}

// Resumable names fn so that an execution of it can be found again by a later process. fn may run many times for one
// execution: each time from its start, with the recorded result for every operation that it made before. So what fn decides must
// come from its input and from operations (Persist, Now, Do, Post and so on), never from clocks, random numbers, map order,
// goroutines or variables that outlive a run. Deferred functions run at the end of each run, also of one that was merely stopped.
// The name is stored: changing it strands what is unfinished. fn's error is its outcome, like a value; a panic is a crash, tried
// Attempts times, then parked. Prove it with chttptest.Resumes.
func Resumable[In, Out any](name string, fn func(context.Context, In) (Out, error)) *Function[In, Out] {
	panic("stub")
}
func (*Function[In, Out]) register(*Node) {}
func (*Function[In, Out]) Start(ctx context.Context, n *Node, id ID, in In) (*Execution[Out], error) {
	panic("stub")
}
func (*Function[In, Out]) Attach(ctx context.Context, n *Node, id ID) (*Execution[Out], error) {
	panic("stub")
}
func (*Function[In, Out]) Call(ctx context.Context, in In) (Out, error) { panic("stub") }

type Execution[Out any] struct{}

func (*Execution[Out]) ID() ID                                       { panic("stub") }
func (*Execution[Out]) Wait(ctx context.Context) (Out, error)        { panic("stub") }
func (*Execution[Out]) Cancel(ctx context.Context, why string) error { panic("stub") }
func (*Execution[Out]) await()                                       {}

// With returns a context whose operations, those of SDKs included, follow p.
func With(ctx context.Context, p Policy) context.Context { panic("stub") }

// From tells the execution that ctx belongs to.
func From(ctx context.Context) (Info, bool) { panic("stub") }

// Persist returns fn's value, which every later run of the execution is given instead of calling fn. Use it for what must be
// the same again and touches nothing outside: a random number, an id, a setting. It does not wait for the disk; whatever leaves
// afterwards does. The value returned is what the codec makes of fn's, in the first run as well. It panics outside an execution.
func Persist[T any](ctx context.Context, name string, fn func() T) T { panic("stub") }

// Do runs fn for its effect outside and records its value or error. Everything before it, and that it begins, is durable when fn
// begins. If the process dies before the result is durable, fn runs again: at least once, unless Policy.AtMostOnce, which parks the
// execution instead. fn's error is the result and is not retried unless Policy.Attempts asks for it; errors.Is finds the sentinels of
// Options.Errors and no others. Only fn's own context may be used inside; HTTP in it is plain HTTP. A name is used once in a scope:
// in a loop, add what tells the rounds apart ("charge/"+id). An effect at a certified peer does not need Do: Post is exactly once.
func Do[T any](ctx context.Context, name string, fn func(context.Context) (T, error)) (T, error) {
	panic("stub")
}
func Run(ctx context.Context, name string, fn func(context.Context) error) error { panic("stub") }
func Transact[T any](ctx context.Context, db Database, name string, fn func(context.Context, *sql.Tx) (T, error)) (T, error) {
	panic("stub")
}

// Sleep waits, across crashes; it returns an error only when the execution is cancelled.
func Sleep(ctx context.Context, d time.Duration) error { panic("stub") }
func Now(ctx context.Context) time.Time                { panic("stub") }

func Get(ctx context.Context, url string) (*http.Response, error) { panic("stub") }

// Post sends one message and returns its answer, recorded; a replay returns the record and sends nothing. It is retried, across
// crashes, until an answer or Policy.Until. Any final status is a response, not an error. If ctx ends first, that is recorded as
// the call's result, and the error is ErrUnknownOutcome unless no attempt can have arrived (ErrNotDone). The same request again after
// ErrUnknownOutcome continues the same message. resp.Body is in memory; closing it is optional.
func Post(ctx context.Context, url, contentType string, body io.Reader) (*http.Response, error) {
	panic("stub")
}
func PostJSON[Out any](ctx context.Context, url string, in any) (Out, error) { panic("stub") }
func Call(ctx context.Context, req *http.Request) (*http.Response, error)    { panic("stub") }

func Go[T any](ctx context.Context, name string, fn func(context.Context) (T, error)) *Future[T] {
	panic("stub")
}

type Future[T any] struct{}

func (*Future[T]) ID() ID                              { panic("stub") }
func (*Future[T]) Wait(ctx context.Context) (T, error) { panic("stub") }
func (*Future[T]) await()                              {}

type Awaitable interface{ await() }

// Later.
func Select(ctx context.Context, a ...Awaitable) (int, error) { panic("stub") }

// Later.
func Promise[T any](ctx context.Context, name string) *Future[T] { panic("stub") }

// Later.
func Patched(ctx context.Context, name string) bool { panic("stub") }

// Later.
func Schedule[In, Out any](f *Function[In, Out], cron string, in In) Registrant { panic("stub") }
