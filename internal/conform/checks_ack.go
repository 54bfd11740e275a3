package conform

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// ackChecks are about acknowledgements and message URLs.
var ackChecks = []check{
	{"A1", "by Certified-Ack on the next request", needCertified, func(t *trial) {
		t.offersAck("header")
		q := t.message()
		a := t.first(q)
		t.first(t.message().with(headerAck, fmt.Sprintf("%s;at=@%d", q.key[0], a.sent.at)))
		if t.anonymous() {
			t.pause(ackSettles)
			t.kept(q, a) // S2: it is ignored there.
			return
		}
		t.gone(q, a)
	}},
	{"A1", "by DELETE on the message URL", needCertified, func(t *trial) {
		t.offersAck("delete")
		q := t.message()
		a := t.first(q)
		t.acknowledgeByURL(a, a.sent.at)
		t.gone(q, a)
	}},
	{"A1", "in bulk", needCertified, func(t *trial) {
		t.offersAck("bulk")
		q, p := t.message(), t.message()
		a, b := t.first(q), t.first(p)
		answer := t.answered(&request{
			method: http.MethodPost, url: t.origin + pathAcks, header: http.Header{headerType: {typeJSON}}, body: bulk(a, b),
		})
		if !t.over() && answer.status/100 != 2 {
			t.fail("got %s, want a status of success", answer)
		}
		t.gone(q, a)
		t.gone(p, b)
	}},
	{"A2", "an acknowledged id runs nothing", needCertified, func(t *trial) {
		t.once(func() {
			q := t.message()
			a := t.first(q)
			t.acknowledgeByURL(a, a.sent.at)
			if b := t.settled(q); !t.over() && !b.is(stateDone) {
				t.none(b, http.StatusGone, stateGone, "acknowledged")
			} else if !t.over() && !b.mark.replayed {
				t.fail("the acknowledged id ran again: %s, the first was %s", b, a)
			}
		})
	}},
	{"A2", "after the linger it is forgotten", needCertified | needShortLinger, func(t *trial) {
		a := t.first(t.message())
		t.acknowledgeByURL(a, a.sent.at)
		t.later = func() { t.forgotten(a) }
	}},
	{"A3", "GET and HEAD of the message URL answer as a replay does", needCertified, func(t *trial) {
		a := t.first(t.message())
		url := t.urlOf(a)
		b := t.answered(&request{method: http.MethodGet, url: url})
		if !t.over() && !b.is(stateDone) {
			t.fail("got %s, want the outcome", b)
		}
		if !t.over() {
			t.sameOutcome(b, a)
		}
		c := t.answered(&request{method: http.MethodHead, url: url})
		if !t.over() && (c.status != a.status || !c.is(stateDone)) {
			t.fail("HEAD got %s, want the outcome's status %d and state=done", c, a.status)
		}
	}},
	{"A3", "while it runs, GET is 202 and DELETE 409", needCertified | needSlow, func(t *trial) {
		q, url := t.running()
		if a := t.answered(&request{method: http.MethodGet, url: url}); !t.over() && (a.status != http.StatusAccepted || !a.is(stateRunning)) {
			t.fail("GET got %s, want 202 and state=running", a)
		}
		a := t.answered(&request{method: http.MethodDelete, url: url, certified: []string{fmt.Sprintf("v=1, at=@%d", t.now())}})
		t.none(a, http.StatusConflict, stateRunning, "in-progress")
		t.limit = time.Time{}
		t.outcome(q)
	}},
	{"A3", "DELETE is 204, also the second time", needCertified, func(t *trial) {
		a := t.first(t.message())
		t.acknowledgeByURL(a, a.sent.at)
		t.acknowledgeByURL(a, a.sent.at)
	}},
	{"A3", "once it is acknowledged, GET is 410, gone", needCertified, func(t *trial) {
		q := t.message()
		a := t.first(q)
		t.acknowledgeByURL(a, a.sent.at)
		t.settled(q)
		if b := t.answered(&request{method: http.MethodGet, url: t.urlOf(a)}); b.is(stateDone) {
			t.obscure("the outcome is still there: it is dropped later, or not at all")
		} else {
			t.none(b, http.StatusGone, stateGone, "acknowledged")
		}
	}},
	{"A3", "what is not known is 404, none", needCertified, func(t *trial) {
		url := t.origin + pathMessages + "bm90aGluZw-" + t.token
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			t.none(t.answered(&request{method: method, url: url}), http.StatusNotFound, stateNone, "not-found")
		}
	}},
	{"A4", "an acknowledgement that cannot be read harms nothing", needCertified, func(t *trial) {
		q := t.message()
		a := t.first(q)
		t.first(t.message().with(headerAck, q.key[0]+`;at=`))
		t.first(t.message().with(headerAck, `"conform-of-nobody-at-all";at=@`+fmt.Sprint(t.now())))
		t.pause(ackSettles)
		t.kept(q, a)
	}},
	{"A5", "without at an acknowledged id is kept until until", needCertified | needShortLinger, func(t *trial) {
		q := t.message()
		a := t.first(q)
		with := t.first(t.message())
		t.acknowledgeByURL(a, 0)
		t.acknowledgeByURL(with, t.now()+1) // is later than what a server may have put in its place for the other
		t.later = func() {
			t.forgotten(with)
			if b := t.answered(&request{method: http.MethodGet, url: t.urlOf(a)}); !t.over() && !b.is(stateGone) && !b.is(stateDone) {
				t.fail("acknowledged without at, the id is forgotten after the linger: %s", b)
			}
		}
	}},
}

