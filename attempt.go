package chttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// answer is what came back from one attempt.
type answer struct {
	response *record.Response // nil: none, or not whole
	header   http.Header      // as it came
	verdict  *verdict         // of a certified answer to this very message
	err      error
	left     bool // a byte may have left
	moved    bool // redirections were followed
	at       time.Time
}

const maxRedirects = 5 // C5

// request builds a request of the message.
func (m *message) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, m.method, m.url.String(), bytes.NewReader(m.body))
	if err != nil {
		return nil, err
	}
	for k, v := range m.header {
		req.Header[k] = append([]string(nil), v...)
	}
	if host := m.header.Get("Host"); host != "" {
		req.Host = host
		req.Header.Del("Host")
	}
	return req, nil
}

// attempt makes one attempt of m and says what it leads to.
func (c *courier) attempt(ctx context.Context, m *message, o *Destination) next {
	p := c.peerOf(m, o)
	acks := c.acks.ride(m, o)
	a := c.exchange(ctx, m, o, p, acks)
	m.tries++
	m.before, m.left = m.left, m.left || a.left
	if ctx.Err() == nil {
		m.failed = a.err
	}
	if a.moved {
		c.acks.rode(acks, nil) // Whoever redirected says nothing of them.
	} else {
		c.acks.rode(acks, a.verdict)
	}
	if ctx.Err() != nil && a.response == nil {
		return next{sign: nothing, after: backoff(m.tries)}
	}
	n := c.judge(ctx, m, o, p, &a)
	switch {
	case a.verdict != nil && a.verdict.State == stateNone && (a.response.Status == http.StatusUnauthorized || a.response.Status == http.StatusForbidden):
		n.sign = silent // C5: one at a time, until credentials work.
	case a.response != nil:
		n.sign = answers
	case errors.Is(a.err, errOwn):
		c.node.opt.Logger.Warn("chttp: an attempt could not be made", "id", m.id, "to", m.target(), "err", a.err)
	case a.err != nil:
		n.sign = silent
	}
	return n
}

// errOwn marks an error that says nothing of the peer.
var errOwn = errors.New("the attempt was not made")

// exchange sends the request and reads the answer, following redirects within the authority.
func (c *courier) exchange(ctx context.Context, m *message, o *Destination, p *peer, acks []owedAck) (a answer) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, infoKey{}, m.info), attemptTimeout)
	defer cancel()
	// net/http may lose a connection, after it wrote to it, and fail to dial another in the same RoundTrip (C7).
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	target := m.url
	for range maxRedirects {
		req, err := m.stamped(ctx, target, o, p, c.node.now().Add(p.offset()), acks)
		if err != nil {
			return answer{err: fmt.Errorf("%w: %w", errOwn, err), left: a.left}
		}
		res, err := c.node.opt.Transport.RoundTrip(req)
		a.left = a.left || connected.Load() || !neverLeft(err)
		a.at = c.node.now()
		if err != nil {
			a.err = err
			return a
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, int64(c.node.opt.MaxValue)+1))
		res.Body.Close()
		if err == nil && len(body) > c.node.opt.MaxValue {
			err = errTooLarge
		}
		a.header = res.Header
		if err != nil {
			a.err = fmt.Errorf("read the answer: %w", err)
			return a
		}
		response := &record.Response{Status: res.StatusCode, Header: recordable(res.Header), Body: body}
		if m.certify() && !o.Plain {
			a.verdict = verified(res.Header, m.id, response)
		}
		if to := redirect(res, target); to != nil && a.verdict == nil { // A certified answer is followed by its state alone (section 2).
			target, acks, a.moved = to, nil, true // Acknowledgements ride to the path of their message only (A1).
			continue
		}
		a.response = response
		return a
	}
	a.err = fmt.Errorf("more than %d redirects", maxRedirects)
	return a
}

var errTooLarge = errors.New("the answer is longer than Options.MaxValue")

