package chttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// inbound is a request that was read and checked.
type inbound struct {
	server    *server
	key       store.Key
	head      *record.Head
	print     []byte
	stamps    stamps
	certified bool // the client is
	prefer    preferences
	wait      time.Duration
	created   bool // this request began the execution
}

// refusal is an answer that is no outcome.
type refusal struct {
	problem problem
	state   wireState
}

// verdict returns what the answer to in says of it.
func (n *Node) verdict(in *inbound, state wireState) *verdict {
	v := &verdict{State: state, Now: n.now().Unix()}
	if in != nil {
		v.ID, v.Until, v.Store = in.key.ID, in.stamps.Until, n.id.Store
	}
	return v
}

func (s *server) refuse(w http.ResponseWriter, in *inbound, r *refusal) {
	v := s.node.verdict(in, r.state)
	v.Store = s.node.id.Store
	r.problem.write(w, v)
}

// read checks a request in the order that PROTOCOL 3 gives. The inbound of a refusal is as much of it as is known, perhaps nil.
func (s *server) read(r *http.Request) (*inbound, *refusal) {
	n := s.node
	switch err := n.open(); {
	case errors.Is(err, errReadOnly):
		return s.named(r), &refusal{problemClosed.because(err), stateNone}
	case err != nil:
		return s.named(r), &refusal{problemClosed, stateNone}
	}
	if !n.running() {
		return s.named(r), &refusal{problemClosed.because(errors.New("the node is not running: call its Run")), stateNone}
	}
	principal, no := s.principal(r)
	if no != nil {
		return s.named(r), no
	}
	in, no := s.message(r, principal)
	if no != nil {
		return in, no
	}
	if no := s.body(r, in); no != nil {
		return in, no
	}
	h := in.head
	in.print = fingerprint(r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get(headerContentType), r.Header.Get("Content-Encoding"), h.Body)
	if in.certified {
		switch s := in.stamps; {
		case s.Until-s.Sent > int64(certifiedRetention/time.Second): // S9
			return in, &refusal{problemTooLong, stateRefused}
		case n.stale(s, n.now()):
			return in, &refusal{problemStaleAttempt, stateNone}
		}
		h.Sent, h.Until, h.At = in.stamps.Sent*1000, in.stamps.Until*1000, in.stamps.At*1000
	}
	in.prefer = parsePrefer(r.Header.Values(headerPrefer))
	in.wait = s.opt.Wait
	switch {
	case in.prefer.Async:
		in.wait = 0
	case in.prefer.HasWait:
		in.wait = min(in.wait, in.prefer.Wait)
	}
	h.Minimal = in.prefer.Minimal
	s.acknowledge(r, principal)
	return in, nil
}

// named is the inbound of a refusal that comes before anything is read: an answer counts only if it names the message (section 2).
func (s *server) named(r *http.Request) *inbound {
	id, err := parseKey(r.Header.Values(headerKey))
	if err != nil {
		return nil
	}
	in := &inbound{server: s, key: store.Key{ID: id}}
	in.stamps, _, _ = parseStamps(r.Header.Values(headerCertified))
	return in
}

// principal says who calls (S1, S2).
func (s *server) principal(r *http.Request) (string, *refusal) {
	if s.opt.Principal == nil {
		return "", nil
	}
	name, err := s.opt.Principal(r)
	if err == nil && len(name) > maxPrincipal {
		s.node.opt.Logger.Error("chttp: a principal's name is too long to be stored with each of its messages", "handler", s.name, "bytes", len(name))
	}
	if err != nil || name == "" && !s.opt.Anonymous || len(name) > maxPrincipal {
		return "", &refusal{problemUnauthorized, stateNone}
	}
	return name, nil
}

// maxPrincipal bounds a principal's name, in bytes: it is in every key and every message URL.
const maxPrincipal = 255

// problemUnauthorized says nothing of why: that is for the log of whoever decided it.
var problemUnauthorized = problem{
	Status: http.StatusUnauthorized, Code: "unauthorized", Retryable: true,
	Detail: "The request carries no credentials that are good here. Nothing was done: send it again with some that are.",
}

// message reads the message's id and its stamps.
func (s *server) message(r *http.Request, principal string) (*inbound, *refusal) {
	in := &inbound{server: s, head: s.storable(r, principal)}
	in.key.Scope = s.name + "/" + principal
	id, err := parseKey(r.Header.Values(headerKey))
	switch {
	case errors.Is(err, errNoKey) && s.opt.RequireKey:
		return nil, &refusal{problemKeyMissing, stateRefused}
	case errors.Is(err, errNoKey):
		id, in.head.Keyless = newID(), true
	case err != nil:
		return nil, &refusal{problemKeyInvalid.because(err), stateRefused}
	case principal == "" && len(id) < minAnonymousID:
		in.key.ID = id // An answer counts only if it names the message (section 2).
		return in, &refusal{problemShortKey, stateRefused}
	}
	in.key.ID = id
	in.stamps, in.certified, err = parseStamps(r.Header.Values(headerCertified))
	switch {
	case err != nil:
		return in, &refusal{problemCertifiedInvalid.because(err), stateRefused}
	case in.head.Keyless && in.certified:
		return nil, &refusal{problemKeyMissing, stateRefused}
	case r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect:
		return in, &refusal{problemUpgrade, stateRefused}
	}
	return in, nil
}

