package conform_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/conform"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// endpoint is what docs/conformance.md asks of an endpoint under test, in full: it counts, and does what its query says.
type endpoint struct{ executions atomic.Int64 }

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if s, err := strconv.ParseFloat(q.Get("sleep"), 64); err == nil {
		time.Sleep(time.Duration(s * float64(time.Second)))
	}
	if s, err := strconv.Atoi(q.Get("status")); err == nil {
		http.Error(w, "as you like it", s)
		return
	}
	if q.Has("crash") {
		panic("as you like it")
	}
	body, _ := io.ReadAll(r.Body)
	n := e.executions.Add(1)
	w.Header().Set("X-Execution", fmt.Sprint(n))
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"execution":%d,"body":%q}`, n, body)
}

// server is a node behind an address, which can be killed and started again.
type server struct {
	t *testing.T
	endpoint
	onDisk  bool
	forgets bool                            // what was stored, when it is killed
	wrap    func(http.Handler) http.Handler // the fault
	options chttp.HandlerOptions
	linger  time.Duration
	nobody  bool   // it is tested by somebody without a name
	also    string // the URL of what it takes for another node of its store

	restarts atomic.Int64
	addr     string
	stop     func()
	file     string
	store    *memstore.Store
}

func newServer(t *testing.T, o func(*server)) *server {
	t.Helper()
	s := &server{t: t, linger: 10 * time.Minute, addr: "127.0.0.1:0"}
	s.options = chttp.HandlerOptions{Anonymous: true}
	if o != nil {
		o(s)
	}
	s.file = filepath.Join(t.TempDir(), "store.db")
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop() })
	return s
}

// open returns what is stored.
func (s *server) open() (store.Store, error) {
	switch {
	case s.onDisk:
		return sqlitestore.Open(s.file)
	case s.store == nil || s.forgets:
		s.store = memstore.New()
	}
	return s.store, nil
}

func (s *server) start() error {
	st, err := s.open()
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	node, err := chttp.New(st, &chttp.Options{Linger: s.linger, Logger: quiet})
	if err != nil {
		return err
	}
	h := node.Handler("conform", &s.endpoint, &s.options)
	if s.wrap != nil {
		h = s.wrap(h)
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- node.Run(ctx) }()
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	s.stop = sync.OnceFunc(func() {
		srv.Close()
		<-served
		cancel()
		<-ran
		st.Close()
	})
	return nil
}

// restart ends the server and starts it again on what is stored. In memory, that is what was stored when it was killed.
func (s *server) restart(context.Context) error {
	if !s.onDisk {
		s.store = s.store.Crash()
	}
	s.stop()
	s.restarts.Add(1)
	return s.start()
}

func (s *server) target() conform.Options {
	url := "http://" + s.addr + "/orders"
	return conform.Options{URL: url, Slow: url + "?sleep=1", Timeout: 10 * time.Second, Restart: s.restart}
}

// verdicts returns the rules that have the verdict, separated by spaces.
func verdicts(r *conform.Report, v conform.Verdict) string {
	var list []string
	for _, l := range r.Lines {
		if l.Verdict == v {
			list = append(list, l.Rule)
		}
	}
	return strings.Join(list, " ")
}

// tell writes everything that was found to the log of the test.
func tell(t *testing.T, r *conform.Report) {
	t.Helper()
	for _, l := range r.Lines {
		t.Logf("%-4s %-11s %s %s", l.Rule, l.Verdict, l.Says, l.Why)
		for _, f := range l.Findings {
			t.Logf("     %-11s %s %s\n%s%s", f.Verdict, f.Claim, f.Why, f.Script, f.Seen)
		}
	}
}

// basic takes the name of whoever calls from Basic authentication.
func basic(r *http.Request) (string, error) {
	if name, _, ok := r.BasicAuth(); ok {
		return name, nil
	}
	return "", fmt.Errorf("who are you?")
}

// ann and ben are two principals.
var (
	ann = http.Header{"Authorization": {"Basic YW5uOg=="}}
	ben = http.Header{"Authorization": {"Basic YmVuOg=="}}
)

func TestOurServerKeepsEveryRule(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(s *server) {
		s.options = chttp.HandlerOptions{Principal: basic}
		s.linger = 3 * time.Second
		s.onDisk = true
	})
	o := s.target()
	o.Header, o.Other = ann, ben
	o.Also = []string{o.URL}
	rep, err := conform.Server(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := verdicts(rep, conform.Pass), "§1 §2 S1 S2 S3 S4 S5 S6 S7 S8 S9 S11 S12 S13 A1 A2 A3 A4 A5 §6 §7 §8"; got != want {
		t.Errorf("kept are %s, want %s", got, want)
		tell(t, rep)
	}
	if got := verdicts(rep, conform.NotSeen); got != "S10" {
		t.Errorf("not seen are %s, want S10", got)
	}
	for _, l := range rep.Lines {
		for _, f := range l.Findings {
			if f.Verdict != conform.Pass {
				t.Logf("%s %s: %s, %s", f.Rule, f.Claim, f.Verdict, f.Why)
			}
		}
	}
}

func TestOurServerKeepsEveryRuleForThoseWithoutAName(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	o := s.target()
	o.Restart = nil
	rep, err := conform.Server(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := verdicts(rep, conform.Fail); got != "" {
		t.Errorf("broken are %s", got)
		tell(t, rep)
	}
	if got, want := verdicts(rep, conform.NotOffered), "S11 A5"; got != want {
		t.Errorf("not offered are %s, want %s", got, want)
		tell(t, rep)
	}
}
