package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

// Names on the wire.
const (
	headerKey           = "Idempotency-Key"
	headerCertified     = "Certified"
	headerAck           = "Certified-Ack"
	headerDigest        = "Content-Digest"
	headerReplayed      = "Idempotent-Replayed"
	headerAuthorization = "Authorization"
	headerContentType   = "Content-Type"
	headerRetryAfter    = "Retry-After"
	headerPrefer        = "Prefer"
	pathOfMessages      = "/.well-known/chttp/messages/"
	pathOfAcks          = "/.well-known/chttp/acks"
)

// letter is a message as it was seen on the wire, by its id.
type letter struct {
	id    string
	name  string // of the message
	form  string // all that must be the same in every attempt
	by    *Process
	sent  int       // attempts that left
	under *Life     // that has an attempt under way
	at    int64     // the largest of any attempt, seconds
	until int64     // seconds
	acked bool      // an acknowledgement has left
	ended *Life     // has got an answer that is final
	again time.Time // no attempt before, says Retry-After, to the life in waits
	waits *Life
}

var (
	ackItem = regexp.MustCompile(`"([^"]+)"(?:;at=@(\d+))?`)
	atStamp = regexp.MustCompile(`, at=@\d+`)
)

// certifiedMember returns a member of a Certified field as nodes write it.
func certifiedMember(field, name string) string {
	for part := range strings.SplitSeq(field, ", ") {
		if v, ok := strings.CutPrefix(part, name+"="); ok {
			return strings.Trim(strings.TrimPrefix(v, "@"), `"`)
		}
	}
	return ""
}

