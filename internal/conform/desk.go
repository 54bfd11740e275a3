package conform

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// handler answers at one of the addresses.
func (l *Listener) handler(p *place) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
		if err != nil {
			return // The client went away.
		}
		path := r.URL.Path
		switch {
		case strings.HasPrefix(path, wellKnown) && p.desk == deskPlain:
			http.NotFound(w, r)
		case path == wellKnown && r.Method == http.MethodGet:
			l.discovery(w, p)
		case path == pathAcks && r.Method == http.MethodPost:
			l.bulk(w, p, body)
		case strings.HasPrefix(path, pathMessages) && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			l.look(w, r, p)
		case strings.HasPrefix(path, pathMessages) && r.Method == http.MethodDelete:
			l.delete(w, r, p)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			http.NotFound(w, r)
		default:
			l.attempt(w, r, p, newAttempt(r, body))
		}
	})
}

// attempt answers an attempt as its scenario has it.
func (l *Listener) attempt(w http.ResponseWriter, r *http.Request, p *place, a *attempt) {
	l.mu.Lock()
	if a.id() == "" || p.desk == deskMain && a.target == elsewhere {
		l.stray(a)
		l.mu.Unlock()
		http.Error(w, "no message belongs here", http.StatusBadRequest)
		return
	}
	l.rode(p, a)
	m := l.find(p, a)
	m.judge(a)
	m.came(false)
	m.attempts = append(m.attempts, a)
	m.current = a.id()
	m.open++
	step := m.scenario.replies[min(m.step, len(m.scenario.replies)-1)]
	l.mu.Unlock()
	if step.manner == held {
		select {
		case <-time.After(holdFor):
		case <-r.Context().Done():
			step.manner, step.follow, step.claim = lost, again, claim{"C2", "without an answer the same request is sent again"}
		}
	}
	l.mu.Lock()
	m.answers(&step)
	if step.manner == held {
		l.claims.saw(claimAlone)
	}
	b := m.response(&step)
	l.mu.Unlock()
	b.write(w)
}

// elsewhere is where a redirection to another authority leads.
const elsewhere = "/elsewhere"

// stray judges a request that should not have come: without a key, or to where no client is to follow.
func (l *Listener) stray(a *attempt) {
	for _, m := range l.messages {
		if m.id == a.id() && m.place.desk == deskPlain && m.last != nil && a.target == elsewhere {
			l.broke(m.last.claim, m, "it was followed")
			return
		}
	}
	m := &message{listener: l, scenario: &scenario{name: "a request to " + a.target}, firstAt: a.begin}
	m.say(claimKey, false, true, "it has no Idempotency-Key, or belongs nowhere")
}

// answers has r be the answer to the attempt that is open.
func (m *message) answers(r *reply) {
	m.open--
	m.step++
	m.last, m.answered, m.wait = r, time.Now(), r.wait
	if r.date { // a date has whole seconds
		m.wait = m.answered.Add(r.wait).Truncate(time.Second).Sub(m.answered)
	}
	marked := r.manner == whole || r.manner == held
	m.known = m.known || marked && m.first.stampsError == nil && m.first.stamps.until > 0
	m.done = m.done || marked && r.state == stateDone
	if r.manner == redirected {
		m.done = m.done || r.state == stateDone
		m.moved = "/moved" + m.first.target
	}
	m.logf("answered: %s", r.describe(m.answered))
}

func (r *reply) describe(now time.Time) string {
	s := fmt.Sprintf("%d", r.status)
	if r.state != "" {
		s += ", state=" + r.state
	}
	if r.wait > 0 {
		s += ", Retry-After: " + r.retryAfter(now)
	}
	return [...]string{
		whole: s, lost: "not at all", cut: s + ", cut short", damaged: s + ", with a wrong digest", misnamed: s + ", with another id",
		stripped: s + ", without Certified", held: s + ", late", redirected: s + ", to the same authority", sentAway: s + ", to another authority",
		plainly: s,
	}[r.manner]
}

