package chttp_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// nothing checks that the handler did not run and that nothing was stored.
func (s *site) nothing(t *testing.T, app *counter) {
	t.Helper()
	app.ran(t, 0)
	if n := s.records(); n != 0 {
		t.Errorf("%d records, want none", n)
	}
}

func TestABadKeyIsRefusedAndNothingIsDone(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	for _, key := range []string{
		"", " ", `""`, strings.Repeat("a", 256), `"` + strings.Repeat("a", 256) + `"`, `"a`, `a"`, `"a" "b"`, "a,b", "a;b", `a\b`, `"a,b"`, "a b", "é", "a\x00b",
		"a\x7f", `"a"; =`, strings.Repeat("a", 100_000),
	} {
		s.post(key, "x").problem(t, 400, "key-invalid", "refused")
	}
	s.post("a", "x", "Idempotency-Key", "a").problem(t, 400, "key-invalid", "refused")
	s.nothing(t, app)
	s.post(strings.Repeat("a", 255), "x").done(t, 201, "run 1", false)
}

func TestABadCertifiedFieldIsRefusedAndNothingIsDone(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	now := time.Now().Unix()
	for _, field := range []string{
		"", "?", "v=1", "v=2, sent=@1, at=@1, until=@2", fmt.Sprintf("v=1, sent=@%d, at=@%d", now, now), fmt.Sprintf("v=1, at=@%d, until=@%d", now, now+9),
		fmt.Sprintf("v=1, sent=%d, at=%d, until=%d", now, now, now+9), fmt.Sprintf("v=1, sent=@0, at=@%d, until=@%d", now, now+9),
		fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@253402300800", now, now), "v=1, sent=@-5, at=@-4, until=@-3", `v="1"`, strings.Repeat("v=1, ", 20_000),
		fmt.Sprintf("v=1, sent=@%d, at=@%d, until=(@%d)", now, now, now+9), "v=1, sent=@1.5, at=@2, until=@3",
	} {
		s.post("a", "x", "Certified", field).problem(t, 400, "certified-invalid", "refused")
	}
	s.nothing(t, app)
}

func TestS8AnAttemptOutOfBoundsIsRefusedAndNothingIsDone(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	for name, stamps := range map[string]string{
		"beyond the skew":   stamped(0, 2*time.Minute+5*time.Second, time.Hour),
		"below the floor":   stamped(-time.Hour, -11*time.Minute, time.Hour),
		"at the beginning":  "v=1, sent=@1, at=@1, until=@2",
		"after until":       stamped(-20*time.Second, 0, -10*time.Second),
		"before it is sent": stamped(30*time.Second, 0, time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			r := s.post("a", "x", "Certified", stamps).problem(t, 412, "stale-attempt", "none")
			if r.member("now") == "" || r.member("until") == "" || r.member("id") != "a" {
				t.Errorf("the client cannot learn from %v", r.header["Certified"])
			}
		})
	}
	s.nothing(t, app)
	s.post("a", "x", "Certified", stamped(-time.Hour, -9*time.Minute, time.Hour)).done(t, 201, "run 1", false)
	s.post("b", "x", "Certified", stamped(0, 2*time.Minute-5*time.Second, time.Hour)).done(t, 201, "run 2", false)
}