var problemUpgrade = problem{
	Status: http.StatusNotImplemented, Code: "not-recordable",
	Detail: "A connection that is upgraded cannot be recorded: send this request to a resource that is not certified.",
}

// body reads the request's body, whether or not it says its length, and verifies its digest.
func (s *server) body(r *http.Request, in *inbound) (no *refusal) {
	if in.head.Body, no = readBody(r, s.opt.MaxBody); no != nil {
		return no
	}
	if err := verifyDigest(r.Header.Values(headerDigest), in.head.Body); err != nil {
		return &refusal{problemDigestMismatch, stateNone}
	}
	return nil
}

// readBody reads a body of at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, *refusal) {
	if r.ContentLength > limit {
		return nil, &refusal{problemTooLarge, stateRefused}
	}
	if r.Body == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, 64<<10))) // A length is only said; memory is for what has come.
	}
	_, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	var tooLong *http.MaxBytesError // a limit set around the handler
	switch {
	case errors.As(err, &tooLong), err == nil && int64(buf.Len()) > limit:
		return nil, &refusal{problemTooLarge, stateRefused}
	case err != nil:
		return nil, &refusal{problemIncomplete, stateNone}
	}
	return buf.Bytes(), nil
}

var problemIncomplete = problem{
	Status: http.StatusBadRequest, Code: "incomplete", Retryable: true,
	Detail: "The content ended before its length. Nothing was done: send the request again.",
}

// credentials are never stored (S12).
var credentials = [...]string{"Authorization", "Proxy-Authorization", "Cookie"}

// storable returns the head of r without its body: what the handler will see (S12).
func (s *server) storable(r *http.Request, principal string) *record.Head {
	header := make(http.Header, len(r.Header))
	for name, values := range r.Header {
		if s.opt.Header(name) {
			header[name] = values
		}
	}
	dropHopByHop(header)
	for _, f := range credentials {
		delete(header, f)
	}
	for _, f := range [...]string{headerCertified, headerAck, headerDigest, headerPrefer} {
		delete(header, f)
	}
	u := url.URL{Path: rooted(r.URL.Path), RawPath: rooted(r.URL.RawPath), RawQuery: r.URL.RawQuery}
	return &record.Head{
		Method: r.Method, URL: u.RequestURI(), Header: header, Host: r.Host, Principal: principal, PathValue: pathValues(r),
	}
}

// rooted returns path as a request target can have it: http.StripPrefix may have left it without its first slash.
func rooted(path string) string {
	if path == "" || path[0] == '/' {
		return path
	}
	return "/" + path
}

// pathValues returns the values of the wildcards in the pattern that led to the handler.
func pathValues(r *http.Request) map[string]string {
	var m map[string]string
	for p := r.Pattern; ; {
		_, rest, ok := strings.Cut(p, "{")
		if !ok {
			return m
		}
		var name string
		if name, p, ok = strings.Cut(rest, "}"); !ok {
			return m
		}
		name = strings.TrimSuffix(name, "...")
		if name == "" || name == "$" {
			continue
		}
		if m == nil {
			m = make(map[string]string)
		}
		m[name] = r.PathValue(name)
	}
}

// storedRequest makes of a head the request that every run sees.
func storedRequest(ctx context.Context, h *record.Head) (*http.Request, error) {
	u, err := url.ParseRequestURI(h.URL)
	if err != nil {
		return nil, err
	}
	req := (&http.Request{
		Method: h.Method, URL: u, RequestURI: h.URL, Host: h.Host, Header: h.Header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(h.Body)), ContentLength: int64(len(h.Body)),
	}).WithContext(ctx)
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	for k, v := range h.PathValue {
		req.SetPathValue(k, v)
	}
	return req, nil
}

// acknowledge takes the acknowledgements that ride on r: of messages to this handler, from this principal (A1).
func (s *server) acknowledge(r *http.Request, principal string) {
	values := r.Header.Values(headerAck)
	if len(values) == 0 || s.opt.Anonymous && principal == "" {
		return // S2: an anonymous one needs the message URL.
	}
	list, err := parseAcks(values)
	if err != nil {
		s.node.opt.Logger.Warn("chttp: acknowledgements that cannot be read are ignored", "handler", s.name, "err", err)
		return
	}
	for _, a := range list {
		_, _ = s.node.acked(store.Key{Scope: s.name + "/" + principal, ID: a.ID}, a.At) // A4
	}
}

// acked drops the outcome of key with the next batch, whose group it returns; nil when there is no outcome, and an error when that could
// not be found out. at is in Unix seconds;
// 0 counts as until (A5), and no more than until is believed.
func (n *Node) acked(key store.Key, at int64) (*group, error) {
	bound := at * 1000
	if at == 0 || at > n.now().Add(skew).Unix() {
		r, err := n.store.Read(context.Background(), key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, nil
		case err != nil:
			return nil, err
		case !r.State.Finished():
			return nil, nil
		}
		until := r.Bound
		if r.State == store.Acknowledged { // Bound is what was acknowledged before; until was no later than this (S8, S9).
			until = r.Created + (skew + certifiedRetention).Milliseconds()
		}
		if at == 0 || bound > until {
			bound = until
		}
	}
	return n.journal.put(func(j *journal) { j.acks = append(j.acks, store.Ack{Key: key, At: bound}) }), nil
}
