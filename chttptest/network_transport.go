package chttptest

import (
	"context"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// transport is the transport of one host's programs.
type transport struct {
	network *Network
	host    string
	sound   *http.Transport // for requests that pass
	faulty  *http.Transport // for the others: each has a connection of its own
}

// maxIdle is how many connections a transport keeps to one host.
const maxIdle = 256

func newTransport(n *Network, host string) *transport {
	t := &transport{network: n, host: host}
	t.sound = &http.Transport{
		DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
			c, err := n.dial(ctx, route{from: host, to: hostName(to)})
			if err != nil {
				return nil, err // not a nil *conn
			}
			return c, nil
		},
		MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: 90 * time.Second, ExpectContinueTimeout: time.Second,
	}
	t.faulty = &http.Transport{DialContext: t.dialFaulty, MaxIdleConnsPerHost: -1, ExpectContinueTimeout: time.Second}
	return t
}

// RoundTrip lets r meet what it is to meet.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil {
		return t.sound.RoundTrip(r) // It knows what to say.
	}
	f := t.network.meets(t.host, r)
	out, via := r, t.sound
	if f != (Fault{}) {
		out, via = r.WithContext(context.WithValue(r.Context(), faultKey{}, f)), t.faulty
	}
	if out.URL.Scheme == "https" {
		if out == r {
			out = r.WithContext(r.Context())
		}
		u := *r.URL
		u.Scheme = "http"
		out.URL = &u
	}
	res, err := via.RoundTrip(out)
	if res != nil {
		res.Request = r
	}
	return res, err
}

// CloseIdleConnections closes the connections that are kept.
func (t *transport) CloseIdleConnections() { t.sound.CloseIdleConnections() }

// faultKey is the context key of the Fault that a request meets.
type faultKey struct{}

// dialFaulty makes the connection of one request that meets a fault.
func (t *transport) dialFaulty(ctx context.Context, _, to string) (net.Conn, error) {
	f, _ := ctx.Value(faultKey{}).(Fault)
	to = hostName(to)
	if f.Kind == Refuse {
		t.network.count(func(c *Counts) { c.Faults[Refuse]++ })
		return nil, refused(to)
	}
	client, far, err := t.network.connect(ctx, route{from: t.host, to: to})
	if err != nil {
		return nil, err
	}
	p := &passage{network: t.network, route: route{t.host, to, true}, fault: f, client: far}
	t.network.start(p.run)
	return client, nil
}

// meets decides what r meets.
func (n *Network) meets(from string, r *http.Request) Fault {
	id, like := identity(r)
	n.mu.Lock()
	n.counts.Requests++
	like, attempt := n.seen.attempt(id, like)
	plan := n.plan
	n.mu.Unlock()
	var f Fault
	if plan != nil {
		f = plan(from, r, like, attempt)
		f.check()
	}
	if n.logger != nil {
		level := slog.LevelDebug
		if f != (Fault{}) {
			level = slog.LevelInfo
		}
		n.logger.Log(r.Context(), level, "chttptest: request",
			"from", from, "method", r.Method, "url", r.URL.String(), "attempt", attempt, "meets", f.String())
	}
	return f
}

// history counts attempts.
type history struct {
	requests map[uint64]request
	alike    map[uint64]uint64 // how many differ in their Idempotency-Keys alone
}

// request is one that may be made several times.
type request struct {
	like     uint64
	attempts int
}

func newHistory() history {
	return history{requests: make(map[uint64]request), alike: make(map[uint64]uint64)}
}

// attempt counts an attempt of the request id. It returns what is the same for this request in each run.
func (h *history) attempt(id, like uint64) (uint64, int) {
	r, again := h.requests[id]
	if !again {
		r.like = mix(like, h.alike[like])
		h.alike[like]++
	}
	r.attempts++
	h.requests[id] = r
	return r.like, r.attempts
}

// identity returns what tells r from other requests in this run, and what r has in common with the same request in other runs.
func identity(r *http.Request) (id, like uint64) {
	h := fnv.New64a()
	for _, s := range []string{r.Method, hostName(r.URL.Host), r.URL.RequestURI()} {
		io.WriteString(h, s)
		h.Write([]byte{0})
	}
	what := h.Sum64()
	if r.GetBody != nil {
		if body, err := r.GetBody(); err == nil {
			_, _ = io.Copy(h, body)
			body.Close()
		}
	}
	like = h.Sum64()
	key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
	if key == "" {
		return like, like
	}
	h.Reset()
	io.WriteString(h, key)
	return mix(what, h.Sum64()), like
}

// mix makes one number of two.
func mix(a, b uint64) uint64 { return rand.NewPCG(a, b).Uint64() }

// plan draws what requests meet.
func (f Faults) plan(seed uint64) plan {
	if f == (Faults{}) {
		return nil
	}
	return func(_ string, _ *http.Request, like uint64, attempt int) Fault {
		return f.Draw(rand.New(rand.NewPCG(seed, mix(like, uint64(attempt)))))
	}
}