func TestS9AMessageThatWantsToBeKnownForTooLongIsRefused(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	now := time.Now().Unix()
	overflowing := now + math.MaxInt64/int64(time.Second)*2 + 10 // a Duration of it is a small one
	for _, until := range []int64{now + 15*86400 + 1, now + 16*86400, overflowing, 253402300799} {
		s.post("a", "x", "Certified", fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", now, now, until)).problem(t, 400, "too-long", "refused")
	}
	s.nothing(t, app)
	s.post("a", "x", "Certified", fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", now, now, now+15*86400)).done(t, 201, "run 1", false)
}

func TestADigestThatIsNotThatOfTheContentIsRefusedAndNothingIsDone(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	const ofX = "sha-256=:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=:"
	s.certified("a", "changed", "Content-Digest", ofX).problem(t, 400, "digest-mismatch", "none")
	s.certified("a", "x", "Content-Digest", "sha-256=:AAAA:").problem(t, 400, "digest-mismatch", "none")
	s.certified("a", "x", "Content-Digest", "sha-256").problem(t, 400, "digest-mismatch", "none")
	s.nothing(t, app)
	s.certified("a", "x", "Content-Digest", ofX).done(t, 201, "run 1", false)
	s.certified("b", "x", "Content-Digest", "md5=:AAAA:").done(t, 201, "run 2", false)
}

func TestABodyOverTheLimitIsRefusedAndNothingIsDone(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, &chttp.HandlerOptions{MaxBody: 1000})
	srv := httptest.NewServer(s)
	defer srv.Close()
	send := func(id string, length int, chunked bool) reply {
		t.Helper()
		var body io.Reader = strings.NewReader(strings.Repeat("x", length))
		if chunked {
			body = struct{ io.Reader }{body}
		}
		r, err := http.NewRequest("POST", srv.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", id)
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{res.StatusCode, res.Header, string(b)}
	}
	for _, chunked := range []bool{false, true} {
		send("a", 1001, chunked).problem(t, 413, "too-large", "refused")
		send("a", 100_000, chunked).problem(t, 413, "too-large", "refused")
	}
	s.nothing(t, app)
	send("a", 1000, true).done(t, 201, "run 1", false)
	send("a", 1000, false).done(t, 201, "run 1", true) // the same request, whether or not it says its length
}

func TestALimitAroundTheHandlerIsABodyOverTheLimit(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	inner := s.Handler
	s.Handler = http.MaxBytesHandler(inner, 10)
	s.certified("a", "more than ten bytes").problem(t, 413, "too-large", "refused")
	s.Handler = inner
	s.nothing(t, app)
}

// raw sends bytes over a connection of its own and returns all that comes back.
func raw(t *testing.T, srv *httptest.Server, request string, whole bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if !whole {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestABodyThatEndsTooSoonIsNotARequest(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	for _, body := range []string{"Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"} {
		answer := raw(t, srv, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: a\r\n"+body, false)
		if answer != "" && !strings.Contains(answer, `"code":"incomplete"`) {
			t.Errorf("%q was answered %q", body, answer)
		}
	}
	s.nothing(t, app)
}

func TestARequestWithoutALengthIsTakenWhole(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%q %d %v %v", b, r.ContentLength, r.TransferEncoding, err)
	}, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	answer := raw(t, srv, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", true)
	if !strings.Contains(answer, `"abcdef" 6 [] <nil>`) {
		t.Errorf("got %q", answer)
	}
	answer = raw(t, srv, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: b\r\n\r\n", true)
	if !strings.Contains(answer, `"" 0 [] <nil>`) {
		t.Errorf("without any body: got %q", answer)
	}
}

func TestAnUpgradeIsRefused(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	s.post("a", "", "Connection", "Upgrade", "Upgrade", "websocket").problem(t, 501, "not-recordable", "refused")
	s.nothing(t, app)
}

func TestAHandlersBadHeaderNeverReachesTheWire(t *testing.T) {
	for name, set := range map[string]func(http.Header){
		"line breaks":       func(h http.Header) { h.Set("X-Bad", "a\r\nSet-Cookie: evil=1\r\n\r\n<html>") },
		"a bare line feed":  func(h http.Header) { h.Set("X-Bad", "a\nevil: 1") },
		"a zero byte":       func(h http.Header) { h.Set("X-Bad", "a\x00b") },
		"a name with space": func(h http.Header) { h["X Bad"] = []string{"evil"} },
		"a name with colon": func(h http.Header) { h["X-Bad: evil\r\nX"] = []string{"1"} },
		"an empty name":     func(h http.Header) { h[""] = []string{"evil"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) { set(w.Header()); fmt.Fprint(w, "hello") }, nil)
			srv := httptest.NewServer(s)
			defer srv.Close()
			answer := raw(t, srv, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: a\r\n\r\n", true)
			res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
			if err != nil {
				t.Fatalf("%v: %q", err, answer)
			}
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			reply{res.StatusCode, res.Header, string(b)}.problem(t, 503, "parked", "running")
			if strings.Contains(answer, "evil") {
				t.Errorf("the wire has %q", answer)
			}
		})
	}
}

func TestWhatIsNotRecordedOfAResponse(t *testing.T) {
	s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range map[string]string{
			"Connection": "X-Named, keep-alive", "X-Named": "n", "Keep-Alive": "1", "Transfer-Encoding": "identity", "Upgrade": "u", "Trailer": "X-T", "Te": "t",
			"Date": "yesterday", "Set-Cookie": "a=b", "Traceparent": "00", "Tracestate": "s", "Content-Length": "3",
			"Certified": "v=1, state=gone", "Content-Digest": "sha-256=:AAAA:", "Idempotent-Replayed": "true", "Cache-Control": "max-age=60",
			http.TrailerPrefix + "X-Late": "l", "X-Kept": "k",
		} {
			h.Set(name, value)
		}
		h["certified"] = []string{"v=1, state=gone"}
		h["set-cookie"] = []string{"c=d"}
		h["x-lower"] = []string{"kept too"}
		fmt.Fprint(w, "more than three bytes")
	}, nil)
	srv := httptest.NewServer(s)
	defer srv.Close()
	for _, replayed := range []bool{false, true} {
		answer := raw(t, srv, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: a\r\n\r\n", true)
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		reply{res.StatusCode, res.Header, string(b)}.done(t, 200, "more than three bytes", replayed)
		for _, name := range []string{"X-Named", "Keep-Alive", "Upgrade", "Trailer", "Te", "Set-Cookie", "Traceparent", "Tracestate", "X-Late"} {
			if res.Header.Get(name) != "" {
				t.Errorf("%s: %s is on the wire", name, res.Header.Get(name))
			}
		}
		if res.Header.Get("X-Kept") != "k" || res.Header.Get("X-Lower") != "kept too" || res.Header.Get("Date") == "yesterday" || len(res.Header["Certified"]) != 1 {
			t.Errorf("headers: %v", res.Header)
		}
	}
}

func TestAResponseOverTheLimitParksTheExecution(t *testing.T) {
	n := newNode(t, memstore.New(), &chttp.Options{Logger: quiet, MaxValue: 100})
	h := n.Handler("app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := w.Write(make([]byte, 101)); err == nil {
			t.Error("a write over the limit has no error")
		}
		fmt.Fprint(w, "more")
	}), &chttp.HandlerOptions{Principal: callers})
	s := &site{t: t, node: n, Handler: h}
	s.run()
	s.certified("a", "x").problem(t, 503, "parked", "running")
}

func TestResponsesWithoutABody(t *testing.T) {
	for _, status := range []int{204, 304} {
		s := newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(status)
			w.WriteHeader(500)
			if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
				t.Errorf("Write: %v", err)
			}
		}, nil)
		srv := httptest.NewServer(s)
		for _, replayed := range []bool{false, true} {
			answer := raw(t, srv, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIdempotency-Key: a\r\n\r\n", true)
			head, body, _ := strings.Cut(answer, "\r\n\r\n")
			if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d", status)) || body != "" || strings.Contains(head, "replayed=?1") != replayed {
				t.Errorf("got %q", answer)
			}
		}
		srv.Close()
	}
}

