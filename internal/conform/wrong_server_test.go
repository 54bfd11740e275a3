package conform_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/internal/conform"
)

// A wrongServer has one fault. It is found by the rules that it breaks, and by no other.
type wrongServer struct {
	name  string
	want  string // the rules that fail
	plant func(*server)
}

var wrongServers = []wrongServer{
	{"answers a copy from the record, and runs the handler as well", "S5 S6 §6", altering(func(s *server, x *served) {
		if x.replayed() && x.r.Method == http.MethodPost {
			s.executions.Add(1)
		}
	})},
	{"changes a byte of the replay", "S5 S6 §6", altering(func(_ *server, x *served) {
		if x.replayed() && x.r.Method == http.MethodPost && len(x.body) > 0 {
			x.body[0] ^= 1
			x.digest()
		}
	})},
	{"loses a header field of the replay", "S6 §6", altering(func(_ *server, x *served) {
		if x.replayed() && x.r.Method == http.MethodPost {
			x.header.Del("X-Execution")
		}
	})},
	{"keeps the first content type only", "A3", altering(func(_ *server, x *served) {
		if x.r.Method == http.MethodGet && x.replayed() {
			x.header.Set("Content-Type", "text/html")
		}
	})},
	{"calls everybody by one name", "S2", func(s *server) {
		s.options.Principal = func(r *http.Request) (string, error) {
			if _, err := basic(r); err != nil {
				return "", err
			}
			return "everybody", nil
		}
	}},
	{"refuses for ever whoever forgot his credentials", "S1", altering(func(_ *server, x *served) {
		if x.status == http.StatusUnauthorized {
			x.problem(http.StatusBadRequest, "refused", "key-invalid")
		}
	})},
	{"leaves out the digest", "§2", altering(func(_ *server, x *served) { x.header.Del("Content-Digest") })},
	{"does not echo until", "§2", altering(func(_ *server, x *served) { x.certified(`, until=@[0-9]+`, "") })},
	{"names another id", "§2", altering(func(_ *server, x *served) { x.certified(` id="c`, ` id="d`) })},
	{"lets caches keep its answers", "§2", altering(func(_ *server, x *served) { x.header.Del("Cache-Control") })},
	{"points the message URL at another host", "§2", altering(func(_ *server, x *served) {
		if x.r.URL.Query().Get("sleep") == "" && strings.Contains(x.header.Get("Certified"), "state=done, replayed") {
			x.certified(`message="/`, `message="//evil.example/`)
		}
	})},
	{"does not mark replays for plain clients", "§2 §6", altering(func(_ *server, x *served) { x.header.Del("Idempotent-Replayed") })},
	{"answers 200 where an id is reused", "S3", altering(func(_ *server, x *served) {
		if x.status == http.StatusUnprocessableEntity && x.r.Header.Get("Certified") != "" {
			x.status = http.StatusOK
		}
	})},
	{"does not count the content type", "S3", func(s *server) {
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Content-Type", "application/json")
				next.ServeHTTP(w, r)
			})
		}
	}},
	{"takes a bare key for another key", "§1", altering(func(_ *server, x *served) {
		if strings.HasSuffix(x.r.Header.Get("Idempotency-Key"), "-bare") {
			x.certified(`-bare"`, `"`)
		}
	}, func(r *http.Request) {
		if key := r.Header.Get("Idempotency-Key"); key != "" && key[0] != '"' && r.Header.Get("Certified") != "" && !strings.Contains(key, ",") {
			r.Header.Set("Idempotency-Key", key+"-bare")
		}
	})},
	{"does not look at the digest", "§1", altering(nil, func(r *http.Request) { r.Header.Del("Content-Digest") })},
	{"takes an error for a failure to answer", "S6", altering(func(_ *server, x *served) {
		if x.status == http.StatusInternalServerError && x.r.URL.Query().Get("status") == "500" {
			x.certified("state=done", "state=none")
		}
	})},
	{"loses all when it is killed", "S4 S6 S13 §6", func(s *server) { s.forgets = true }},
	{"takes 'not now' for an outcome", "S7", altering(func(_ *server, x *served) {
		if x.status == http.StatusServiceUnavailable && x.r.URL.Query().Get("status") != "" {
			x.certified("state=none", "state=done")
			x.digest()
		}
	})},
	{"takes a crash for an outcome", "S7", altering(func(_ *server, x *served) {
		if x.r.URL.Query().Has("crash") {
			x.certified("state=running", "state=done")
			x.digest()
		}
	})},
	{"takes attempts of any age", "S8", func(s *server) { s.wrap = restamped("at", func(at, now int64) int64 { return max(at, now-60) }) }},
	{"takes attempts from the future", "S8", func(s *server) { s.wrap = restamped("at", func(at, now int64) int64 { return min(at, now) }) }},
	{"promises to know a message for ever", "S9", func(s *server) {
		s.wrap = restamped("until", func(until, now int64) int64 { return min(until, now+14*86400) })
	}},
	{"renames its store now and then", "S13", altering(func(_ *server, x *served) {
		if x.status == http.StatusUnprocessableEntity {
			x.certified(`store="[^"]*"`, `store="another"`)
		}
	})},
	{"does not take acknowledgements in bulk", "A1", altering(func(_ *server, x *served) {
		if strings.HasSuffix(x.r.URL.Path, "/acks") {
			x.status = http.StatusNotFound
		}
	})},
	{"takes an acknowledged id for a new one", "A1 A2", func(s *server) {
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				serve := func() *served {
					rec := httptest.NewRecorder()
					r.Body = io.NopCloser(bytes.NewReader(body))
					next.ServeHTTP(rec, r)
					return &served{r, rec.Code, rec.Header(), rec.Body.Bytes()}
				}
				x := serve()
				if key := r.Header.Get("Idempotency-Key"); x.status == http.StatusGone && key != "" {
					r.Header.Set("Idempotency-Key", strings.Trim(key, `"`)+"-again")
					x = serve()
					x.certified(`-again"`, `"`)
				}
				x.write(w)
			})
		}
	}},
	{"does not find what was acknowledged", "A3", altering(func(_ *server, x *served) {
		if x.r.Method == http.MethodGet && x.status == http.StatusGone {
			x.problem(http.StatusNotFound, "none", "not-found")
		}
	})},
	{"refuses a request because of what rides on it", "A4", altering(func(_ *server, x *served) {
		if ack := x.r.Header.Get("Certified-Ack"); strings.HasSuffix(ack, "at=") {
			x.problem(http.StatusBadRequest, "refused", "certified-invalid")
		}
	})},
	{"forgets what was acknowledged without at", "A5", func(s *server) {
		s.linger = 2 * time.Second
		altering(nil, func(r *http.Request) {
			if r.Method == http.MethodDelete && r.Header.Get("Certified") == "" {
				r.Header.Set("Certified", fmt.Sprintf("v=1, at=@%d", time.Now().Unix()))
			}
		})(s)
	}},
	{"has its own idea of a problem", "§7", altering(func(_ *server, x *served) {
		x.body = bytes.Replace(x.body, []byte(`"detail"`), []byte(`"message"`), 1)
	})},
	{"does not say how long it lingers", "§8", altering(func(_ *server, x *served) {
		x.body = bytes.Replace(x.body, []byte(`"linger":"PT10M",`), nil, 1)
	})},
}