// retryAfter is the value of the field of an answer that is given at the time now.
func (r *reply) retryAfter(now time.Time) string {
	if r.date {
		return now.Add(r.wait).UTC().Format(http.TimeFormat)
	}
	return fmt.Sprint(int(r.wait.Seconds()))
}

// response is an answer as it goes out.
type response struct {
	manner manner
	status int
	header http.Header
	body   []byte
}

// response makes the answer r. It is called with the listener locked.
func (m *message) response(r *reply) *response {
	h := make(http.Header)
	body := fmt.Appendf(nil, "this is what became of %s\n", m.scenario.name)
	h.Set(headerType, "text/plain")
	if r.code != "" {
		h.Set(headerType, typeProblem)
		body, _ = json.Marshal(map[string]any{ // of strings, a number and a boolean
			"type": problemTypes + r.code, "title": r.code, "status": r.status, "detail": "conformance", "code": r.code,
			"retryable": r.state != stateRefused && r.state != stateGone,
		})
	}
	if r.wait > 0 {
		h.Set(headerRetryAfter, r.retryAfter(m.answered))
	}
	if r.marked {
		h.Set(headerReplayed, "true")
	}
	m.lead(h, r)
	if r.state != "" {
		h.Set(headerCache, "no-store")
		id := m.current
		if r.manner == misnamed {
			id = "another-" + id
		}
		h.Set(headerCertified, m.mark(id, r))
	}
	if r.state == stateDone {
		h.Set(headerDigest, contentDigest(body))
		if r.manner == damaged {
			h.Set(headerDigest, contentDigest([]byte("something else")))
		}
	}
	length := len(body)
	if r.manner == cut {
		length += 10
	}
	h.Set("Content-Length", fmt.Sprint(length))
	return &response{r.manner, r.status, h, body}
}

func (b *response) write(w http.ResponseWriter) {
	if b.manner == lost {
		panic(http.ErrAbortHandler) // closes the connection
	}
	maps.Copy(w.Header(), b.header)
	w.WriteHeader(b.status)
	_, _ = w.Write(b.body)
	if b.manner == cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// lead says where a redirection leads.
func (m *message) lead(h http.Header, r *reply) {
	switch r.manner {
	case redirected:
		h.Set("Location", m.moved)
	case sentAway:
		h.Set("Location", m.listener.places[deskMain].url()+elsewhere)
	}
}

// mark is the Certified field of an answer about m.
func (m *message) mark(id string, r *reply) string {
	s := fmt.Sprintf(`v=1, id="%s", state=%s`, id, r.state)
	if r.state == stateDone && len(m.attempts) > 1 {
		s += ", replayed=?1"
	}
	if until := m.first.stamps.until; until > 0 {
		s += fmt.Sprintf(", until=@%d", until)
	}
	store := r.store
	if store == "" {
		store = "conform"
	}
	s += fmt.Sprintf(`, now=@%d, store="%s"`, time.Now().Add(m.place.ahead).Unix(), store)
	if r.state == stateDone || r.state == stateRunning {
		s += `, message="` + pathMessages + base64.RawURLEncoding.EncodeToString([]byte(m.id)) + `"`
	}
	return s
}

// byURL returns the message that a message URL names.
func (l *Listener) byURL(p *place, path string) *message {
	id, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(path, pathMessages))
	if err != nil {
		return nil
	}
	return l.byID(p, string(id))
}

func (l *Listener) byID(p *place, id string) *message {
	for _, m := range l.messages {
		if m.place == p && slices.Contains(m.ids, id) {
			return m
		}
	}
	return nil
}