func (t *trial) offersAck(way string) {
	if !slices.Contains(t.discovery.Ack, way) {
		t.lack("discovery does not offer %q in ack", way)
	}
}

func bulk(answers ...*answer) []byte {
	type entry struct {
		Message string `json:"message"`
		At      int64  `json:"at"`
	}
	var list []entry
	for _, a := range answers {
		list = append(list, entry{a.mark.message, a.sent.at})
	}
	b, err := json.Marshal(map[string]any{"acks": list})
	if err != nil {
		panic("conform: acknowledgements cannot be encoded: " + err.Error()) // strings and numbers
	}
	return b
}

// urlOf returns the message URL that the answer a names.
func (t *trial) urlOf(a *answer) string {
	if !t.over() && a.mark.message == "" {
		t.fail("the answer names no message URL: %s", a)
	}
	return t.origin + a.mark.message
}

// acknowledgeByURL acknowledges the message of a by DELETE; without at, if that is 0.
func (t *trial) acknowledgeByURL(a *answer, at int64) {
	q := &request{method: http.MethodDelete, url: t.urlOf(a)}
	if at > 0 {
		q.certified = []string{fmt.Sprintf("v=1, at=@%d", at)}
	}
	if b := t.answered(q); !t.over() && b.status != http.StatusNoContent {
		t.fail("DELETE got %s, want 204", b)
	}
}

// ackPatience is how long a dropped outcome is waited for. It may be dropped lazily, that is later.
const ackPatience = 2 * time.Second

// settled sends the message again until its outcome is gone, or for so long as that is waited for.
func (t *trial) settled(q *request) *answer {
	steps := t.steps
	for limit := time.Now().Add(ackPatience); ; {
		t.steps = steps
		a := t.answered(q)
		if t.over() || !a.is(stateDone) || !a.mark.replayed || time.Now().After(limit) {
			return a
		}
		t.pause(100 * time.Millisecond)
	}
}

// gone wants the outcome a of an acknowledged message to be dropped.
func (t *trial) gone(q *request, a *answer) {
	b := t.settled(q)
	switch {
	case t.over():
	case b.is(stateDone) && !b.mark.replayed:
		t.fail("the acknowledged id ran again: %s, the first was %s", b, a)
	case b.is(stateDone):
		t.obscure("the outcome is still there: it is dropped later, or not at all")
	default:
		t.none(b, http.StatusGone, stateGone, "acknowledged")
	}
}

// forgotten waits until the acknowledged message of a is forgotten.
func (t *trial) forgotten(a *answer) {
	steps := t.steps
	get := &request{method: http.MethodGet, url: t.urlOf(a)}
	for !t.over() {
		t.steps = steps
		b := t.answered(get)
		switch {
		case b.status == http.StatusNotFound:
			return
		case time.Now().After(t.forgets):
			t.fail("twice the linger after it was acknowledged it is not forgotten: %s", b)
		}
		t.pause(200 * time.Millisecond)
	}
}