// slowServers show their faults where something takes a while.
var slowServers = []wrongServer{
	{"runs the handler for each of several copies at once", "S5 §6", func(s *server) {
		var mu sync.Mutex
		at := map[string]int{}
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
				mu.Lock()
				at[key]++
				several := at[key] == 5
				mu.Unlock()
				if several {
					s.executions.Add(1)
				}
				next.ServeHTTP(w, r)
				mu.Lock()
				at[key]--
				mu.Unlock()
			})
		}
	}},
	{"says running without Retry-After", "S5", altering(func(_ *server, x *served) {
		if x.status == http.StatusAccepted {
			x.header.Del("Retry-After")
		}
	})},
	{"says none of a copy while the message runs", "S5", func(s *server) {
		var mu sync.Mutex
		known := map[string]bool{}
		altering(func(_ *server, x *served) {
			if x.r.Header.Get("Copy") != "" && x.status == http.StatusAccepted {
				x.problem(http.StatusServiceUnavailable, "none", "overloaded")
				x.header.Set("Retry-After", "1")
			}
		}, func(r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if key := r.Header.Get("Idempotency-Key"); known[key] {
				r.Header.Set("Copy", "1")
			} else {
				known[key] = key != ""
			}
		})(s)
	}},
	{"gives up when the client does", "S12", func(s *server) {
		var mu sync.Mutex
		undone := map[string]bool{}
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key := r.Header.Get("Idempotency-Key")
				mu.Lock()
				again := undone[key]
				mu.Unlock()
				if again {
					r.Header.Set("Idempotency-Key", strings.Trim(key, `"`)+"-again")
				}
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				if r.Context().Err() != nil && key != "" {
					mu.Lock()
					undone[key] = true
					mu.Unlock()
					s.executions.Add(-1) // as if it had not been
				}
				x := &served{r, rec.Code, rec.Header(), rec.Body.Bytes()}
				x.certified(`-again"`, `"`)
				x.write(w)
			})
		}
	}},
}

