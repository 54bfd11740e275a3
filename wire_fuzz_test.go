package chttp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// bubbleStart is the Unix time at which every bubble of synctest begins, so that seeds can name it.
const bubbleStart = 946684800

// shopBody is the longest body that a shop takes.
const shopBody = 4096

// shop is a certified server behind net/http, asked in bytes, in a bubble. Under /open/ it serves everybody in one scope, under
// /strict/ it demands a key, and under /fragile/ it parks what crashed once.
type shop struct {
	t      *testing.T
	conns  chan net.Conn
	errors logbook // what net/http's server complains of

	mu    sync.Mutex // guards what follows
	as    string     // who calls
	asked []*http.Request
	runs  []*shopRun
}

// shopRun is a run of the application as it saw its request.
type shopRun struct {
	info   chttp.Info
	method string
	path   string
	query  string
	header http.Header
	body   string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, conns: make(chan net.Conn)}
	n := newNode(t, memstore.New(), nil)
	app := http.HandlerFunc(s.app)
	mux := http.NewServeMux()
	named := chttp.HandlerOptions{Principal: s.principal, MaxBody: shopBody}
	strict := named
	strict.RequireKey = true
	mux.Handle("/", s.seen(n.Handler("app", app, &named)))
	mux.Handle("/items/{id}/{rest...}", s.seen(n.Handler("items", app, &named)))
	mux.Handle("/strict/", s.seen(n.Handler("strict", app, &strict)))
	fragile := named
	fragile.Attempts = 1
	mux.Handle("/fragile/", s.seen(n.Handler("fragile", app, &fragile)))
	mux.Handle("/open/", s.seen(n.Handler("open", app, &chttp.HandlerOptions{Anonymous: true, MaxBody: shopBody})))
	run(t, n)
	time.Sleep(time.Millisecond) // until Run has begun
	srv := &http.Server{Handler: mux, ErrorLog: log.New(&s.errors, "", 0), ReadTimeout: 5 * time.Second}
	done := make(chan error)
	go func() { done <- srv.Serve(s) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
		for _, line := range s.errors.lines {
			t.Errorf("net/http complains: %s", line)
		}
	})
	return s
}

// Accept, Close and Addr make the shop a net.Listener.
func (s *shop) Accept() (net.Conn, error) {
	if c, ok := <-s.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (s *shop) Close() error {
	close(s.conns)
	return nil
}

func (s *shop) Addr() net.Addr { return &net.TCPAddr{} }

// principal is whom the test says, and what X-Caller adds.
func (s *shop) principal(r *http.Request) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.as + r.Header.Get("X-Caller")
	if strings.HasSuffix(name, "nobody") {
		return "", errors.New("nobody is not known here")
	}
	return name, nil
}

// seen keeps what net/http made of the bytes, as they come to the certified handler.
func (s *shop) seen(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Clone(context.Background()))
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// app answers with what it sees and the number of its run, unless the path asks for something else.
func (s *shop) app(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	info, _ := chttp.From(r.Context())
	s.mu.Lock()
	s.runs = append(s.runs, &shopRun{info, r.Method, r.URL.Path, r.URL.RawQuery, r.Header, string(body)})
	n := len(s.runs)
	s.mu.Unlock()
	status := http.StatusCreated
	switch dir, last := path.Split(r.URL.Path); {
	case strings.HasSuffix(dir, "/status/"):
		if k, err := strconv.Atoi(last); err == nil && k >= 200 && k <= 599 {
			status = k
		}
	case last == "busy":
		status = http.StatusServiceUnavailable
	case last == "panic":
		panic("the application's own")
	case last == "slow":
		_ = chttp.Sleep(r.Context(), time.Minute) // of a request that is not certified: not at all
	case last == "step":
		_ = chttp.Run(r.Context(), "step", func(context.Context) error { return nil })
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("X-Run", strconv.Itoa(n))
	w.Header().Set("Set-Cookie", "a=b")
	w.WriteHeader(status)
	fmt.Fprintf(w, "run %d of %s %s\n%s", n, r.Method, r.URL.RequestURI(), body)
}

// ran is how often the application has run, once everything rests.
func (s *shop) ran() int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}

// wireReply is what the bytes of one request were answered with.
type wireReply struct {
	reply
	asked    *http.Request // nil: it did not come to a certified handler
	verdict  *httpsfv.Dictionary
	id       string
	state    string
	code     string // of a problem
	replayed bool
}