func TestAPathThatIsNoRequestTargetDoesNotParkTheExecution(t *testing.T) {
	app := new(counter)
	s := newSite(t, nil, app.ServeHTTP, nil)
	inner := s.Handler
	for i, prefix := range []string{"/orders/", "/orders/new"} {
		s.Handler = http.StripPrefix(prefix, inner)
		s.ask("POST", "/orders/new", "x", "Idempotency-Key", fmt.Sprint("key-", i)).want(t, 201, "done")
	}
}

func TestAMistakeInTheOptionsIsAnsweredAndReported(t *testing.T) {
	app := new(counter)
	for name, c := range map[string]struct {
		name string
		h    http.Handler
		o    *chttp.HandlerOptions
	}{
		"no principal":  {"app", app, nil},
		"nil handler":   {"app", nil, &chttp.HandlerOptions{Anonymous: true}},
		"a slash":       {"a/b", app, &chttp.HandlerOptions{Anonymous: true}},
		"no name":       {"", app, &chttp.HandlerOptions{Anonymous: true}},
		"negative wait": {"app", app, &chttp.HandlerOptions{Anonymous: true, Wait: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, memstore.New(), nil)
			h := n.Handler(c.name, c.h, c.o)
			if err := n.Run(t.Context()); err == nil {
				t.Error("Run has no error")
			}
			s := &site{t: t, node: n, Handler: h}
			if r := s.post("1234567890123456789012", ""); r.status < 500 {
				t.Errorf("got %d", r.status)
			}
			app.ran(t, 0)
		})
	}
}
