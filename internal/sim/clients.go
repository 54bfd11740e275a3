package sim

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// answerTo is what a client without a node got for one attempt.
type answerTo struct {
	status int
	state  string
	body   string
	header http.Header
}

// request makes one attempt of a client without a node. Its error says nothing of what was done.
func (j *job) request(method, url, body string, header map[string]string) (*answerTo, error) {
	ctx, cancel := context.WithTimeout(j.w.ctx, 40*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(headerAuthorization, secret+"client")
	req.Header.Set(headerContentType, "text/plain")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := j.w.exchange(j.name, nil, req)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if d := res.Header.Get(headerDigest); d != "" && !strings.Contains(d, digest(b)) {
		return nil, errGarbled
	}
	return &answerTo{res.StatusCode, certifiedMember(res.Header.Get(headerCertified), "state"), string(b), res.Header}, nil
}

var errGarbled = errors.New("sim: the answer is not what its digest describes")

// digest is what a Content-Digest says of b.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// clientPatience is how long clients without a node go on.
const clientPatience = 90 * time.Minute

// plainClient is a client that knows nothing but Idempotency-Key: it sends a request until it is answered, then once more, and then
// another one under the same key.
func (j *job) plainClient() {
	w := j.w
	url := fmt.Sprintf("http://%s/%s?m=%s&d=%d", j.p.name, routes[w.luck.pick(len(routes), "route", j.name, 0)], j.name, w.cfg.Depth-1)
	key := map[string]string{headerKey: "plain-key-0123456789-" + j.name}
	var first *answerTo
	until := time.Now().Add(clientPatience)
	for try := 0; time.Now().Before(until) && w.ctx.Err() == nil; try++ {
		a, err := j.request(http.MethodPost, url, j.name, key)
		switch {
		case err != nil || a.state == "":
		case a.state == "done" && first == nil:
			first = a
			w.reached("a plain client is answered")
		case a.state == "done" && (a.body != first.body || a.status != first.status):
			w.wrong("I3", "%s is answered %d %q, and was %d %q", j.name, a.status, a.body, first.status, first.body)
			return
		case a.state == "done":
			w.reached("a plain client is answered again")
			other, err := j.request(http.MethodPost, url, "something else", key)
			if err == nil && other.state == "done" {
				w.wrong("I4", "%s gets an answer to another request under its key: %d", j.name, other.status)
			}
			return
		case a.state == "refused":
			w.wrong("I4", "%s is refused: %d %s", j.name, a.status, a.body)
			return
		case first != nil && a.state == "none":
			w.reached("none after done")
		}
		j.pause(w.luck.span(100*time.Millisecond, time.Minute, "plain again", j.name, try))
	}
}

// Exchange is one request of a client by hand, and its answer. Call and Return are in the order of the world; Return is 0 where no
// answer came.
type Exchange struct {
	Client       int
	Kind         string // "post", "ack" or "show"
	Body         string
	Call, Return int64
	State        string
	Answer       string // of "done"
}

// hand is a message that several clients send by hand at a time, certified, with one id.
type hand struct {
	j       *job
	url, id string
	begin   time.Time
	path    string // the message's URL, once known
}

// handClients are clients that send one message several times at once, perhaps with another body under its id, look at its outcome,
// acknowledge it, and send it again.
func (j *job) handClients() {
	w := j.w
	h := &hand{
		j: j, id: "by-hand-0123456789-" + j.name, begin: time.Now(),
		url: fmt.Sprintf("http://%s/%s?m=%s&d=%d", j.p.name, routes[w.luck.pick(len(routes), "route", j.name, 0)], j.name, w.cfg.Depth-1),
	}
	done := make(chan struct{})
	clients := 2 + w.luck.pick(3, "clients", j.name, 0)
	for c := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			h.client(c)
		}()
	}
	if w.luck.chance(0.5, "thief", j.name, 0) {
		clients++
		go func() {
			defer func() { done <- struct{}{} }()
			h.thief()
		}()
	}
	for range clients {
		<-done
	}
}

// thief is a client that acknowledges another one's message with requests of its own, which must not count (S2).
func (h *hand) thief() {
	w, j := h.j.w, h.j
	for n := range 2 {
		j.pause(w.luck.span(time.Second, time.Minute, "thief", j.name, n))
		name := fmt.Sprintf("%s.thief%d", j.name, n)
		url := strings.Replace(h.url, "m="+j.name, "m="+name, 1)
		a, err := j.request(http.MethodPost, url, name, map[string]string{
			headerKey: `"by-hand-0123456789-` + name + `"`, headerAuthorization: secret + "thief",
			headerCertified: fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", time.Now().Unix(), time.Now().Unix(), time.Now().Add(time.Minute).Unix()),
			headerAck:       fmt.Sprintf(`"%s";at=@%d`, h.id, time.Now().Unix()),
		})
		if err == nil && a.state == "done" {
			w.reached("a thief is answered")
		}
	}
	h.sameID()
}

