package conform_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
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
	{"takes attempts of any age", "S8", func(s *server) {
		s.linger = 2 * time.Second
		s.wrap = restamped("at", func(at, now int64) int64 { return max(at, now) })
	}},
	{"takes attempts after their until and before their sent", "S8", func(s *server) {
		until := restamped("until", func(until, now int64) int64 { return max(until, now+60) })
		sent := restamped("sent", func(sent, now int64) int64 { return min(sent, now) })
		s.wrap = func(next http.Handler) http.Handler { return until(sent(next)) }
	}},
	{"has no patience with clocks", "S8", func(s *server) {
		s.wrap = restamped("at", func(at, now int64) int64 {
			if at > now+30 {
				at += 3600
			}
			return at
		})
	}},
	{"does not keep messages for so long as it says", "S9", func(s *server) {
		s.wrap = restamped("until", func(until, now int64) int64 {
			if until > now+14*86400 {
				until += 30 * 86400
			}
			return until
		})
	}},
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
		if bytes.Contains(x.body, []byte("key-reused")) {
			x.body = bytes.Replace(x.body, []byte(`"detail"`), []byte(`"message"`), 1)
		}
		x.body = bytes.Replace(x.body, []byte("Attempt is too old"), fmt.Appendf(nil, "%d is too old", time.Now().UnixNano()), 1)
	})},
	{"says less than it should", "§2", altering(func(_ *server, x *served) {
		switch x.certified(", now=@[0-9]+", ""); {
		case x.r.URL.Path == "/.well-known/chttp":
			x.header.Del("Certified")
		case bytes.Contains(x.body, []byte("key-missing")):
			x.certified(", state=refused", "")
		}
	})},
	{"does not say when to come again after overload", "S10", altering(func(_ *server, x *served) {
		if x.status == http.StatusServiceUnavailable && x.r.URL.Query().Has("status") {
			x.problem(http.StatusServiceUnavailable, "none", "overloaded")
		}
	})},
	{"reads Certified only as it writes it", "§1", altering(nil, func(r *http.Request) {
		all := r.Header.Values("Certified")
		if r.Method == http.MethodPost && len(all) > 0 && (len(all) > 1 || !regexp.MustCompile(`^v=1, sent=@\d+, at=@\d+, until=@\d+$`).MatchString(all[0])) {
			r.Header.Set("Certified", "nothing that can be read")
		}
	})},
	{"counts a header field that does not count", "S3", altering(nil, func(r *http.Request) {
		if r.Header.Get("Conform-Other") != "" {
			r.Header.Set("Content-Type", "text/another")
		}
	})},
	{"takes short ids of those without a name", "S2", func(s *server) {
		s.nobody = true
		altering(func(_ *server, x *served) { x.certified(`-short"`, `"`) }, func(r *http.Request) {
			if key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`); len(key) == 21 {
				r.Header.Set("Idempotency-Key", key+"-short")
			}
		})(s)
	}},
	{"takes another store for its own", "S11 S13", func(s *server) {
		another := newServer(s.t, func(o *server) { o.options.Anonymous, o.options.Principal = false, basic })
		s.also = another.target().URL
	}},
	{"does not forget", "S8 A2 A3 A5", func(s *server) {
		s.linger = time.Second
		altering(func(_ *server, x *served) {
			if x.r.Method == http.MethodGet && x.status == http.StatusNotFound {
				x.problem(http.StatusGone, "gone", "acknowledged")
			}
		})(s)
	}},
	{"takes a DELETE once", "A3", func(s *server) {
		var mu sync.Mutex
		deleted := map[string]bool{}
		altering(func(_ *server, x *served) {
			mu.Lock()
			defer mu.Unlock()
			if x.r.Method == http.MethodDelete && deleted[x.r.URL.Path] {
				x.problem(http.StatusNotFound, "none", "not-found")
			}
			deleted[x.r.URL.Path] = deleted[x.r.URL.Path] || x.r.Method == http.MethodDelete
		})(s)
	}},
	{"marks what is new as a replay", "§1 §2 S1 S2 S3 S4 S6 S8 S9 S13 A1 A2 A3 A4", altering(func(_ *server, x *served) {
		if x.r.Method == http.MethodPost {
			x.certified("state=done, until", "state=done, replayed=?1, until")
		}
	})},
	{"does not say how long it lingers", "§8", altering(func(_ *server, x *served) {
		x.body = bytes.Replace(x.body, []byte(`"linger":"PT10M",`), nil, 1)
	})},
}

// slowServers show their faults where something takes a while.
var slowServers = []wrongServer{
	{"answers errors with a status of its own", "§1 S1 S5 A3 §6 §7", func(s *server) {
		s.options.RequireKey = true
		altering(func(_ *server, x *served) {
			for _, code := range []string{"key-invalid", "key-missing", "certified-invalid", "too-large", "not-found", "in-progress"} {
				if bytes.Contains(x.body, []byte(`"code":"`+code+`"`)) {
					x.status = http.StatusTeapot
				}
			}
		})(s)
	}},
	{"says running of another request while the first one runs", "S3", altering(func(_ *server, x *served) {
		if x.status == http.StatusUnprocessableEntity && x.r.URL.Query().Has("sleep") {
			x.certified("state=refused", "state=running")
			x.status, x.body = http.StatusAccepted, nil
			x.header.Set("Retry-After", "1")
		}
	})},
	{"fails while the first one runs", "S5 §7", altering(func(_ *server, x *served) {
		if x.status == http.StatusConflict && x.r.Method == http.MethodPost {
			x.status = http.StatusInternalServerError
		}
	})},
	{"leaves what it accepted lying after a kill", "S6", altering(func(s *server, x *served) {
		if s.restarts.Load() > 0 && x.r.Method == http.MethodGet && x.status == http.StatusCreated {
			x.certified("state=done, replayed=.1", "state=running")
			x.status, x.body = http.StatusAccepted, nil
			x.header.Del("Content-Digest")
		}
	})},
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
			if s.nobody {
				s.options.Anonymous, s.options.Principal = true, nil
			}
		})
		o := s.target()
		o.Header, o.Other = ann, ben
		if s.nobody {
			o.Header, o.Other = nil, nil
		}
		if s.also != "" {
			o.Also = []string{s.also}
		}
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
	seen := map[string]bool{} // claims, and whether they were seen to fail
	for i, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			r := <-results[i]
			if r.err != nil {
				t.Fatal(r.err)
			}
			note(seen, r.report)
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
	everyClaimFailed(t, seen)
}

// note keeps which claims a report holds, and whether they fail.
func note(seen map[string]bool, r *conform.Report) {
	for _, l := range r.Lines {
		for _, f := range l.Findings {
			claim := f.Rule + " " + f.Claim
			seen[claim] = seen[claim] || f.Verdict == conform.Fail
		}
	}
}

// everyClaimFailed wants all claims to have been seen to fail: a claim that cannot fail says nothing.
func everyClaimFailed(t *testing.T, seen map[string]bool, but ...string) {
	t.Helper()
	for claim, failed := range seen {
		if !failed && !slices.Contains(but, claim) {
			t.Errorf("nobody breaks: %s", claim)
		}
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