func TestAWrongServerBreaksTheRuleThatItBreaks(t *testing.T) {
	t.Parallel()
	type result struct {
		report *conform.Report
		err    error
	}
	all := slices.Concat(slowServers, wrongServers)
	results := make([]chan result, len(all))
	atOnce := make(chan struct{}, 8) // they mostly wait
	for i, tt := range all {
		s := newServer(t, func(s *server) {
			s.options.Anonymous, s.options.Principal = false, basic
			tt.plant(s)
		})
		o := s.target()
		o.Header, o.Other = ann, ben
		if i >= len(slowServers) {
			o.Slow = o.URL + "?status=404"
		}
		results[i] = make(chan result, 1)
		go func() {
			atOnce <- struct{}{}
			rep, err := conform.Server(t.Context(), o)
			<-atOnce
			results[i] <- result{rep, err}
		}()
	}
	for i, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			r := <-results[i]
			if r.err != nil {
				t.Fatal(r.err)
			}
			if got := verdicts(r.report, conform.Fail); got != tt.want {
				t.Errorf("broken are %q, want %q", got, tt.want)
				tell(t, r.report)
			}
			for _, f := range failures(r.report) {
				if f.Why == "" || !strings.Contains(f.Script, "curl") {
					t.Errorf("%s fails without a reason and a script: %+v", f.Rule, f)
				}
			}
		})
	}
}

func failures(r *conform.Report) (list []conform.Finding) {
	for _, l := range r.Lines {
		for _, f := range l.Findings {
			if f.Verdict == conform.Fail {
				list = append(list, f)
			}
		}
	}
	return list
}

// served is an answer on its way out.
type served struct {
	r      *http.Request
	status int
	header http.Header
	body   []byte
}

// altering makes a server that changes its answers, and perhaps the requests before it reads them.
func altering(answer func(*server, *served), request ...func(*http.Request)) func(*server) {
	return func(s *server) {
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, f := range request {
					f(r)
				}
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				x := &served{r, rec.Code, rec.Header(), rec.Body.Bytes()}
				if answer != nil {
					answer(s, x)
				}
				x.write(w)
			})
		}
	}
}

func (x *served) write(w http.ResponseWriter) {
	for k, v := range x.header {
		w.Header()[k] = v
	}
	w.Header().Del("Content-Length")
	if x.r.Method != http.MethodHead && x.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(x.body)))
	}
	w.WriteHeader(x.status)
	_, _ = w.Write(x.body)
}

func (x *served) replayed() bool { return x.header.Get("Idempotent-Replayed") == "true" }

// certified replaces what matches in the Certified field.
func (x *served) certified(pattern, by string) {
	if c := x.header.Get("Certified"); c != "" {
		x.header.Set("Certified", regexp.MustCompile(pattern).ReplaceAllLiteralString(c, by))
	}
}

func (x *served) digest() {
	sum := sha256.Sum256(x.body)
	x.header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
}

// problem makes the answer a problem.
func (x *served) problem(status int, state, code string) {
	x.status = status
	x.certified("state=[a-z]+(, replayed=.1)?", "state="+state)
	x.header.Set("Content-Type", "application/problem+json")
	x.header.Del("Content-Digest")
	x.body = fmt.Appendf(nil, `{"type":"https://github.com/certifiedhttp/chttp/blob/main/docs/protocol.md#%s","title":%q,"status":%d,"detail":"x","code":%q,"retryable":true}`,
		code, titles[code], status, code)
}

var titles = map[string]string{
	"not-found": "Message is not known", "overloaded": "Server is overloaded", "certified-invalid": "Certified is not valid",
	"key-invalid": "Idempotency-Key is not valid",
}

// restamped changes one of the stamps before the server sees it, and hides that from the client.
func restamped(name string, to func(stamp, now int64) int64) func(http.Handler) http.Handler {
	stamp := regexp.MustCompile(name + `=@([0-9]{10})`)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			was := r.Header.Get("Certified")
			m := stamp.FindStringSubmatch(was)
			if m == nil || r.Header.Get("Idempotency-Key") == "" || len(r.Header.Values("Certified")) > 1 {
				next.ServeHTTP(w, r)
				return
			}
			n, _ := strconv.ParseInt(m[1], 10, 64)
			changed := fmt.Sprintf("%s=@%d", name, to(n, time.Now().Unix()))
			r.Header.Set("Certified", strings.Replace(was, m[0], changed, 1))
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			x := &served{r, rec.Code, rec.Header(), rec.Body.Bytes()}
			x.certified(regexp.QuoteMeta(changed), m[0])
			x.write(w)
		})
	}
}