// sameID sends another message under the id of another principal's, which is an id of its own (S2).
func (h *hand) sameID() {
	w, j := h.j.w, h.j
	if strings.Contains(h.url, routeAnonymous) {
		return
	}
	name := j.name + ".same"
	a, err := j.request(http.MethodPost, strings.Replace(h.url, "m="+j.name, "m="+name, 1), name, map[string]string{
		headerKey: `"` + h.id + `"`, headerAuthorization: secret + "thief",
	})
	switch {
	case err != nil:
	case a.state == "refused" || a.state == "gone":
		w.wrong("S2", "%s is refused %d for the id of another principal", name, a.status)
	case a.state == "done":
		w.reached("the same id of two principals")
	}
}

// handUntil is how long a message by hand may be sent.
const handUntil = 20 * time.Minute

// client is one of the clients: it sends until there is an outcome, and may acknowledge it.
func (h *hand) client(c int) {
	w, j := h.j.w, h.j
	name := fmt.Sprintf("%s client %d", j.name, c)
	j.pause(w.luck.span(time.Millisecond, 10*time.Second, "client", name, 0))
	body := j.name
	if c > 0 && w.luck.chance(0.3, "other body", name, 0) {
		body += " by another"
	}
	for try := 0; try < 12 && time.Since(h.begin) < handUntil-time.Minute && w.ctx.Err() == nil; try++ {
		var x Exchange
		switch n := w.luck.pick(10, "what", name, try); {
		case n == 0 && h.located() != "":
			x = h.exchange(c, "show", body)
		case n <= 2 && h.located() != "" && c == 0:
			x = h.exchange(c, "ack", body)
		default:
			x = h.exchange(c, "post", body)
		}
		if x.State == "gone" && x.Kind == "post" || x.State == "refused" {
			return
		}
		j.pause(w.luck.span(time.Millisecond, 2*time.Minute, "hand again", name, try))
	}
}

func (h *hand) located() string {
	h.j.w.mu.Lock()
	defer h.j.w.mu.Unlock()
	return h.path
}

// exchange makes one request and keeps it for the history of the id.
func (h *hand) exchange(c int, kind, body string) Exchange {
	w := h.j.w
	x := Exchange{Client: c, Kind: kind, Body: body}
	stamp := fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", h.begin.Unix(), time.Now().Unix(), h.begin.Add(handUntil).Unix())
	w.mu.Lock()
	w.tick++
	x.Call = w.tick
	host := "http://" + h.j.p.name
	path := h.path
	w.mu.Unlock()
	var a *answerTo
	var err error
	switch kind {
	case "post":
		header := map[string]string{headerKey: `"` + h.id + `"`, headerCertified: stamp}
		if x.Call%3 == 0 {
			header[headerPrefer] = "respond-async"
		}
		a, err = h.j.request(http.MethodPost, h.url, body, header)
	case "show":
		a, err = h.j.request(http.MethodGet, host+path, "", nil)
	case "ack": // By until: the other clients go on.
		w.mu.Lock()
		if l := w.letters[h.id]; l != nil {
			l.acked = true
		}
		w.mu.Unlock()
		a, err = h.j.request(http.MethodDelete, host+path, "", map[string]string{headerCertified: fmt.Sprintf("v=1, at=@%d", h.begin.Add(handUntil).Unix())})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.tick++
		x.Return, x.State = w.tick, a.state
		if a.state == "done" {
			x.Answer = fmt.Sprint(a.status, " ", a.body)
		}
		if m := certifiedMember(a.header.Get(headerCertified), "message"); m != "" {
			h.path = m
		}
		w.hit("by hand: " + kind + " " + a.state)
	}
	w.histories[h.id] = append(w.histories[h.id], x)
	return x
}

// edgeClients send messages that were made as long ago as what the server is about to refuse, at the moment at which it begins to (S8).
func (j *job) edgeClients() {
	w := j.w
	for n := range 12 {
		l := j.life()
		if l == nil {
			return
		}
		ticks := time.Since(l.born)/floorTick + 1
		j.pause(time.Until(l.born.Add(ticks * floorTick)))
		at := time.Now().Add(-linger - w.luck.span(time.Second, floorTick, "edge", j.name, n))
		name := fmt.Sprintf("%s.%d", j.name, n)
		a, err := j.request(http.MethodPost, fmt.Sprintf("http://%s/%s?m=%s&d=0", j.p.name, routeB, name), name, map[string]string{
			headerKey:       `"by-hand-0123456789-` + name + `"`,
			headerCertified: fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", at.Unix(), at.Unix(), time.Now().Add(time.Minute).Unix()),
		})
		if err == nil {
			w.reached("at the floor: " + a.state)
		}
	}
}

// floorTick is how often nodes raise their floor.
const floorTick = linger / 20
