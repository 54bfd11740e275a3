package chttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// outbound is a request that was checked and read.
type outbound struct {
	head    *record.Head
	message *message // as Options.Destination sees it
	print   []byte
	name    string
	key     ID // chosen by the caller, or ""
	after   time.Duration
}

// outbound reads and checks a request.
func (n *Node) outbound(req *http.Request, policy Policy) (*outbound, error) {
	if err := policy.validate(); err != nil {
		return nil, err
	}
	body, err := readRequest(req, n.opt.MaxValue)
	if err != nil {
		return nil, err
	}
	if req.URL.User != nil {
		return nil, fmt.Errorf("the URL %q has credentials, which would be stored: give them through Destination.Authorize", req.URL.Redacted())
	}
	for _, name := range credentials {
		if req.Header.Get(name) != "" {
			return nil, fmt.Errorf("the request has an %s header, which would be stored: give it through Destination.Authorize", name)
		}
	}
	header := headerOf(req)
	if header == nil {
		header = make(http.Header)
	}
	if req.Host != "" && req.Host != req.URL.Host {
		header.Set("Host", req.Host)
	}
	o := &outbound{print: requestPrint(req, body), name: targetName(req), key: policy.ID}
	if keys := header.Values(headerKey); len(keys) > 0 && o.key == "" {
		if o.key, err = parseKey(keys); err != nil {
			return nil, err
		}
	}
	header.Del(headerKey)
	o.head = &record.Head{
		Method: method(req), URL: req.URL.String(), Header: header, Body: body, Destination: policy.Destination, Label: policy.Labels,
		Chosen: o.key != "",
	}
	o.message = &message{
		method: o.head.Method, url: req.URL, header: header, body: body, dest: policy.Destination,
		info: Info{Function: functionSend, Labels: policy.Labels},
	}
	return o, nil
}

// fix decides when o may first be sent, and until when.
func (n *Node) fix(ctx context.Context, o *outbound) (err error) {
	o.head.Sent, o.head.Until, o.after, err = n.term(ctx, o.message)
	return err
}

// term fixes when a message may first be sent, and until when: whole seconds, the same in every attempt.
func (n *Node) term(ctx context.Context, m *message) (sent, until int64, after time.Duration, err error) {
	_, o, err := n.courier.destinationOf(ctx, m)
	if err != nil {
		return 0, 0, 0, err
	}
	policy := envOf(ctx).policy.over(o.Policy).over(n.opt.Policy) // the more special first
	if err := policy.validate(); err != nil {
		return 0, 0, 0, fmt.Errorf("Options.Destination: %w", err)
	}
	if policy.Until == 0 {
		policy.Until = policy.After + defaultUntilPlain
		if n.courier.peerOf(m, o).certified() {
			policy.Until = policy.After + defaultUntil
		}
	}
	first := n.now().Truncate(time.Second)
	if policy.After > 0 {
		first = n.now().Add(policy.After + time.Second - 1).Truncate(time.Second)
	}
	last := n.now().Add(policy.Until + time.Second - 1).Truncate(time.Second)
	return first.UnixMilli(), last.UnixMilli(), policy.After, nil
}

func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// targetName names a request for people: its method and URL without query and credentials.
func targetName(req *http.Request) string {
	if req == nil || req.URL == nil {
		return ""
	}
	u := url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.Path}
	return method(req) + " " + u.String()
}

// headerOf returns a copy of the request's header, never nil.
func headerOf(req *http.Request) http.Header {
	if req.Header == nil {
		return make(http.Header)
	}
	return req.Header.Clone()
}

// readRequest checks that a request can be kept and repeated, and reads its body.
func readRequest(req *http.Request, limit int) ([]byte, error) {
	switch {
	case req == nil || req.URL == nil:
		return nil, errors.New("the request has no URL")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "":
		return nil, fmt.Errorf("the URL %q is not an absolute http or https URL", req.URL.Redacted())
	case req.Header.Get("Upgrade") != "" || method(req) == http.MethodConnect:
		return nil, errors.New("a connection that is upgraded cannot be recorded: use plain HTTP outside of chttp")
	case len(req.Trailer) > 0:
		return nil, errors.New("request trailers are not recorded")
	}
	for k, vs := range req.Header {
		for _, v := range vs {
			if !validField(k, v) {
				return nil, fmt.Errorf("the header field %q is not valid: names are tokens, values have no line breaks", k)
			}
		}
	}
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(io.LimitReader(req.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	if len(body) > limit {
		return nil, fmt.Errorf("the request's body is longer than Options.MaxValue, %d bytes", limit)
	}
	return body, nil
}

// validField tells whether a header field can be sent: a token, and a value that cannot end it (RFC 9110, section 5).
func validField(name, value string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return !strings.ContainsAny(value, "\r\n\x00")
}

// requestPrint is the fingerprint that tells one request from another on our own side: the wire's, and the authority.
func requestPrint(req *http.Request, body []byte) []byte {
	return fingerprint(method(req), req.URL.Scheme+"://"+req.URL.Host+req.URL.EscapedPath(), req.URL.RawQuery,
		req.Header.Get(headerContentType), req.Header.Get("Content-Encoding"), body)
}

// requestText shows what requestPrint is of.
func requestText(req *http.Request, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", method(req), req.URL)
	for _, name := range [...]string{headerContentType, "Content-Encoding"} {
		if v := req.Header.Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	b.WriteByte('\n')
	b.Write(body)
	return b.Bytes()
}

// outboundText is requestText for what is sent.
func outboundText(list []*outbound) []byte {
	var b bytes.Buffer
	for _, o := range list {
		m := o.message
		b.Write(requestText(&http.Request{Method: m.method, URL: m.url, Header: m.header}, m.body))
		b.WriteByte('\n')
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
