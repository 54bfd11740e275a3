package chttp_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stampsAt is the Certified field of a request of a bubble's first second, good for a week.
var stampsAt = fmt.Sprintf("Certified: v=1, sent=@%d, at=@%[1]d, until=@%d\r\n", bubbleStart, bubbleStart+7*24*3600)

// requestSeeds are methods, targets, headers and bodies that lead to every answer of section 7, and near misses.
var requestSeeds = [][4]string{
	{"POST", "/orders", "Idempotency-Key: \"order-42\"\r\n" + stampsAt + "Content-Type: text/plain\r\n", "a lamp"},
	{"POST", "/orders?a=b%20c&d", "idempotency-key: order-42\r\nX-Caller: eve\r\nAuthorization: secret\r\nCookie: a=b", "{}"},
	{"POST", "/orders", "", "without a key"},
	{"POST", "/orders", "Idempotency-Key: a\r\nIdempotency-Key: b", ""},
	{"POST", "/orders", "Idempotency-Key: \"a;b\"", ""},
	{"POST", "/orders", "Idempotency-Key: \"a\"; param=1\r\n" + stampsAt, "x"},
	{"PUT", "/items/7/a%2Fb/c", "Idempotency-Key: k\r\nPrefer: return=minimal, wait=1\r\nConnection: x-hop\r\nX-Hop: 1", "x"},
	{"DELETE", "/slow", "Idempotency-Key: \"k\"\r\nPrefer: respond-async\r\n" + stampsAt, ""},
	{"POST", "/slow", "Idempotency-Key: k\r\nPrefer: wait=2", ""},
	{"POST", "/busy", "Idempotency-Key: \"k\"\r\n" + stampsAt, ""},
	{"POST", "/step", "Idempotency-Key: \"k\"\r\n" + stampsAt, ""},
	{"POST", "/panic", "Idempotency-Key: \"k\"\r\n" + stampsAt, ""},
	{"POST", "/status/204", "Idempotency-Key: k", "x"},
	{"POST", "/status/304", "Idempotency-Key: k", "x"},
	{"POST", "/strict/a", "", "no key"},
	{"POST", "/strict/a", stampsAt, "stamps without a key"},
	{"POST", "/fragile/panic", "Idempotency-Key: k", ""},
	{"POST", "/open/a", "Idempotency-Key: short", ""},
	{"POST", "/open/a", "Idempotency-Key: 0123456789abcdefghijklm\r\n" + stampsAt, "x"},
	{"POST", "/orders", "X-Caller: nobody\r\nIdempotency-Key: k", ""},
	{"POST", "/orders", "Idempotency-Key: k\r\nCertified: v=1, sent=@946684800", ""},
	{"POST", "/orders", "Idempotency-Key: k\r\nCertified: v=1, sent=@946684800, at=@946685800, until=@946784800", ""},
	{"POST", "/orders", "Idempotency-Key: k\r\nCertified: v=1, sent=@946684800, at=@946684800, until=@956784800", ""},
	{"POST", "/orders", "Idempotency-Key: k\r\nCertified: v=1, sent=@946684800;a=1\r\nCertified: at=@946684800, until=@946784800, x=(1 2)", "x"},
	{"POST", "/orders", "Idempotency-Key: k\r\nContent-Digest: sha-256=:AAAA:", "x"},
	{"POST", "/orders", "Idempotency-Key: k\r\nContent-Length: 10", "short"},
	{"POST", "/orders", "Idempotency-Key: k\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"},
	{"POST", "/orders", "Idempotency-Key: k\r\nExpect: 100-continue\r\nContent-Length: 1", "x"},
	{"POST", "/orders", "Idempotency-Key: k\r\nContent-Length: 5000", strings.Repeat("x", 5000)},
	{"POST", "/orders", "Idempotency-Key: k\r\nUpgrade: websocket", ""},
	{"POST", "/orders", "Idempotency-Key: \"k\"\r\nCertified-Ack: \"k\";at=@946684800, \"other\"\r\n" + stampsAt, "acknowledges itself"},
	{"POST", "//orders/../x", "Idempotency-Key: k", ""},
	{"POST", "http://other.example/orders", "Idempotency-Key: k", ""},
	{"POST", "*", "Idempotency-Key: k", ""},
	{"CONNECT", "a:1", "Idempotency-Key: k", ""},
	{"GET", "/orders", "Idempotency-Key: k\r\n" + stampsAt, ""},
	{"HEAD", "/.well-known/chttp", "", ""},
	{"BREW", "/pot", "Idempotency-Key: k\r\nContent-Encoding: gzip", "x"},
}