// neverLeft is true where err says that no byte of the request left: the connection that it needed last could not be made.
func neverLeft(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// redirect returns where a 307 or 308 within the same authority leads (C5).
func redirect(res *http.Response, from *url.URL) *url.URL {
	if res.StatusCode != http.StatusTemporaryRedirect && res.StatusCode != http.StatusPermanentRedirect {
		return nil
	}
	location := res.Header.Get("Location")
	to, err := from.Parse(location)
	if err != nil || location == "" || to.Scheme != from.Scheme || to.Host != from.Host {
		return nil
	}
	return to
}

// stamped builds the request of one attempt (section 1), made now by the peer's clock.
func (m *message) stamped(ctx context.Context, target *url.URL, o *Destination, p *peer, now time.Time, acks []owedAck) (*http.Request, error) {
	req, err := m.request(ctx)
	if err != nil {
		return nil, err
	}
	req.URL = target
	h := req.Header
	if !m.bare {
		h.Del(headerKey)
		h.Del(headerCertified)
		h.Del(headerAck)
	}
	h.Set(headerAcceptEncoding, valueIdentity)
	if m.certify() && !o.Plain {
		h.Set(headerKey, formatKey(m.id, p.certified()))
		h.Set(headerCertified, m.stamp(now).String())
		h.Set(headerDigest, contentDigest(m.body))
		if len(acks) > 0 {
			h.Set(headerAck, acksField(acks))
		}
		if m.minimal && h.Get(headerPrefer) == "" {
			h.Set(headerPrefer, "return=minimal")
		}
	}
	if o.Authorize != nil {
		if err := o.Authorize(req); err != nil {
			return nil, fmt.Errorf("Destination.Authorize: %w", err)
		}
	}
	if o.Plain || !m.certify() && req.Body != nil {
		req.GetBody = nil // C7: then net/http cannot send it again by itself.
	}
	return req, nil
}

// stamp returns the stamps of an attempt made now, by the peer's clock. at never falls while the process lives, and is never behind until (C8).
func (m *message) stamp(now time.Time) stamps {
	s := stamps{Sent: m.sent / 1000, Until: m.until / 1000}
	s.At = max(now.Unix(), s.Sent, m.at)
	s.At = min(s.At, s.Until)
	m.at = s.At
	return s
}

// recordable returns the header fields of an answer that are kept: not what is the connection's or the protocol's, and no cookie, which
// is a credential.
func recordable(h http.Header) http.Header {
	out := h.Clone()
	dropHopByHop(out)
	for _, f := range [...]string{headerCertified, headerDigest, headerReplayed, headerPreferenceApplied, "Set-Cookie"} {
		out.Del(f)
	}
	return out
}

// hopByHop fields belong to a connection (RFC 9110, section 7.6.1).
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Proxy-Authenticate",
}

// verified returns the Certified field of an answer that counts as certified for the message id: the id is right, and so is the
// digest of an outcome (section 2).
func verified(h http.Header, id ID, r *record.Response) *verdict {
	v, present, err := parseVerdict(h.Values(headerCertified))
	if err != nil || !present || v.ID != id {
		return nil
	}
	if v.State == stateDone && !provesContent(h.Values(headerDigest), r.Body) {
		return nil
	}
	return &v
}

// judge decides what an attempt leads to.
func (c *courier) judge(ctx context.Context, m *message, o *Destination, p *peer, a *answer) next {
	switch {
	case errors.Is(a.err, errTooLarge):
		return next{end: &end{state: store.Unknown, err: unknownOutcome(a.err)}}
	case a.response == nil:
		return next{after: backoff(m.tries - 1)}
	case a.verdict != nil:
		p.heard(a.verdict, a.at)
		return c.certified(m, a)
	case strings.Join(a.header.Values(headerCertified), "") != "" && m.certify() && !o.Plain:
		return next{after: backoff(m.tries - 1)} // Of another message, cut short or changed: no answer.
	case p.certified() && m.certify() && !o.Plain:
		return c.unmarked(ctx, m, o, p, a)
	}
	return c.plain(m, a)
}

// certified follows the state of a certified answer (section 2).
func (c *courier) certified(m *message, a *answer) next {
	v := a.verdict
	if isMessageURL(v.Message) { // Nobody who answers there may have us DELETE, with our credentials, what he likes.
		m.resource = v.Message
	}
	wait, told := parseRetryAfter(a.header.Values(headerRetryAfter), a.at)
	switch v.State {
	case stateDone:
		e := outcomeOf(a.response)
		e.ack = c.owe(m)
		return next{end: e}
	case stateRunning:
		m.tries = 0
		if !told {
			wait = time.Second
		}
		return next{after: wait + backoff(0)}
	case stateRefused:
		return next{end: m.refusal(a)}
	case stateGone:
		return next{end: &end{state: store.Unknown, err: unknownOutcome(errors.New("the peer says that its outcome was acknowledged"))}}
	}
	return next{after: max(wait, backoff(m.tries-1))}
}

