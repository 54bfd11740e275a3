package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/certifiedhttp/chttp/store"
)

// wire is what was seen to go over the network. A test gives every logical message a URL of its own.
type wire struct {
	ids      map[string]string // by method and URL: the message's id
	messages map[string]string // by id: all that must be the same in every attempt
	names    map[string]string // by id: method and URL
	outcomes map[string]string // by id: the answer that is the outcome
	paths    map[string]string // by the message's URL at its server: the id
	requests map[string]int    // by method and URL: how often
	gone     map[string]bool   // by id: its acknowledgement has left
}

func newWire() wire {
	return wire{
		ids: map[string]string{}, messages: map[string]string{}, names: map[string]string{}, outcomes: map[string]string{},
		paths: map[string]string{}, requests: map[string]int{}, gone: map[string]bool{},
	}
}

var (
	atStamp  = regexp.MustCompile(`, at=@\d+`)
	ackID    = regexp.MustCompile(`"([^"]+)"`)
	state    = regexp.MustCompile(`state=(\w+)`)
	location = regexp.MustCompile(`message="([^"]+)"`)
)

// leaves checks a request of p; called with mu held. I5: whatever leaves, what led to it is durable.
func (w *World) leaves(p *Process, req *http.Request, body []byte) {
	name := req.Method + " " + req.URL.String()
	w.wire.requests[name]++
	w.events = append(w.events, "request "+name)
	for _, value := range req.Header.Values("Certified-Ack") {
		for _, m := range ackID.FindAllStringSubmatch(value, -1) {
			w.acknowledges(p, m[1])
		}
	}
	if req.Method == http.MethodDelete {
		w.acknowledges(p, w.wire.paths[req.URL.Path])
	}
	if strings.HasSuffix(req.URL.Path, "/acks") {
		var bulk struct{ Acks []struct{ Message string } }
		if err := json.Unmarshal(body, &bulk); err != nil {
			w.mistake("%s acknowledges with %q: %v", p.name, body, err)
		}
		for _, a := range bulk.Acks {
			w.acknowledges(p, w.wire.paths[a.Message])
		}
	}
	id := strings.Trim(req.Header.Get("Idempotency-Key"), `"`)
	if id == "" {
		return
	}
	if first, ok := w.wire.ids[name]; ok && first != id {
		w.mistake("C1: %s has two ids: %s and %s", name, first, id)
	}
	w.wire.ids[name], w.wire.names[id] = id, name
	message := fmt.Sprintf("%s %s %s %s %s", name, req.Header.Get("Content-Type"), req.Header.Get("Content-Digest"),
		atStamp.ReplaceAllString(req.Header.Get("Certified"), ""), body)
	if first, ok := w.wire.messages[id]; ok && first != message {
		w.mistake("C1: %s differs between attempts:\n%s\n%s", id, first, message)
	}
	w.wire.messages[id] = message
	if w.wire.gone[id] && !p.raw {
		w.mistake("A1: %s sends %s again, which it has acknowledged", p.name, name)
	}
	if !p.history.called[name] && !p.history.stored[store.Key{ID: id}] && !p.raw {
		w.mistake("I5: %s sends %s and holds nothing of it", p.name, name)
	}
}

// acknowledges checks that p has what it acknowledges (A1, C3); called with mu held.
func (w *World) acknowledges(p *Process, id string) {
	w.wire.gone[id] = true
	_, ended := p.history.outcomes[store.Key{ID: id}]
	if !ended && !p.history.answered[w.wire.names[id]] && !p.raw {
		w.mistake("A1: %s acknowledges %s (%s), whose outcome it does not hold", p.name, id, w.wire.names[id])
	}
}

// answers checks an answer of p; called with mu held.
func (w *World) answers(p *Process, req *http.Request, res *http.Response) {
	id := strings.Trim(req.Header.Get("Idempotency-Key"), `"`)
	said := res.Header.Get("Certified")
	m := state.FindStringSubmatch(said)
	if id == "" || m == nil {
		return
	}
	if l := location.FindStringSubmatch(said); l != nil {
		w.wire.paths[l[1]] = id
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		panic("crash: read a recorder: " + err.Error())
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	held := p.record(id)
	switch m[1] {
	case "done":
		if held == nil || !held.State.Finished() {
			w.mistake("I5: %s answers %s with an outcome that is not durable", p.name, id)
		}
		h := res.Header.Clone()
		for _, k := range []string{"Certified", "Idempotent-Replayed", "Date"} {
			h.Del(k)
		}
		outcome := fmt.Sprint(res.StatusCode, h, string(body))
		if first, ok := w.wire.outcomes[id]; ok && first != outcome {
			w.mistake("I3: the answer to %s was\n%s and is\n%s", id, first, outcome)
		}
		w.wire.outcomes[id] = outcome
	case "running":
		if held == nil && res.StatusCode == http.StatusAccepted {
			w.mistake("S5: %s says that %s is running, which is not durable", p.name, id)
		}
	case "refused":
		w.mistake("I4: %s refuses %s: %s", p.name, w.wire.names[id], body)
	case "gone":
		if !w.wire.gone[id] {
			w.mistake("A2: %s says of %s that it is acknowledged, which it is not", p.name, id)
		}
	case "none":
		if _, ended := w.wire.outcomes[id]; ended && res.StatusCode != http.StatusServiceUnavailable {
			w.mistake("I3: %s had an outcome and its answer is %d %s", id, res.StatusCode, body)
		}
	}
}

// record returns the record of an id in whatever scope of a handler.
func (p *Process) record(id string) *store.Record {
	for _, r := range p.records() {
		if r.ID == id && r.Scope != "" {
			return r
		}
	}
	return nil
}

// Requests returns how often a request was sent.
func (w *World) Requests(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wire.requests[name]
}

// ID returns the one id that the message with this method and URL has, or "".
func (w *World) ID(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wire.ids[name]
}
