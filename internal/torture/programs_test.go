//go:build linux && (amd64 || arm64)

package torture

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// The environment of a program.
const (
	programEnv = "TORTURE_PROGRAM" // server or client
	storeEnv   = "TORTURE_STORE"   // its file
	serverEnv  = "TORTURE_SERVER"  // the server's address
	witnessEnv = "TORTURE_WITNESS" // the witness's URL
)

func TestMain(m *testing.M) {
	if name := os.Getenv(programEnv); name != "" {
		fmt.Fprintln(os.Stderr, runProgram(name))
		os.Exit(1)
	}
	flag.Parse()
	flag.Set("test.parallel", "8") // they wait for most of the time
	os.Exit(m.Run())
}

// program is what runs in a process. It lives on its standard input, whose lines tell it what to do, and says on its standard output what
// came of it: the verb, the id, and a quoted text.
type program struct {
	node *chttp.Node
	st   *sqlitestore.Store
	buy  *chttp.Function[string, string]

	mu sync.Mutex // for whole lines
}

func (p *program) say(verb, id, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Printf("%s %s %q\n", verb, id, text)
}

// runProgram returns when the program cannot go on. Being asked to stop, it exits.
func runProgram(name string) error {
	st, err := sqlitestore.Open(os.Getenv(storeEnv))
	if err != nil {
		return err
	}
	p := &program{st: st}
	p.node, err = chttp.New(st, &chttp.Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Transport: newTransport(), Failed: reportFailed,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	if name == "server" {
		if err := p.serve(); err != nil {
			return err
		}
	} else {
		p.buy = chttp.Resumable("buy", func(ctx context.Context, order string) (string, error) { return p.order(ctx, order) })
		p.node.Register(p.buy)
	}
	go func() { ran <- p.node.Run(ctx) }()
	stop := make(chan struct{})
	go p.obey(ctx, stop)
	p.say("ready", "-", "")
	select {
	case err = <-ran:
		return fmt.Errorf("run: %w", err)
	case <-stop:
	}
	cancel()
	if err := errors.Join(<-ran, st.Close()); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// hurried is a transport over which nobody is asked to wait for long: a server without room asks for a minute.
type hurried struct{ http.RoundTripper }

func (h hurried) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := h.RoundTripper.RoundTrip(r)
	if err == nil && res.Header.Get("Retry-After") != "" {
		res.Header.Set("Retry-After", "1")
	}
	return res, err
}

// newTransport gives a peer that does not answer a second, which is less than a pause of it takes.
func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Second
	t.DialContext = (&net.Dialer{Timeout: time.Second}).DialContext
	return hurried{t}
}

// reportFailed tells the witness of a message that ended without success.
func reportFailed(ctx context.Context, m chttp.Info) error {
	res, err := chttp.Post(ctx, os.Getenv(witnessEnv)+"/failed", "text/plain", strings.NewReader(string(m.ID)))
	if err == nil && res.StatusCode != 200 {
		err = errors.New(res.Status)
	}
	return err
}

// serve takes orders. The number of an order is drawn once, and its effect is that the witness hears of it.
func (p *program) serve() error {
	l, err := net.Listen("tcp", os.Getenv(serverEnv))
	if err != nil {
		return err
	}
	app := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		name, _, _ := strings.Cut(string(body), " ")
		number := chttp.Persist(r.Context(), "number", rand.Uint64)
		res, err := chttp.Post(r.Context(), os.Getenv(witnessEnv)+"/order", "text/plain", strings.NewReader(fmt.Sprintf("%s %x", name, number)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError) // it stops; nobody is given this
			return
		}
		receipt, _ := io.ReadAll(res.Body)
		fmt.Fprintf(w, "%s number %x receipt %s", name, number, receipt)
	}
	h := p.node.Handler("shop", http.HandlerFunc(app), &chttp.HandlerOptions{Anonymous: true, Wait: 500 * time.Millisecond})
	go http.Serve(l, h)
	return nil
}

// obey does what the lines of the standard input say, until they end.
func (p *program) obey(ctx context.Context, stop chan<- struct{}) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verb, id, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "stop":
			close(stop)
		case "open":
			go p.open(ctx, id)
		case "put":
			go p.put(ctx, id, "http://"+os.Getenv(serverEnv)+"/orders", chttp.Policy{})
		case "lose": // to a port where nobody listens
			host, _, _ := net.SplitHostPort(os.Getenv(serverEnv))
			go p.put(ctx, id, "http://"+host+":1/orders", chttp.Policy{Until: time.Second / 2})
		case "start":
			go p.start(ctx, id)
		}
	}
	os.Exit(3) // the test has died
}

// open says how many executions are unfinished.
func (p *program) open(ctx context.Context, id string) {
	records, err := p.st.List(ctx, store.Query{States: []store.State{store.Running, store.Waiting, store.Parked}, Limit: 1000})
	text := fmt.Sprint(len(records))
	if err != nil {
		text = err.Error()
	}
	p.say("open", id, text)
}

// goods is the body of an order: its name, and as much more as makes some orders long.
func goods(name string) string {
	n := crc32.ChecksumIEEE([]byte(name))
	return name + " " + strings.Repeat("x", int(n%8*(n%3001)))
}

func (p *program) put(ctx context.Context, id, url string, policy chttp.Policy) {
	policy.ID = id
	_, err := p.node.Put(chttp.With(ctx, policy), url, "text/plain", strings.NewReader(goods(id)))
	p.result("put", id, err)
}

// result says how a Put or Start ended: it is certain, it is certain that not, or neither.
func (p *program) result(verb, id string, err error) {
	var e *chttp.Error
	switch {
	case err == nil:
		p.say(verb, id, "")
	case errors.As(err, &e) && !e.MayHaveHappened():
		p.say("refused", id, err.Error())
	default:
		p.say("unknown", id, err.Error())
	}
}

// order is the function "buy".
func (p *program) order(ctx context.Context, name string) (string, error) {
	res, err := chttp.Post(ctx, "http://"+os.Getenv(serverEnv)+"/orders", "text/plain", strings.NewReader(goods(name)))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		return "", fmt.Errorf("%s: %s", res.Status, b)
	}
	return string(b), err
}

func (p *program) start(ctx context.Context, id string) {
	e, err := p.buy.Start(ctx, p.node, id, id)
	p.result("start", id, err)
	if err != nil {
		return
	}
	out, err := e.Wait(ctx)
	switch {
	case err == nil:
		p.say("answered", id, out)
	case ctx.Err() == nil:
		p.say("failed", id, err.Error())
	}
}
