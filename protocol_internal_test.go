package chttp

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const publishedProtocol = "docs/protocol.md"

func TestTheTypeOfEveryProblemLeadsToItsHeading(t *testing.T) {
	text := published(t)
	if !strings.HasSuffix(problemTypes, "/"+publishedProtocol+"#") {
		t.Errorf("problem types begin with %s", problemTypes)
	}
	for code := range problemTitles {
		if !strings.Contains(text, "\n### "+string(code)+"\n") {
			t.Errorf("%s has no heading for %s", publishedProtocol, code)
		}
	}
}

func TestThePublishedExamplesAreWhatWeReadAndWrite(t *testing.T) {
	blocks := regexp.MustCompile("(?s)\n```http\n(.*?)\n```\n").FindAllStringSubmatch(published(t), -1)
	if len(blocks) < 15 {
		t.Fatalf("got %d examples", len(blocks))
	}
	for _, block := range blocks {
		name, _, _ := strings.Cut(block[1], "\n")
		t.Run(name, func(t *testing.T) {
			head, body, ok := strings.Cut(block[1]+"\n", "\n\n")
			body = strings.TrimSuffix(body, "\n")
			if !ok {
				t.Fatal("there is no empty line after the header")
			}
			wire := bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body))
			if strings.HasPrefix(head, "HTTP/") {
				checkResponse(t, wire, body)
			} else {
				checkRequest(t, wire, body)
			}
		})
	}
}

func checkRequest(t *testing.T, wire *bufio.Reader, body string) {
	t.Helper()
	req, err := http.ReadRequest(wire)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, req.Header, req.Body, body)
	if strings.HasPrefix(req.URL.Path, wellKnown) {
		checkWellKnown(t, req, body)
		return
	}
	id, err := parseKey(req.Header[headerKey])
	if err != nil {
		t.Error(err)
	}
	s, certified, err := parseStamps(req.Header[headerCertified])
	if err != nil {
		t.Error(err)
	}
	if got, want := req.Header.Get(headerKey), formatKey(id, certified); got != want {
		t.Errorf("got key %s, want %s", got, want)
	}
	if certified {
		if got, want := req.Header.Get(headerCertified), s.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if s.Sent > s.At || s.At > s.Until {
			t.Errorf("got %s, which S8 refuses", s)
		}
	}
	acks, err := parseAcks(req.Header[headerAck])
	if got, want := req.Header.Get(headerAck), formatAcks(acks); err != nil || got != want {
		t.Errorf("got acknowledgements %s, want %s, %v", got, want, err)
	}
}

func checkWellKnown(t *testing.T, req *http.Request, body string) {
	t.Helper()
	c := newCapabilities(someSecret)
	if req.URL.Path != pathAcks {
		if _, ok := c.parse(req.URL.Path); !ok {
			t.Errorf("%s is not a message URL", req.URL.Path)
		}
		if at, err := parseAckAt(req.Header[headerCertified]); err != nil || (at != 0) != (req.Method == http.MethodDelete) {
			t.Errorf("got at %d, %v", at, err)
		}
		return
	}
	bulk, err := parseBulkAcks([]byte(body))
	if err != nil || len(bulk.Acks) == 0 {
		t.Errorf("got %v, %v", bulk, err)
	}
	for _, a := range bulk.Acks {
		if _, ok := c.parse(a.Message); !ok {
			t.Errorf("%s is not a message URL", a.Message)
		}
	}
}

func checkResponse(t *testing.T, wire *bufio.Reader, body string) {
	t.Helper()
	res, err := http.ReadResponse(wire, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkBody(t, res.Header, res.Body, body)
	field := res.Header.Get(headerCertified)
	v, present, err := parseVerdict(res.Header[headerCertified])
	if aboutNone := !strings.Contains(field, "id="); !present || (err != nil) != aboutNone {
		t.Fatalf("got %q: %v", field, err)
	} else if aboutNone {
		return
	}
	if got := v.String(); got != field {
		t.Errorf("got  %s\nwant %s", field, got)
	}
	if k, ok := newCapabilities(someSecret).parse(v.Message); v.Message != "" && (!ok || k.ID != v.ID) {
		t.Errorf("message leads to %q, %v", k, ok)
	}
	if v.State == stateDone && res.Header.Get(headerDigest) == "" {
		t.Error("done without Content-Digest")
	}
	if got, want := res.Header.Get("Date"), time.Unix(v.Now, 0).UTC().Format(http.TimeFormat); got != want {
		t.Errorf("got Date: %s, want %s", got, want)
	}
	if got, want := res.Header.Get(headerReplayed) == valueReplayed, v.Replayed; got != want {
		t.Errorf("got %s %v, want %v", headerReplayed, got, want)
	}
	if code, ok := parseProblem(res.Header.Get(headerContentType), []byte(body)); ok {
		checkProblem(t, code, res.StatusCode, body)
	}
}

// checkProblem fails unless the problem is as we write it.
func checkProblem(t *testing.T, code problemCode, status int, body string) {
	t.Helper()
	for _, p := range standingProblems {
		if p.Code == code && p.Status == status {
			w := httptest.NewRecorder()
			p.write(w, nil)
			if got := strings.TrimSuffix(w.Body.String(), "\n"); got != body {
				t.Errorf("got  %s\nwant %s", body, got)
			}
			return
		}
	}
	t.Errorf("there is no problem %s with status %d", code, status)
}

func checkBody(t *testing.T, h http.Header, r io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != want {
		t.Errorf("got body %q, %v, want %q: is its Content-Length %d?", got, err, want, len(want))
	}
	if length := h.Get("Content-Length"); length != "" && length != strconv.Itoa(len(want)) {
		t.Errorf("got length %s, want %d", length, len(want))
	}
	if err := verifyDigest(h[headerDigest], []byte(want)); err != nil {
		t.Errorf("%v, want %s", err, contentDigest([]byte(want)))
	}
}

func published(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(publishedProtocol)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
}
