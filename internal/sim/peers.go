package sim

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// outsider is a peer without a node.
type outsider interface {
	serve(req *http.Request, body []byte) *reply
}

// remembering is a peer that keeps keys, as many do: the same key, the same answer, and 409 while it works.
type remembering struct {
	w *World

	mu    sync.Mutex // guards what follows
	known map[string]*kept
}

// kept is what such a peer keeps of a key.
type kept struct {
	body  string
	reply *reply // nil while it works
}

func newRemembering(w *World) *remembering { return &remembering{w: w, known: map[string]*kept{}} }

func (o *remembering) serve(req *http.Request, body []byte) *reply {
	w, name := o.w, label(req)
	n := w.count("serves " + name)
	if bad := w.busy(name, n); bad != nil {
		return bad
	}
	key := keyOf(req.Header)
	if key == "" {
		w.wrong("C5", "%s comes without a key", name)
	}
	o.mu.Lock()
	k := o.known[key]
	switch {
	case k == nil:
	case k.body != string(body)+req.URL.String():
		o.mu.Unlock()
		w.wrong("C1", "%s comes with the key of another request", name)
		return &reply{status: http.StatusUnprocessableEntity, header: http.Header{}, body: []byte("reused")}
	case k.reply == nil:
		o.mu.Unlock()
		w.reached("a plain peer is in progress")
		return &reply{status: http.StatusConflict, header: http.Header{headerRetryAfter: {"1"}}, body: []byte("in progress")}
	default:
		o.mu.Unlock()
		w.reached("a plain peer replays")
		h := k.reply.header.Clone()
		h.Set(headerReplayed, "true")
		return &reply{status: k.reply.status, header: h, body: k.reply.body}
	}
	k = &kept{body: string(body) + req.URL.String()}
	o.known[key] = k
	o.mu.Unlock()
	w.happens(name, true)
	if w.luck.chance(0.3, "a peer is slow", name, 0) {
		time.Sleep(w.luck.span(10*time.Millisecond, 5*time.Second, "a peer is slow", name, 1))
	}
	r := w.peerAnswers(name, w.number())
	o.mu.Lock()
	k.reply = r
	o.mu.Unlock()
	w.mu.Lock()
	w.outsideAnswers[name] = fmt.Sprint(r.status, " ", string(r.body))
	w.mu.Unlock()
	return r
}

// forgetting is a peer that does not know of keys.
type forgetting struct{ w *World }

func (o *forgetting) serve(req *http.Request, _ []byte) *reply {
	w, name := o.w, label(req)
	if bad := w.busy(name, w.count("serves "+name)); bad != nil {
		return bad
	}
	w.happens(name, false)
	w.mu.Lock()
	w.outsideAnswers[name] = "" // Each may be another.
	w.mu.Unlock()
	return w.peerAnswers(name, w.number())
}

// busy is an answer of a peer that did nothing.
func (w *World) busy(name string, n int) *reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.strikes(NotNow, 0.2, "peer "+name, n) {
		return nil
	}
	status := []int{429, 500, 503, 504}[w.luck.pick(4, "busy", name, n)]
	return &reply{status: status, header: http.Header{headerRetryAfter: {"2"}}, body: []byte("busy")}
}

// happens counts what a message does at a peer without a node: once, where the peer keeps keys (C1: an id never has a second message). It
// watches the peers.
func (w *World) happens(name string, once bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.effects["outside "+name]++
	w.event("a peer does %s", name)
	if n := w.effects["outside "+name]; once && n > 1 {
		w.violate("I2", "%s is done %d times at a peer that keeps keys", name, n)
	}
}

// peerAnswers is the answer of a peer that has done what it was asked.
func (w *World) peerAnswers(name string, n int) *reply {
	r := &reply{status: http.StatusOK, header: http.Header{}, body: fmt.Appendf(nil, "did %s as number %d", name, n)}
	switch w.luck.pick(10, "a peer answers", name, 0) {
	case 0:
		r.status = http.StatusNotFound
	case 1:
		r.status = http.StatusCreated
	}
	return r
}
