package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"
)

// principal says with whose credentials a request goes.
type principal int

const (
	self   principal = iota
	other            // the second one, of Options.Other
	nobody           // without any
)

// request is one attempt of a message, or another request about it, as it is written. Nothing of it is corrected.
type request struct {
	method     string
	url        string
	key        []string    // the lines of Idempotency-Key
	stamps     *stamps     // nil: of a plain client. An at of 0 is the time of sending
	certified  []string    // the lines of Certified, instead of stamps
	header     http.Header // any other field
	body       []byte
	zeros      int64 // so many bytes instead of the body
	as         principal
	leaveAfter time.Duration // the client goes away so long after it has sent; 0: it does not
	copies     int           // that are sent at once, in a script
}

// clone returns another attempt of the same message, which can be changed without changing r.
func (r *request) clone() *request {
	c := *r
	c.key, c.certified, c.header = slices.Clone(r.key), slices.Clone(r.certified), maps.Clone(r.header)
	if c.header == nil {
		c.header = http.Header{}
	}
	if r.stamps != nil {
		s := *r.stamps
		c.stamps = &s
	}
	return &c
}

// with returns another attempt with one more header field.
func (r *request) with(name, value string) *request {
	c := r.clone()
	c.header.Set(name, value)
	return c
}

// at returns an attempt at another URL.
func (r *request) at(url string) *request {
	c := r.clone()
	c.url = url
	return c
}

// altered returns an attempt with other content: with a space at its end, which many formats allow.
func (r *request) altered() *request {
	c := r.clone()
	c.body = append(slices.Clone(r.body), ' ')
	return c
}

// plain returns the request as a plain client sends it: with a bare key and no stamps.
func (r *request) plain() *request {
	c := r.clone()
	c.stamps = nil
	return c
}

// stamped returns an attempt with other stamps.
func (r *request) stamped(sent, at, until int64) *request {
	c := r.clone()
	c.stamps = &stamps{sent, at, until}
	return c
}

// answer is what came back. Without an answer, err says why.
type answer struct {
	req     *request
	sent    stamps // as they were written
	status  int
	header  http.Header
	body    []byte
	err     error
	took    time.Duration
	mark    mark
	problem problem // of a problem document
	isDoc   bool    // it is one
}

// maxAnswer is the longest answer that is read.
const maxAnswer = 64 << 20

// String returns what a person needs to see of the answer, in one line.
func (a *answer) String() string {
	if a.err != nil {
		return "no answer (" + a.err.Error() + ")"
	}
	s := fmt.Sprintf("status %d", a.status)
	for _, name := range [...]string{headerCertified, headerRetryAfter, headerReplayed} {
		for _, v := range a.header.Values(name) {
			s += ", " + name + ": " + v
		}
	}
	if !a.mark.present {
		s += ", no " + headerCertified
	}
	if a.isDoc && a.problem.Code != "" {
		s += ", code " + a.problem.Code
	}
	return s
}

// excerpt quotes the content of the answer where it first differs from that of b.
func (a *answer) excerpt(b *answer) string {
	at := 0
	for at < min(len(a.body), len(b.body)) && a.body[at] == b.body[at] {
		at++
	}
	from := max(0, at-20)
	return fmt.Sprintf("%.60q from byte %d", a.body[from:], from)
}

// is tells whether the answer says that the message is in this state.
func (a *answer) is(state string) bool {
	return a.err == nil && a.mark.err == nil && a.mark.state == state
}

// exchange sends one request and reads its answer.
func (r *run) exchange(ctx context.Context, q *request) *answer {
	a := &answer{req: q}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	if q.leaveAfter > 0 {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { time.AfterFunc(q.leaveAfter, cancel) },
		})
	}
	var body io.Reader = bytes.NewReader(q.body)
	if q.zeros > 0 {
		body = io.LimitReader(zeros{}, q.zeros)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, io.NopCloser(body)) // no GetBody: nothing is sent twice unasked
	if err != nil {
		a.err = err
		return a
	}
	req.ContentLength = max(int64(len(q.body)), q.zeros)
	if req.ContentLength == 0 {
		req.Body = http.NoBody
	}
	req.Header = r.headerOf(a)
	began := time.Now()
	res, err := r.transport.RoundTrip(req)
	if err == nil {
		a.status, a.header = res.StatusCode, res.Header
		a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		res.Body.Close()
	}
	a.took = time.Since(began)
	if err != nil {
		a.err = err
		if errors.Is(err, context.DeadlineExceeded) && q.leaveAfter == 0 {
			a.err = fmt.Errorf("none within %v", r.opt.Timeout)
		}
		return a
	}
	a.mark = readMark(a.header.Values(headerCertified))
	a.problem, a.isDoc = readProblem(a.header, a.body)
	return a
}

// headerOf returns the header of the request of a, and keeps in a the stamps that it names.
func (r *run) headerOf(a *answer) http.Header {
	q := a.req
	h := http.Header{headerAccept: {"identity"}, "User-Agent": {"chttp-conform"}}
	if q.zeros > 0 {
		h.Set("Expect", "100-continue") // so that a refusal arrives before the content goes
	}
	switch q.as {
	case self:
		maps.Copy(h, r.opt.Header)
	case other:
		maps.Copy(h, r.opt.Header)
		maps.Copy(h, r.opt.Other)
	case nobody:
		for name, values := range r.opt.Header {
			if !Credential(name) {
				h[name] = values
			}
		}
	}
	maps.Copy(h, q.header)
	if q.key != nil {
		h[headerKey] = q.key
	}
	switch {
	case q.certified != nil:
		h[headerCertified] = q.certified
	case q.stamps != nil:
		a.sent = *q.stamps
		if a.sent.at == 0 {
			a.sent.at = r.now()
		}
		h.Set(headerCertified, a.sent.String())
	}
	if q.stamps != nil && h.Get(headerDigest) == "" && q.zeros == 0 && len(q.body) > 0 {
		h.Set(headerDigest, contentDigest(q.body))
	}
	return h
}

// zeros is content without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// secretNames are in the names of header fields that carry secrets.
var secretNames = []string{"auth", "cookie", "token", "secret", "password", "api-key", "apikey", "signature"}

// Credential tells whether the header field of this name is a secret, which is not printed.
func Credential(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secretNames, func(s string) bool { return strings.Contains(name, s) })
}