// FuzzRequest sends a request to a certified server, in bytes and through net/http: twice, and once more as somebody else. Each answer is
// one that the protocol knows; the same request gets the same answer (I3) from one run (I2), and another caller a run of his own (S2).
func FuzzRequest(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add(s[0], s[1], s[2], []byte(s[3]))
	}
	f.Fuzz(func(t *testing.T, method, target, header string, body []byte) {
		if strings.ContainsAny(method+target, "\r\n") {
			return // several requests
		}
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t)
			raw := rawRequest(method, target, header, body)
			first := s.ask("ann", raw)
			again := s.ask("ann", raw)
			first.repeated(t, again)
			s.ranOnce(t)
			other := s.ask("bob", raw)
			s.ranOnce(t)
			s.sawWhatWasSent(t, other)
			first.strange(t, other)
			if first.state != "running" || !first.keyed() {
				return
			}
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			if last := s.ask("ann", raw); last.state == "running" && last.code != "parked" {
				t.Errorf("half an hour later it is %d %s %s", last.status, last.state, last.code)
			}
			s.ranOnce(t)
		})
	})
}

// keyed tells whether the request is a message with an id of its own.
func (r *wireReply) keyed() bool {
	if r.asked == nil || passesThrough(r.asked) || isWellKnown(r.asked) {
		return false
	}
	_, ok := keyOf(r.asked)
	return ok
}

// repeated checks the answer to the same request once more.
func (r *wireReply) repeated(t *testing.T, again *wireReply) {
	t.Helper()
	acks := r.asked != nil && len(r.asked.Header.Values("Certified-Ack")) > 0
	switch {
	case (r.asked == nil) != (again.asked == nil):
		t.Errorf("the same bytes came to the handler once")
	case !r.keyed():
	case r.state == "gone":
		t.Errorf("nobody acknowledged it, and it is gone")
	case again.state == "gone" && acks: // It acknowledged itself.
	case r.state == "done":
		again.done(t, r.status, r.body, true)
		r.same(t, again.reply)
	case r.state == "running":
		if again.state != "running" && (again.state != "done" || !again.replayed) {
			t.Errorf("running, and then %q, replayed %v", again.state, again.replayed)
		}
	case again.state != r.state || again.code != r.code || again.status != r.status:
		t.Errorf("%d %q %s, and then %d %q %s", r.status, r.state, r.code, again.status, again.state, again.code)
	}
	if r.keyed() && r.replayed {
		t.Errorf("the first answer is a repetition")
	}
}

// strange checks the answer that somebody else got to the same request.
func (r *wireReply) strange(t *testing.T, other *wireReply) {
	t.Helper()
	switch {
	case !r.keyed() || strings.HasPrefix(r.asked.URL.Path, "/open/"):
	case other.state != r.state || other.code != r.code || other.status != r.status:
		t.Errorf("%d %q %s, and to another caller %d %q %s", r.status, r.state, r.code, other.status, other.state, other.code)
	case other.replayed, r.state == "done" && r.body != "" && other.body == r.body:
		t.Errorf("another caller is shown the answer %q", other.body)
	}
}

// ranOnce checks that no message ran twice, unless it crashed, said that it was not now, or waited out of memory.
func (s *shop) ranOnce(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	count := map[string]int{}
	for _, r := range s.runs {
		name := r.info.Principal + " " + r.info.ID + " " + r.info.Function
		if count[name]++; r.info.ID != "" && count[name] > 1 && !slices.ContainsFunc([]string{"busy", "panic", "slow", "429", "502", "503", "504"}, func(end string) bool {
			return strings.HasSuffix(r.path, end)
		}) {
			t.Errorf("%s ran %d times", name, count[name])
		}
	}
}

// sawWhatWasSent checks that every run saw the request that was sent, without what is not the application's (S12).
func (s *shop) sawWhatWasSent(t *testing.T, r *wireReply) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.asked == nil || passesThrough(r.asked) || isWellKnown(r.asked) {
		return
	}
	for _, run := range s.runs {
		if run.method != r.asked.Method || run.path != "/"+strings.TrimPrefix(r.asked.URL.Path, "/") || run.query != r.asked.URL.RawQuery {
			t.Errorf("the handler saw %s %q ? %q of %s %q ? %q", run.method, run.path, run.query, r.asked.Method, r.asked.URL.Path, r.asked.URL.RawQuery)
		}
		for name, values := range run.header {
			if !slices.Equal(values, r.asked.Header[name]) {
				t.Errorf("the handler saw %s: %q of %q", name, values, r.asked.Header[name])
			}
		}
		for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "Certified", "Certified-Ack", "Connection", "Upgrade"} {
			if _, ok := run.header[http.CanonicalHeaderKey(name)]; ok {
				t.Errorf("the handler saw %s", name)
			}
		}
		if run.body != s.runs[0].body {
			t.Errorf("two runs saw the bodies %q and %q", s.runs[0].body, run.body)
		}
	}
}
