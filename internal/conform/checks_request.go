package conform

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// checks returns all checks, in the order of the rules.
func checks() []check {
	var all []check
	for _, list := range [...][]check{requestChecks, messageChecks, runningChecks, timeChecks, nodeChecks, ackChecks, plainChecks, discoveryChecks} {
		all = append(all, list...)
	}
	return all
}

// requestChecks are about how requests are read and whose they are.
var requestChecks = []check{
	{"§1", "a key in quotes and a bare one are the same key", needCertified, func(t *trial) {
		q := t.message()
		a := t.first(q)
		bare := q.clone()
		bare.key[0] = strings.Trim(q.key[0], `"`)
		t.kept(bare, a)
	}},
	{"§1", "two Idempotency-Keys are 400 key-invalid", needCertified, func(t *trial) {
		q := t.message()
		q.key = append(q.key, t.message().key...)
		t.none(t.answered(q), http.StatusBadRequest, stateRefused, "key-invalid")
	}},
	{"§1", "Certified without a key is 400 key-missing", needCertified, func(t *trial) {
		q := t.message()
		q.key = nil
		a := t.answered(q)
		t.none(a, http.StatusBadRequest, a.mark.state, "key-missing")
	}},
	{"§1", "what is no id is 400 key-invalid", needCertified, func(t *trial) {
		for _, key := range []string{`""`, `"a;` + t.token + t.token + `"`, "a," + t.token + t.token, `"` + strings.Repeat("a", 256) + `"`} {
			q := t.message()
			q.key[0] = key
			t.none(t.answered(q), http.StatusBadRequest, stateRefused, "key-invalid")
		}
	}},
	{"§1", "Certified is read in every form of RFC 9651", needCertified, (*trial).forms},
	{"§1", "Certified that cannot be read is 400 certified-invalid", needCertified, func(t *trial) {
		now := t.now()
		good := stamps{now, now, now + 3600}.String()
		for _, field := range []string{"v=1, sent=", "v=2" + good[len("v=1"):], good[:strings.Index(good, ", until")], good + ".5"} {
			q := t.message()
			q.certified = []string{field}
			t.none(t.answered(q), http.StatusBadRequest, stateRefused, "certified-invalid")
		}
	}},
	{"§1", "damaged content is 400 digest-mismatch, and did nothing", needCertified, func(t *trial) {
		q := t.message()
		for _, damaged := range []string{contentDigest([]byte("something else")), sha512Digest([]byte("something else")), "sha-256"} {
			t.none(t.answered(q.with(headerDigest, damaged)), http.StatusBadRequest, stateNone, "digest-mismatch")
		}
		t.first(q.with(headerDigest, "unknown=:AAAA:, "+sha512Digest(q.body)))
	}},

	{"S1", "content over max_body is 413 too-large, refused", needCertified, (*trial).tooLarge},
	{"S1", "without credentials nothing is done", needCredentials, func(t *trial) {
		q := t.message()
		q.as = nobody
		a := t.answered(q)
		switch {
		case t.over():
		case a.status < http.StatusBadRequest:
			t.lack("the endpoint serves anybody")
		case a.status != http.StatusUnauthorized && a.status != http.StatusForbidden, a.mark.present && a.mark.state != stateNone:
			t.fail("got %s, want 401 or 403, and none", a)
		}
		q.as = self
		t.first(q)
	}},

	{"S2", "another principal's message with the same id is another message", needOther | needDistinct, func(t *trial) {
		q := t.message()
		a := t.first(q)
		theirs := q.clone()
		theirs.as = other
		b := t.answered(theirs)
		if b.pending() {
			b = t.outcome(theirs)
		}
		switch {
		case t.over():
		case b.mark.replayed || b.header.Get(headerReplayed) != "" || t.certified && !b.is(stateDone) || b.status != a.status:
			t.fail("the second principal got %s, want an outcome of its own", b)
		case !differ(a, b):
			t.fail("the second principal got the first one's answer: %.80q", b.body)
		}
		t.kept(q, a)
	}},
	{"S2", "another principal cannot block an id with another request", needOther, func(t *trial) {
		q := t.message()
		theirs := q.altered()
		theirs.as = other
		t.first(theirs)
		t.first(q)
	}},
	{"S2", "another principal cannot acknowledge", needCertified | needOther, func(t *trial) {
		q := t.message()
		a := t.first(q)
		theirs := t.message().with(headerAck, fmt.Sprintf("%s;at=@%d", q.key[0], t.now()))
		theirs.as = other
		t.first(theirs)
		t.pause(ackSettles)
		t.kept(q, a)
	}},
	{"S2", "who has no name needs an id of 22 characters", needCertified, func(t *trial) {
		if !t.anonymous() {
			t.lack("short ids are accepted, so callers have a name here, given or all the same")
		}
		q := t.message()
		q.key[0] = `"` + rand.Text()[:21] + `"`
		t.none(t.answered(q), http.StatusBadRequest, stateRefused, "key-invalid")
		q.key[0] = `"` + rand.Text()[:22] + `"`
		t.first(q)
	}},

	{"S3", "other content", needCertified, func(t *trial) { t.reuse((*request).altered) }},
	{"S3", "another query", needCertified, func(t *trial) { t.reuse(func(q *request) *request { return q.at(withQuery(q.url, "conform=1")) }) }},
	{"S3", "another content type", needCertified, func(t *trial) {
		t.reuse(func(q *request) *request { return q.with(headerType, q.header.Get(headerType)+"; conform=1") })
	}},
	{"S3", "another content encoding", needCertified, func(t *trial) {
		t.reuse(func(q *request) *request { return q.with(headerEncoding, "identity") })
	}},
	{"S3", "other header fields do not count", needCertified, func(t *trial) {
		q := t.message()
		a := t.first(q)
		t.kept(q.with("Conform-Other", "1"), a)
	}},
	{"S3", "while the first one runs", needCertified | needSlow, func(t *trial) {
		q := t.to(t.opt.Slow)
		t.meanwhile(q, func() {
			t.none(t.answered(q.altered()), http.StatusUnprocessableEntity, stateRefused, "key-reused")
		})
	}},
}