// ask sends raw, one request, and checks that the answer is one, and well-formed.
func (s *shop) ask(as string, raw []byte) *wireReply {
	s.t.Helper()
	s.mu.Lock()
	s.as, s.asked = as, nil
	s.mu.Unlock()
	client, server := net.Pipe()
	defer client.Close()
	s.conns <- server
	go func() { _, _ = client.Write(raw) }() // a server that has read enough closes the connection
	all, err := io.ReadAll(client)
	if err != nil {
		s.t.Fatalf("read the answer: %v", err)
	}
	s.mu.Lock()
	asked := slices.Clone(s.asked)
	s.mu.Unlock()
	if len(asked) > 1 {
		s.t.Fatalf("%d requests came to the handler, of one", len(asked))
	}
	r := &wireReply{}
	if len(asked) == 1 {
		r.asked = asked[0]
	}
	r.parse(s.t, all)
	if r.asked != nil {
		r.check(s.t)
	}
	return r
}

// parse reads the answer, which is all that there is.
func (r *wireReply) parse(t *testing.T, all []byte) {
	t.Helper()
	req := r.asked
	if req == nil {
		req = &http.Request{Method: http.MethodPost}
	}
	from := bufio.NewReader(bytes.NewReader(all))
	for {
		res, err := http.ReadResponse(from, req)
		if err != nil {
			if len(all) == 0 && r.asked == nil {
				return // net/http closes without a word what never became a request.
			}
			t.Fatalf("not an HTTP response: %v\n%q", err, all)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("the answer's body: %v\n%q", err, all)
		}
		if res.StatusCode >= 200 {
			r.reply = reply{res.StatusCode, res.Header, string(body)}
			break
		}
	}
	if rest, _ := io.ReadAll(from); len(rest) > 0 {
		t.Fatalf("%d bytes behind the answer: %q", len(rest), all)
	}
}

// passesThrough tells whether a request is not certified, whatever its fields say.
func passesThrough(r *http.Request) bool {
	safe := r.Method == "GET" || r.Method == "HEAD" || r.Method == "OPTIONS" || r.Method == "TRACE"
	return safe && !isWellKnown(r)
}

func isWellKnown(r *http.Request) bool {
	return r.URL.Path == "/.well-known/chttp" || strings.HasPrefix(r.URL.Path, "/.well-known/chttp/")
}

// check checks what section 2 demands of every answer of a certified server, and section 7 of those that are no outcome.
func (r *wireReply) check(t *testing.T) {
	t.Helper()
	fields := r.header.Values("Certified")
	if passesThrough(r.asked) {
		if len(fields) > 0 {
			t.Errorf("%s is not certified, and its answer says %q", r.asked.Method, fields)
		}
		return
	}
	if len(fields) != 1 {
		t.Fatalf("%d Certified fields, want one: %d %v", len(fields), r.status, r.header)
	}
	if got := r.header.Values("Cache-Control"); !slices.Equal(got, []string{"no-store"}) {
		t.Errorf("Cache-Control is %q", got)
	}
	d, err := httpsfv.UnmarshalDictionary(fields)
	if err != nil {
		t.Fatalf("Certified is %q: %v", fields[0], err)
	}
	r.verdict = d
	r.checkMembers(t, fields[0])
	r.checkState(t)
}

// checkMembers checks each member of the Certified field.
func (r *wireReply) checkMembers(t *testing.T, field string) {
	t.Helper()
	var store, message string
	var until int64
	for _, name := range r.verdict.Names() {
		m, _ := r.verdict.Get(name)
		item, ok := m.(httpsfv.Item)
		switch v := item.Value; name {
		case "v":
			ok = v == int64(1)
		case "id":
			r.id, ok = v.(string)
			ok = ok && goodID(r.id)
		case "state":
			token, _ := v.(httpsfv.Token)
			r.state = string(token)
			ok = slices.Contains([]string{"done", "running", "none", "refused", "gone"}, r.state)
		case "replayed":
			r.replayed, _ = v.(bool)
			ok = r.replayed
		case "until", "now":
			var at time.Time
			at, ok = v.(time.Time)
			if name == "until" {
				until = at.Unix()
			}
		case "store":
			store, _ = v.(string)
		case "message":
			message, _ = v.(string)
			ok = strings.HasPrefix(message, "/.well-known/chttp/messages/")
		}
		if !ok {
			t.Errorf("%s of %q is wrong", name, field)
		}
	}
	if !strings.HasPrefix(field, "v=1, ") || store == "" {
		t.Errorf("Certified is %q, want v=1 and a store", field)
	}
	if id, ok := keyOf(r.asked); ok && !isWellKnown(r.asked) && r.id != id {
		t.Errorf("the answer is about %q, and the request about %q", r.id, id)
	}
	if sent := untilOf(r.asked); (r.state == "done" || r.state == "running") && !isWellKnown(r.asked) && until != sent {
		t.Errorf("until is %d in %q, and the request said %d", until, field, sent)
	}
	if (r.state == "done") != (message != "") && r.state != "running" && r.state != "gone" {
		t.Errorf("state and message URL do not fit: %q", field)
	}
}