// look answers a GET of a message URL, which may be what a running message is asked by.
func (l *Listener) look(w http.ResponseWriter, r *http.Request, p *place) {
	l.mu.Lock()
	m := l.byURL(p, r.URL.Path)
	if m == nil || p.desk == deskStripped && m.step > 1 {
		if m != nil {
			m.logf("GET of the message URL, answered 404 without Certified")
			m.came(true)
		}
		l.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	m.logf("GET of the message URL")
	if m.last != nil && m.last.state == stateRunning && m.open == 0 {
		m.judgePause(&attempt{begin: time.Now()})
		m.came(true)
		if next := m.scenario.replies[min(m.step, len(m.scenario.replies)-1)]; next.state == stateRunning || next.state == stateDone {
			m.open++
			m.answers(&next)
		}
	}
	now := reply{status: http.StatusAccepted, state: stateRunning, wait: time.Second}
	if m.last != nil && m.last.state != "" && m.last.state != stateRunning {
		now = *m.last
		now.manner = whole
	}
	b := m.response(&now)
	l.mu.Unlock()
	b.write(w)
}

// discovery answers with what the desk says it is.
func (l *Listener) discovery(w http.ResponseWriter, p *place) {
	if p.desk == deskStripped {
		l.mu.Lock()
		away := false
		for _, m := range l.messages {
			if m.place == p && m.step > 1 {
				away = true
				m.logf("GET of discovery, answered 404")
				m.came(true)
			}
		}
		l.mu.Unlock()
		if away {
			http.Error(w, "404 page not found", http.StatusNotFound)
			return
		}
	}
	now := time.Now().Add(p.ahead).Unix()
	w.Header().Set(headerCertified, fmt.Sprintf(`v=1, now=@%d, store="conform"`, now))
	w.Header().Set(headerType, typeJSON)
	_ = json.NewEncoder(w).Encode(discovery{
		Versions: []int{1}, Store: "conform", Retention: "P15D", Linger: "PT10M", Skew: "PT2M", MaxBody: maxAnswer,
		Ack: []string{"header", "delete", "bulk"}, Now: now,
	})
}

// rode takes the acknowledgements that ride on an attempt.
func (l *Listener) rode(p *place, a *attempt) {
	lines := a.header.Values(headerAck)
	if len(lines) == 0 {
		return
	}
	acks, err := readAcks(lines)
	for _, k := range acks {
		m := l.byID(p, k.id)
		if m == nil {
			continue
		}
		m.acknowledged(k.at, "Certified-Ack")
		path, _, _ := strings.Cut(a.target, "?")
		first, _, _ := strings.Cut(m.first.target, "?")
		m.say(claimRides, err == nil && len(acks) <= 100 && path == first, true, "the acknowledgement of a message to %s, one of %d, rode to %s", first, len(acks), path)
	}
	if err != nil && len(l.messages) > 0 {
		l.broke(claimRides, l.messages[0], fmt.Sprintf("%s cannot be read: %v", headerAck, err))
	}
}

// delete takes an acknowledgement by DELETE.
func (l *Listener) delete(w http.ResponseWriter, r *http.Request, p *place) {
	l.mu.Lock()
	m := l.byURL(p, r.URL.Path)
	if m != nil {
		s, err := readStamps(r.Header.Values(headerCertified))
		m.acknowledged(s.at, "DELETE")
		if len(r.Header.Values(headerCertified)) > 0 && err != nil {
			m.say(claimAckAt, false, true, "Certified of a DELETE %v", err)
		}
	}
	l.mu.Unlock()
	if m == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set(headerCertified, fmt.Sprintf(`v=1, id="%s", state=gone, now=@%d, store="conform"`, m.id, time.Now().Add(p.ahead).Unix()))
	w.WriteHeader(http.StatusNoContent)
}

// bulk takes acknowledgements in bulk.
func (l *Listener) bulk(w http.ResponseWriter, p *place, body []byte) {
	var list struct {
		Acks []struct {
			Message string `json:"message"`
			At      int64  `json:"at"`
		} `json:"acks"`
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list.Acks) > 1000 {
		http.Error(w, "these are no acknowledgements", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	for _, k := range list.Acks {
		if m := l.byURL(p, k.Message); m != nil {
			m.acknowledged(k.At, "in bulk")
		}
	}
	l.mu.Unlock()
	w.Header().Set(headerCertified, fmt.Sprintf(`v=1, now=@%d, store="conform"`, time.Now().Add(p.ahead).Unix()))
	w.WriteHeader(http.StatusNoContent)
}