// ackSettles is how long an acknowledgement that is wrongly taken may need to show.
const ackSettles = 300 * time.Millisecond

// forms sends Certified in forms that RFC 9651 allows.
func (t *trial) forms() {
	now := t.now()
	for _, lines := range [][]string{
		{"until=@%[2]d,at=@%[1]d,sent=@%[1]d,v=1"},
		{"v=1;x=2,\tsent=@%[1]d ,  at=@%[1]d;a=\"b\", until=@%[2]d"},
		{"v=1, sent=@%[1]d, at=@%[1]d, new=(1 2);x, until=@%[2]d, flag"},
		{"v=1, sent=@%[1]d, at=@1, until=@%[2]d", "at=@%[1]d"},
	} {
		q := t.message()
		for _, l := range lines {
			if strings.Contains(l, "%[2]d") {
				q.certified = append(q.certified, fmt.Sprintf(l, now, now+3600))
			} else {
				q.certified = append(q.certified, fmt.Sprintf(l, now))
			}
		}
		a := t.first(q)
		if !t.over() && a.mark.until != 0 && a.mark.until != now+3600 {
			t.fail("until was understood as %d, not as %d, from %q", a.mark.until, now+3600, q.certified)
		}
	}
}

func sha512Digest(body []byte) string {
	sum := sha512.Sum512(body)
	return "sha-512=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// mostContent is the largest content that is sent.
const mostContent = 256 << 20

// tooLarge sends more than max_body.
func (t *trial) tooLarge() {
	limit := t.discovery.MaxBody
	if limit <= 0 || limit >= mostContent {
		t.lack("max_body is %d: more than is tried", limit)
		return
	}
	q := t.message()
	q.zeros = limit + 1
	a := t.attempt(q)
	if a.err != nil {
		a = t.attempt(q) // The connection may have been closed before the answer was read.
	}
	if a.err != nil {
		t.obscure("the server closes the connection before its answer is read: %v", a.err)
	}
	t.none(a, http.StatusRequestEntityTooLarge, stateRefused, "too-large")
}

// reuse sends a message, and then its id with another request, which change makes of the first; the message keeps its outcome.
func (t *trial) reuse(change func(*request) *request) {
	q := t.message()
	a := t.first(q)
	t.executes(0, func() {
		b := t.answered(change(q))
		switch {
		case t.over():
		case !b.mark.present && (b.status == http.StatusUnsupportedMediaType || b.status == http.StatusNotFound):
			t.obscure("something before the server answers it: %s", b)
		default:
			t.none(b, http.StatusUnprocessableEntity, stateRefused, "key-reused")
		}
	})
	t.kept(q, a)
}

// discoveryChecks are about section 8.
var discoveryChecks = []check{
	{"§8", "GET " + wellKnown + " says what the server is", needCertified, func(t *trial) {
		a := t.answered(&request{method: http.MethodGet, url: t.origin + wellKnown})
		var d discovery
		err := json.Unmarshal(a.body, &d)
		switch {
		case t.over():
		case a.status != http.StatusOK || err != nil:
			t.fail("got %s, and %v, want 200 and a document", a, err)
		case len(d.Versions) == 0 || d.Store == "" || d.MaxBody <= 0 || len(d.Ack) == 0 || d.Now <= 0:
			t.fail("versions, store, max_body, ack or now is missing: %.200s", a.body)
		case a.mark.present && a.mark.state != "":
			t.fail("it is about no message, and says state=%s", a.mark.state)
		case a.mark.store != "" && a.mark.store != d.Store:
			t.fail("it says that the store is %q, and Certified that it is %q", d.Store, a.mark.store)
		}
		for _, p := range []string{d.Retention, d.Linger, d.Skew} {
			if _, err := period(p); err != nil {
				t.fail("%v", err)
			}
		}
	}},
}