// problemAnswers are, of each problem, its status and states; of several statuses or states any.
var problemAnswers = map[string][]string{
	"key-missing": {"400 refused"}, "key-invalid": {"400 refused"}, "key-reused": {"422 refused"}, "certified-invalid": {"400 refused"},
	"digest-mismatch": {"400 none"}, "stale-attempt": {"412 none"}, "too-long": {"400 refused"}, "in-progress": {"409 running", "503 running"},
	"parked": {"503 running"}, "acknowledged": {"410 gone"}, "crashed": {"500 running"}, "too-large": {"413 refused"}, "not-found": {"404 none"},
	"unauthorized": {"401 none"}, "incomplete": {"400 none"}, "not-recordable": {"501 refused"},
}

// checkState checks that status, body and state belong together.
func (r *wireReply) checkState(t *testing.T) {
	t.Helper()
	if r.header.Get("Content-Type") == "application/problem+json" {
		r.checkProblem(t)
		return
	}
	switch {
	case isWellKnown(r.asked) && r.state == "" && r.id == "": // discovery, and what is about no message
		if r.status != 200 && r.status != 204 && r.status != 405 {
			t.Errorf("%d without a state", r.status)
		}
	case r.state == "done":
		if got := r.header.Get("Content-Digest"); r.asked.Method != "HEAD" && got != digestOf(r.body) {
			t.Errorf("Content-Digest is %q, of %q", got, r.body)
		}
	case r.state == "running":
		if r.status != 202 || r.body != "" || r.header.Get("Retry-After") == "" {
			t.Errorf("running, with %d %v %q", r.status, r.header, r.body)
		}
	case r.state == "none":
		if !slices.Contains([]int{429, 502, 503, 504}, r.status) {
			t.Errorf("not now, with %d", r.status)
		}
	case r.state == "gone" && r.status == 204 && r.asked.Method == "DELETE":
	default:
		t.Errorf("%d with the state %q", r.status, r.state)
	}
}

// checkProblem checks a problem document.
func (r *wireReply) checkProblem(t *testing.T) {
	t.Helper()
	if r.asked.Method == "HEAD" {
		return
	}
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
		Retryable                 *bool
	}
	from := json.NewDecoder(strings.NewReader(r.body))
	from.DisallowUnknownFields()
	if err := from.Decode(&p); err != nil {
		t.Fatalf("a problem that is %v: %q", err, r.body)
	}
	r.code = p.Code
	if !strings.HasSuffix(p.Type, "docs/protocol.md#"+p.Code) || p.Title == "" || p.Detail == "" || p.Retryable == nil || p.Status != r.status {
		t.Errorf("the problem is %s", r.body)
	}
	// When an answer is about no message there is no state: of acknowledgements in bulk.
	if got := fmt.Sprint(r.status, " ", r.state); !slices.Contains(problemAnswers[p.Code], got) {
		t.Errorf("problem %s with %s, want %q", p.Code, got, problemAnswers[p.Code])
	}
}

// goodID is what section 1 says of a message id.
func goodID(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"\,;`, c) >= 0 {
			return false
		}
	}
	return id != "" && len(id) <= 255
}

// keyOf returns the id that a request names, if it names one.
func keyOf(r *http.Request) (string, bool) {
	lines := r.Header.Values("Idempotency-Key")
	if len(lines) != 1 {
		return "", false
	}
	id := strings.Trim(lines[0], " \t")
	if strings.HasPrefix(id, `"`) {
		item, err := httpsfv.UnmarshalItem([]string{id})
		if err != nil {
			return "", false
		}
		id, _ = item.Value.(string)
	}
	return id, goodID(id)
}

// untilOf returns the until that a request's Certified field tells, 0 if there is none that counts.
func untilOf(r *http.Request) int64 {
	d, err := httpsfv.UnmarshalDictionary(r.Header.Values("Certified"))
	if err != nil {
		return 0
	}
	m, _ := d.Get("until")
	item, _ := m.(httpsfv.Item)
	at, _ := item.Value.(time.Time)
	if at.Unix() < 1 || at.Unix() > 253402300799 {
		return 0
	}
	return at.Unix()
}

// rawRequest puts together the bytes of a request, with a Content-Length if the header does not say how long the body is.
func rawRequest(method, target, header string, body []byte) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n", method, target)
	lower := strings.ToLower(header)
	if !strings.Contains(lower, "content-length") && !strings.Contains(lower, "transfer-encoding") {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(body))
	}
	if header != "" && !strings.HasSuffix(header, "\n") {
		header += "\r\n"
	}
	b = append(b, header+"\r\n"...)
	return append(b, body...)
}