func seconds(field, name string) int64 {
	n, err := strconv.ParseInt(certifiedMember(field, name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// keyOf returns the id that a request names.
func keyOf(h http.Header) string { return strings.Trim(h.Get(headerKey), `"`) }

// leaves checks a request that leaves; called with mu held.
func (w *World) leaves(v *voyage) {
	h := v.req.Header
	w.event("%s sends %s, attempt %d%s", v.from, v.name, v.n, v.kind())
	w.acksLeave(v)
	id := keyOf(h)
	if v.req.URL.Host == plainHost && id != "" {
		w.violate("C7", "%s sends an Idempotency-Key to a peer marked Plain with %s", v.from, v.name)
	}
	if v.req.Method == http.MethodGet || v.kind() != "" {
		return
	}
	if v.life != nil {
		v.i5Leaves(id)
	}
	if id == "" {
		return
	}
	if v.life != nil {
		if first, ok := w.ids[v.name]; ok && first != id {
			w.violate("C1", "%s has two ids, %s and %s", v.name, first, id)
		}
		w.ids[v.name] = id
	}
	field := h.Get(headerCertified)
	form := fmt.Sprintf("%s %s %s %s %s\n%s", v.req.Method, v.req.URL, h.Get(headerContentType), h.Get(headerDigest), atStamp.ReplaceAllString(field, ""), v.body)
	l := w.letters[id]
	if l == nil {
		l = &letter{id: id, name: v.name, form: form}
		w.letters[id] = l
	}
	if v.life == nil {
		l.at = max(l.at, seconds(field, "at"))
		return
	}
	l.by = v.life.p
	l.leaves(v, form, field)
}

// leaves checks an attempt of a message that a node sends; called with mu held.
func (l *letter) leaves(v *voyage, form, field string) {
	w, p := v.w, v.life.p
	if l.form != form {
		w.violate("C1", "%s differs between attempts:\n%s\n%s", v.name, l.form, form)
	}
	at, until := seconds(field, "at"), seconds(field, "until")
	if l.acked && v.life.current() {
		w.violate("A1", "%s sends %s again, which it has acknowledged", p.name, v.name)
	}
	if at > until {
		w.violate("S8", "%s stamps %s at %d, after until %d", p.name, v.name, at, until)
	}
	if !w.has(Jump) && !w.has(Far) && p.clock.now().Unix() > until+1 {
		w.violate("C2", "%s sends %s after until", p.name, v.name)
	}
	if l.ended == v.life && p.memory.known[store.Key{ID: l.id}] != nil {
		w.violate("C2", "%s sends %s again, which has got a final answer", p.name, v.name)
	}
	if l.waits == v.life && time.Now().Before(l.again) && p.memory.known[store.Key{ID: l.id}] != nil && !w.has(Jump) && !w.has(Far) {
		w.violate("C2", "%s sends %s again, %v before it was told to", p.name, v.name, time.Until(l.again))
	}
	if l.under == v.life {
		w.violate("C2", "%s has two attempts of %s under way", p.name, v.name)
	}
	l.under = v.life
	l.at, l.until = max(l.at, at), until
	l.sent++
}

// arrived ends an attempt with an answer, or with none.
func (v *voyage) arrived(r *reply) {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	l := v.w.letters[keyOf(v.req.Header)]
	if l == nil || l.under != v.life {
		return
	}
	l.under = nil
	if r == nil || v.fate.garbled > 0 || v.req.Context().Err() != nil {
		return
	}
	switch certifiedMember(r.header.Get(headerCertified), "state") {
	case "done", "refused", "gone":
		l.ended = v.life
	}
	if after, err := strconv.Atoi(r.header.Get(headerRetryAfter)); err == nil {
		l.waits, l.again = v.life, time.Now().Add(time.Duration(after)*time.Second)
	}
}

// keyAt is the key under which a node keeps the message of a request (S2).
func keyAt(req *http.Request, id string) store.Key {
	route, who := strings.TrimPrefix(req.URL.Path, "/"), ""
	if route != routeAnonymous {
		who = strings.TrimPrefix(req.Header.Get(headerAuthorization), secret)
	}
	return store.Key{Scope: route + "/" + who, ID: id}
}

// acksLeave looks at the acknowledgements in a request; called with mu held.
func (w *World) acksLeave(v *voyage) {
	for _, m := range ackItem.FindAllStringSubmatch(strings.Join(v.req.Header.Values(headerAck), ","), -1) {
		w.hit("acknowledged by header")
		w.acknowledges(v, m[1], toInt(m[2]))
	}
	switch {
	case v.req.Method == http.MethodDelete:
		w.hit("acknowledged by DELETE")
		w.acknowledges(v, w.idAt(v.req.URL.Host, v.req.URL.Path), seconds(v.req.Header.Get(headerCertified), "at"))
	case strings.HasSuffix(v.req.URL.Path, pathOfAcks):
		w.hit("acknowledged in bulk")
		for _, a := range bulkAcks(v.body) {
			w.acknowledges(v, w.idAt(v.req.URL.Host, a.Message), a.At)
		}
	}
}

// bulkAck is an acknowledgement among many.
type bulkAck struct {
	Message string
	At      int64
}

// bulkAcks reads acknowledgements in bulk. What cannot be read acknowledges nothing.
func bulkAcks(body []byte) []bulkAck {
	var bulk struct{ Acks []bulkAck }
	if json.Unmarshal(body, &bulk) != nil {
		return nil
	}
	return bulk.Acks
}

// idAt returns the id whose message URL a path is; called with mu held.
func (w *World) idAt(host, path string) string {
	if p := w.process(host); p != nil {
		return p.memory.located[path].ID
	}
	return ""
}

// acknowledges checks an acknowledgement that leaves: its sender has the outcome (A1, C3), and at is no earlier than any that was sent (A5).
// Called with mu held.
func (w *World) acknowledges(v *voyage, id string, at int64) {
	l := w.letters[id]
	if l == nil || strings.HasSuffix(v.req.Header.Get(headerAuthorization), "thief") {
		return // It is not its sender's, and must not count (S2).
	}
	l.acked = true
	if v.life == nil {
		return
	}
	if at != 0 && at < l.at {
		w.violate("A5", "%s acknowledges %s at %d, and has sent it at %d", v.from, l.name, at, l.at)
	}
	if !v.life.p.holds(id, l.name) {
		w.violate("A1", "%s acknowledges %s, whose outcome it does not hold", v.from, l.name)
	}
}

// holds tells whether the outcome of a message that p sent is durable there; called with mu held.
func (p *Process) holds(id, name string) bool {
	if e := p.memory.known[store.Key{ID: id}]; e != nil && e.ended {
		return true
	}
	exec, _ := parent(name)
	return p.memory.anyHas(exec, opOfCall(name), done)
}

// anyHas tells whether so much of an operation was durable in any execution of the name.
func (m *memory) anyHas(exec, op string, s stage) bool {
	e := m.named[exec]
	return e != nil && e.has(op, s)
}

// answers checks an answer of q; called with mu held.
func (w *World) answers(q *Process, v *voyage, r *reply) {
	field := r.header.Get(headerCertified)
	state := certifiedMember(field, "state")
	id := keyOf(v.req.Header)
	if r.status == http.StatusNoContent {
		w.i5Acknowledged(q, v)
	}
	if state == "" || id == "" {
		return
	}
	w.hit("verdict: " + state)
	w.hit(fmt.Sprintf("answer: %s %d", state, r.status))
	w.event("%s answers %s: %s %d", q.name, v.name, state, r.status)
	if path := certifiedMember(field, "message"); path != "" {
		q.memory.located[path] = keyAt(v.req, id)
	}
	l := w.letters[id]
	if l == nil {
		w.violate("I4", "%s answers %s with id %s, which nobody has sent", q.name, v.name, id)
		return
	}
	e := q.memory.known[keyAt(v.req, id)]
	switch state {
	case "done":
		w.i3Answers(q, e, v, r)
	case "running":
		if r.status == http.StatusAccepted && e == nil {
			w.violate("I5", "%s says that %s is running, which is not durable", q.name, v.name)
		}
	case "refused":
		w.i4Refuses(q, e, v, r)
	case "gone":
		if e == nil || !e.acked {
			w.violate("A2", "%s says of %s that it is acknowledged, which it is not", q.name, v.name)
		}
		if !l.acked {
			w.violate("A2", "%s says of %s that it is acknowledged, and nobody did", q.name, v.name)
		}
	}
	if bytes.Contains(r.body, []byte(secret)) {
		w.violate("S12", "%s answers %s with a credential", q.name, v.name)
	}
}

func toInt(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // "" is 0
	return n
}
