package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/certifiedhttp/chttp"
)

// functions are what a life has registered.
type functions struct {
	work, brittle, strange *chttp.Function[In, string]
	part                   *chttp.Function[In, string]
}

// Attempts of the worlds' functions and handlers.
const (
	attempts        = 5
	brittleAttempts = 2
	handlerAttempts = 3
)

// serve registers functions and handlers, and returns what serves requests.
func (l *Life) serve() http.Handler {
	w := l.p.w
	l.fns.work = chttp.Resumable("work", l.work)
	l.fns.brittle = chttp.Resumable("brittle", l.work)
	l.fns.brittle.Attempts = brittleAttempts
	l.fns.strange = chttp.Resumable("strange", l.work)
	l.fns.part = chttp.Resumable("part", l.part)
	l.node.Register(l.fns.work, l.fns.brittle, l.fns.part)
	w.mu.Lock()
	if l.lacks = w.strikes(Strange, 0.3, l.p.name, l.n); !l.lacks {
		l.node.Register(l.fns.strange)
	}
	w.mu.Unlock()
	mux := http.NewServeMux()
	for _, route := range []string{routeA, routeB, routeAnonymous} {
		o := &chttp.HandlerOptions{Principal: principal, MaxBody: maxBody, Attempts: handlerAttempts}
		if route == routeAnonymous {
			o.Anonymous, o.Principal = true, nil
		}
		mux.Handle("/"+route, l.node.Handler(route, http.HandlerFunc(l.handle), o))
	}
	mux.Handle("/.well-known/chttp", l.node.WellKnown())
	mux.Handle("/.well-known/chttp/", l.node.WellKnown())
	return mux
}

// maxBody bounds what handlers take.
const maxBody = 4 << 10

func principal(r *http.Request) (string, error) {
	name, ok := strings.CutPrefix(r.Header.Get(headerAuthorization), secret)
	if !ok {
		return "", errors.New("who are you?")
	}
	return name, nil
}

// frame is a part of a run of a program that does one thing at a time: the run itself, or a branch.
type frame struct {
	l      *Life
	name   string // of the execution
	round  string // of the loops around
	depth  int
	sum    uint64 // of everything that it was told: what a replay has to come to again
	seen   *sight
	server bool // a handler
	branch bool
	tick   int64 // when the run began
	ends   bool  // it was asked to end before that
}

// answer is what a handler answers with before its end.
type answer struct {
	status int
	retry  string
}

func (a *answer) Error() string { return "the handler answers " + strconv.Itoa(a.status) }

// sight is something that an operation told a run. They are chained, so that it is known what something follows from.
type sight struct {
	before *sight
	path   string
	value  string
	op     string // in the oplog; "" where several may be called so
	fixed  bool   // something has left that follows from it, in this run
}

// work is the worlds' function.
func (l *Life) work(ctx context.Context, in In) (string, error) {
	defer l.enter(in.Name)()
	f := l.begins(&frame{name: in.Name, depth: in.Depth, sum: in.Sum})
	f.token(ctx)
	if in.Money {
		return f.pay(ctx)
	}
	if in.Twin != "" {
		return f.twin(ctx, in)
	}
	p := f.program()
	if err := f.do(ctx, p.ops); err != nil {
		return "", err
	}
	if p.fails {
		return "", fmt.Errorf("%w %x", errOutcome, f.sum)
	}
	return fmt.Sprintf("%s: %016x", f.name, f.sum), nil
}

var (
	errOutcome = errors.New("sim: the outcome is an error")
	errStep    = errors.New("sim: the step's result is an error")
)

// program returns the run's program, which is in the log once.
func (f *frame) program() *program {
	w := f.l.p.w
	p := w.program(f.name, f.depth, f.server)
	if w.count("program "+f.name) == 1 {
		w.mu.Lock()
		w.event("%s is %v", f.name, p.ops)
		w.mu.Unlock()
	}
	return p
}

// token has every run told a number first, by which two beginnings would differ.
func (f *frame) token(ctx context.Context) {
	f.see("token", fmt.Sprint(chttp.Persist(ctx, "p~token", f.l.p.w.number)), "p~token")
}

// enter begins a run of user code, which ends with what it returns. User code of one execution runs once at a time.
func (l *Life) enter(name string) func() {
	w := l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.current() {
		l.i2Begins(name)
	}
	l.runs[name]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		l.runs[name]--
	}
}