// isMessageURL tells whether path is one of a message, and stays so wherever it is resolved: its last segment, which is opaque, does not
// lead elsewhere.
func isMessageURL(path string) bool {
	segment, ok := strings.CutPrefix(path, prefixOfMessage)
	return ok && strings.Trim(segment, ".") != "" && !strings.ContainsAny(segment, "/\\?#%")
}

// outcomeOf is the end with a final response.
func outcomeOf(r *record.Response) *end {
	if r.Status >= 400 {
		return &end{state: store.Rejected, response: r}
	}
	return &end{state: store.Answered, response: r}
}

// refusal is the end of a message that the peer refuses: it did nothing now, but an earlier attempt may have.
func (m *message) refusal(a *answer) *end {
	code, _ := parseProblem(a.header.Get(headerContentType), a.response.Body)
	err := fmt.Errorf("the peer refuses it with status %d (%s)", a.response.Status, code)
	switch {
	case code == codeKeyReused:
		err = fmt.Errorf("%w: %w", ErrReused, err)
	case m.before:
		return &end{state: store.Unknown, err: unknownOutcome(err), response: a.response}
	}
	return &end{state: store.Rejected, err: notDone(err), response: a.response}
}

// unmarked judges an answer without Certified from a peer known to be certified: it is no outcome (C4).
func (c *courier) unmarked(ctx context.Context, m *message, o *Destination, p *peer, a *answer) next {
	m.unmarked++
	success := a.response.Status/100 == 2
	wait, _ := parseRetryAfter(a.header.Values(headerRetryAfter), a.at)
	again := next{after: max(wait, backoff(m.tries-1))}
	if m.unmarked < 3 && (!success || m.unmarked > 1) {
		return again
	}
	finding, e := c.probe(ctx, m, o, p)
	switch {
	case e != nil:
		return next{end: e}
	case finding == silence, finding == stillMarked && (m.unmarked < 3 || transient(a.response.Status)): // a gateway's limit, or its server away
		return again
	case finding == notMarked:
		p.pause("it was certified and its answers no longer say so: something between may strip or answer for it")
	}
	return next{end: &end{state: store.Unknown, err: unknownOutcome(fmt.Errorf(
		"status %d, without the mark of a certified answer, from a peer known to be certified; if %s is not certified, set Destination.Plain for it", a.response.Status, m.url.Path))}}
}

// finding is what a probe has found.
type finding int

const (
	silence finding = iota // nobody said: no answer, or that of a gateway whose server is away
	stillMarked
	notMarked
)

// probe asks the message's URL, or discovery, whether the peer is certified still, and may come upon the outcome.
func (c *courier) probe(ctx context.Context, m *message, o *Destination, p *peer) (finding, *end) {
	q := &message{method: http.MethodGet, info: m.info}
	var err error
	if q.url, err = m.url.Parse(firstOf(m.resource, wellKnown)); err != nil {
		return silence, nil
	}
	a := c.exchange(ctx, q, o, p, nil)
	if a.response == nil {
		return silence, nil
	}
	if m.resource == "" {
		if _, err := parseDiscovery(a.response.Body); a.response.Status == http.StatusOK && err == nil {
			return stillMarked, nil
		}
	} else if v := verified(a.header, m.id, a.response); v != nil {
		if v.State != stateDone {
			return stillMarked, nil
		}
		e := outcomeOf(a.response)
		e.ack = c.owe(m)
		return stillMarked, e
	}
	if transient(a.response.Status) {
		return silence, nil
	}
	return notMarked, nil
}

// transient tells whether a status says that another attempt may fare better (C5).
func transient(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// plain judges the answer of a peer that is not certified, by its status (C5).
func (c *courier) plain(m *message, a *answer) next {
	wait, told := parseRetryAfter(a.header.Values(headerRetryAfter), a.at)
	again := next{after: max(wait, backoff(m.tries-1))}
	switch s := a.response.Status; {
	case s >= 500 && a.header.Get(headerReplayed) == valueReplayed:
	case transient(s):
		return again
	case s == http.StatusConflict:
		code, _ := parseProblem(a.header.Get(headerContentType), a.response.Body)
		if told || code == codeInProgress {
			return again
		}
	}
	return next{end: outcomeOf(a.response)}
}
