package chttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/certifiedhttp/chttp/store"
)

// known serves what every certified server has under /.well-known/chttp.
type known struct{ node *Node }

// WellKnown serves the message URLs, acknowledgements and discovery; Handler does so itself where it is mounted at the root.
func (n *Node) WellKnown() http.Handler { return &known{n} }

// maxBulkBody bounds the body of acknowledgements in bulk.
const maxBulkBody = 1 << 20

// ServeHTTP answers requests for the well-known resources.
func (k *known) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	path := r.URL.Path
	switch {
	case path == wellKnown && read:
		k.discover(w)
	case path == wellKnown:
		k.notAllowed(w, "GET, HEAD")
	case k.node.looks && !read:
		k.refuse(w, problemClosed.because(errReadOnly), &verdict{State: stateNone})
	case path == pathAcks && r.Method == http.MethodPost:
		k.bulk(w, r)
	case path == pathAcks:
		k.notAllowed(w, "POST")
	case !strings.HasPrefix(path, prefixOfMessage):
		k.refuse(w, problemNotFound, &verdict{State: stateNone})
	case read:
		k.show(w, r)
	case r.Method == http.MethodDelete:
		k.acknowledge(w, r)
	default:
		k.notAllowed(w, "GET, HEAD, DELETE")
	}
}

// mark has the answer say who gives it and, of a message, what v tells.
func (k *known) mark(w http.ResponseWriter, v verdict) {
	v.Now, v.Store = k.node.now().Unix(), k.node.id.Store
	w.Header().Set(headerCertified, v.String())
	w.Header().Set(headerCacheControl, valueNoStore)
}

func (k *known) notAllowed(w http.ResponseWriter, allow string) {
	k.mark(w, verdict{})
	w.Header().Set("Allow", allow)
	http.Error(w, "this resource answers "+allow, http.StatusMethodNotAllowed)
}

func (k *known) refuse(w http.ResponseWriter, p problem, v *verdict) {
	v.Now, v.Store = k.node.now().Unix(), k.node.id.Store
	p.write(w, v)
}

// located is the verdict running, with the message's URL.
func (k *known) located(in *inbound) *verdict {
	v := in.server.node.verdict(in, stateRunning)
	v.Message = k.node.caps.messageURL(in.key)
	return v
}

// discover answers with discovery (section 8).
func (k *known) discover(w http.ResponseWriter) {
	maxBody := int64(defaultMaxBody)
	k.node.mu.Lock()
	for _, f := range k.node.functions {
		if f.server != nil {
			maxBody = min(maxBody, f.server.opt.MaxBody)
		}
	}
	k.node.mu.Unlock()
	b, err := json.Marshal(discovery{
		Versions: []int{protocolVersion}, Store: k.node.id.Store, Retention: period(certifiedRetention), Linger: period(k.node.opt.Linger),
		Skew: period(skew), MaxBody: maxBody, Ack: []string{ackHeader, ackDelete, ackBulk}, Now: k.node.now().Unix(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	k.mark(w, verdict{})
	w.Header().Set(headerContentType, typeJSON)
	_, _ = w.Write(append(b, '\n'))
}

// find returns the record that a message URL names, or answers that there is none.
func (k *known) find(w http.ResponseWriter, r *http.Request) (key store.Key, rec *store.Record, ok bool) {
	key, ok = k.node.caps.parse(r.URL.Path)
	if !ok {
		k.refuse(w, problemNotFound, &verdict{State: stateNone})
		return key, nil, false
	}
	rec, err := k.node.store.Read(r.Context(), key)
	switch {
	case errors.Is(err, store.ErrNotFound) && k.node.resident(key) == nil:
		k.refuse(w, problemNotFound, &verdict{ID: key.ID, State: stateNone})
		return key, nil, false
	case err != nil: // It cannot be read, or its acceptance is not durable yet.
		k.refuse(w, problemUncertain, &verdict{ID: key.ID, State: stateRunning})
		return key, nil, false
	}
	return key, rec, true
}

// show answers with the outcome, as S6 (A3).
func (k *known) show(w http.ResponseWriter, req *http.Request) {
	key, r, ok := k.find(w, req)
	if !ok {
		return
	}
	v := &verdict{ID: key.ID, Message: req.URL.Path}
	switch {
	case r.State == store.Acknowledged:
		v.State = stateGone
		k.refuse(w, problemAcknowledged, v)
		return
	case r.State == store.Parked:
		v.State = stateRunning
		k.refuse(w, problemParked, v)
		return
	case !r.State.Finished():
		v.State = stateRunning
		k.mark(w, *v)
		w.Header().Set(headerRetryAfter, "1")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	resp, err := outcomeIn(r)
	if err != nil {
		v.State = stateRunning
		k.refuse(w, problemUncertain, v)
		return
	}
	v.State, v.Replayed, v.Now, v.Store = stateDone, true, k.node.now().Unix(), k.node.id.Store
	if r.Certified {
		v.Until = r.Bound / 1000
	}
	writeResponse(w, resp, v)
}

// acknowledge drops the outcome (A2, A3).
func (k *known) acknowledge(w http.ResponseWriter, r *http.Request) {
	at, err := parseAckAt(r.Header.Values(headerCertified))
	if err != nil {
		k.refuse(w, problemCertifiedInvalid.because(err), &verdict{State: stateRefused})
		return
	}
	key, rec, ok := k.find(w, r)
	if !ok {
		return
	}
	if !rec.State.Finished() {
		k.refuse(w, problemInProgress, &verdict{ID: key.ID, State: stateRunning})
		return
	}
	if g, err := k.node.acked(key, at); err != nil || !k.node.journal.took(r.Context(), g) {
		k.refuse(w, problemUncertain, &verdict{ID: key.ID, State: stateRunning})
		return
	}
	k.mark(w, verdict{ID: key.ID, State: stateGone})
	w.WriteHeader(http.StatusNoContent)
}

// bulk takes many acknowledgements. Those of messages that are not ours, or unknown, or unfinished, are passed over (A4).
func (k *known) bulk(w http.ResponseWriter, r *http.Request) {
	body, no := readBody(r, maxBulkBody)
	if no != nil {
		k.refuse(w, no.problem, &verdict{State: no.state})
		return
	}
	list, err := parseBulkAcks(body)
	if err != nil {
		k.refuse(w, problemCertifiedInvalid.because(err), &verdict{State: stateRefused})
		return
	}
	sure := true
	var groups []*group
	for _, a := range list.Acks {
		if key, ok := k.node.caps.parse(a.Message); ok {
			g, err := k.node.acked(key, a.At)
			sure = sure && err == nil
			groups = append(groups, g)
		}
	}
	for _, g := range slices.Compact(groups) {
		sure = k.node.journal.took(r.Context(), g) && sure
	}
	if !sure {
		k.refuse(w, problemUncertain, &verdict{State: stateRunning})
		return
	}
	k.mark(w, verdict{})
	w.WriteHeader(http.StatusNoContent)
}