// begins notes when a run begins.
func (l *Life) begins(f *frame) *frame {
	w := l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tick++
	f.l, f.tick = l, w.tick
	if e := l.p.memory.named[f.name]; e != nil {
		f.ends = e.canceled
	}
	return f
}

type frameKey struct{}

// part is the function that programs call as a part of themselves.
func (l *Life) part(ctx context.Context, in In) (string, error) {
	c, ok := ctx.Value(frameKey{}).(*call)
	if !ok {
		return "", errors.New("sim: the context lost its values")
	}
	f := *c.f
	f.sum = in.Sum
	if err := f.do(ctx, c.ops); err != nil {
		return "", err
	}
	return fmt.Sprintf("%016x", f.sum), nil
}

// call is what a Function.Call is to do.
type call struct {
	f   *frame
	ops []*op
}

// do does operations one after another. Its error is the program's outcome.
func (f *frame) do(ctx context.Context, ops []*op) error {
	for _, o := range ops {
		f.dies(o)
		f.l.p.w.reached("operation: " + o.kind)
		if err := f.l.p.w.doers[o.kind](f, ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// path returns the place of an operation in the execution.
func (f *frame) path(o *op) string { return o.path + f.round }

// message returns the name of the message, or the execution, that an operation makes.
func (f *frame) message(o *op) string { return f.name + "~" + f.path(o) }

// dies lets the process die between two operations.
func (f *frame) dies(o *op) {
	w := f.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	key := "code " + f.message(o)
	w.tallies[key]++
	where := "in a function"
	switch {
	case f.branch:
		where = "in a branch"
	case f.server:
		where = "in a handler"
	}
	f.l.dies(DieCode, 0.01, key, w.tallies[key], where)
}

// see takes note of what an operation told the run. op is its name in the oplog, where no other has it.
func (f *frame) see(path, value, op string) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%016x %s=%s", f.sum, path, value)
	f.sum = h.Sum64()
	path += f.round
	w := f.l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.l.current() {
		f.i7(path, value)
	}
	f.seen = &sight{before: f.seen, path: path, value: value, op: op}
}

// tell takes note of an operation's result, an error or a value.
func (f *frame) tell(o *op, value any, err error, op string) {
	if err != nil {
		f.see(o.path, "error: "+err.Error(), op)
		return
	}
	f.see(o.path, fmt.Sprint(value), op)
}

// goesOn tells whether a program goes on after an operation's error: a cancelled one does not, and of the others some.
func (f *frame) goesOn(o *op, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, chttp.ErrCanceled):
		f.l.p.w.reached("canceled in: " + o.kind)
		return err
	case o.n%5 == 0:
		return fmt.Errorf("%s: %w", f.path(o), err)
	}
	return nil
}

// handle is the worlds' handler.
func (l *Life) handle(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		fmt.Fprintf(rw, "%d", l.p.w.number())
		return
	}
	q := r.URL.Query()
	name := q.Get("m")
	depth, _ := strconv.Atoi(q.Get("d")) // none is 0
	defer l.enter(name)()
	f := l.begins(&frame{name: name, depth: depth, server: true})
	f.body(r)
	f.token(r.Context())
	if q.Has("money") {
		f.passMoney(r.Context(), rw, q)
		return
	}
	p := f.program()
	err := f.do(r.Context(), p.ops)
	rw.Header().Set(headerContentType, "application/json")
	rw.Header().Set("X-Sum", fmt.Sprint(f.sum))
	rw.Header().Set("Etag", fmt.Sprintf(`"%x"`, f.sum))
	rw.Header()["X-Many"] = []string{name, "", fmt.Sprint(depth)}
	var a *answer
	switch {
	case errors.As(err, &a):
		if a.retry != "" {
			rw.Header().Set(headerRetryAfter, a.retry)
		}
		rw.WriteHeader(a.status)
		fmt.Fprintf(rw, "%q", "not now")
	case err != nil:
		rw.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(rw, "%q", err.Error())
	default:
		rw.WriteHeader(p.status)
		fmt.Fprintf(rw, `{"name":%q,"sum":"%016x"}`, name, f.sum)
	}
}

// body takes note of the request that a handler is given (S12).
func (f *frame) body(r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		b = fmt.Append(nil, err)
	}
	f.see("request", fmt.Sprintf("%s %s %s %s %v", r.Method, r.URL, r.Header.Get(headerContentType), b, r.Header.Get(headerAuthorization)), "")
}
