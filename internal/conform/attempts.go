package conform

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// The claims that every attempt and acknowledgement of a client is held against.
var (
	claimKey      = claim{"§1", "the key is bare for a plain peer, in quotes for a certified one"}
	claimStamps   = claim{"§1", "Certified has sent ≤ at ≤ until, and sent and until stay"}
	claimSum      = claim{"§1", "Content-Digest is that of the content"}
	claimIdentity = claim{"§1", "Accept-Encoding is identity"}
	claimBytes    = claim{"C1", "every attempt repeats method, target, type and content"}
	claimSameID   = claim{"C1", "every attempt of a message has the same id"}
	claimAlone    = claim{"C2", "one attempt at a time"}
	claimHeeds    = claim{"C2", "Retry-After is obeyed, in seconds and as a date"}
	claimBackoff  = claim{"C2", "attempts do not follow each other without a pause"}
	claimInTime   = claim{"C2", "no attempt after until"}
	claimRises    = claim{"C8", "at never falls"}
	claimFollows  = claim{"C8", "at follows the server's clock, sent and until do not"}
	claimAcks     = claim{"A1", "it acknowledges, and only what is done"}
	claimRides    = claim{"A1", "what rides along rides to the same path, at most 100 at once"}
	claimAckAt    = claim{"A5", "at is no earlier than any that was sent"}

	claimsOfAttempts = []claim{
		claimKey, claimStamps, claimSum, claimIdentity, claimBytes, claimSameID, claimAlone, claimHeeds, claimBackoff, claimInTime, claimRises,
		claimFollows, claimAcks, claimRides, claimAckAt,
	}
)

// attempt is a request of the client as it arrived.
type attempt struct {
	key         string // as it is written
	method      string
	target      string // path and query
	kind        string // content type and encoding
	stamps      stamps
	stampsError error
	header      http.Header
	body        []byte
	begin       time.Time
}

func newAttempt(r *http.Request, body []byte) *attempt {
	a := &attempt{
		key: strings.TrimSpace(r.Header.Get(headerKey)), method: r.Method, target: r.URL.RequestURI(),
		kind: r.Header.Get(headerType) + " " + r.Header.Get(headerEncoding), header: r.Header, body: body, begin: time.Now(),
	}
	a.stamps, a.stampsError = readStamps(r.Header.Values(headerCertified))
	return a
}

func (a *attempt) id() string { return strings.Trim(a.key, `"`) }

// message is what is known of a message of the client.
type message struct {
	listener *Listener
	scenario *scenario
	place    *place
	id       string     // that it came with first
	ids      []string   // that it came with
	current  string     // that it came with last
	first    *attempt   // which the others are to repeat
	attempts []*attempt // those that counted, a GET of the message URL among them
	log      []string

	step     int       // how many attempts got an answer
	open     int       // attempts that are not answered yet
	answered time.Time // when the last one was
	last     *reply    // which it was
	wait     time.Duration
	probed   bool // by a GET, after an answer that wants one
	unmarked int  // attempts that came instead
	over     bool
	known    bool // to be certified: until was echoed
	done     bool // a whole outcome was sent
	moved    string
	at       int64 // the largest that was sent
	firstAt  time.Time
}

// judge holds an attempt against the earlier ones. It is called with the listener locked, before the attempt counts.
func (m *message) judge(a *attempt) {
	m.logf("%s %s, %s: %s, %s: %s", a.method, a.target, headerKey, a.key, headerCertified, strings.Join(a.header.Values(headerCertified), ", "))
	again := len(m.attempts) > 0
	m.say(claimAlone, !again || m.open == 0, again, "attempt %d came while another was not answered", len(m.attempts)+1)
	same := a.method == m.first.method && a.kind == m.first.kind && string(a.body) == string(m.first.body) &&
		(a.target == m.first.target || a.target == m.moved)
	m.say(claimBytes, same, again, "attempt %d is %s %s, %s, %.60q, the first was %s %s, %s, %.60q", len(m.attempts)+1,
		a.method, a.target, a.kind, a.body, m.first.method, m.first.target, m.first.kind, m.first.body)
	m.say(claimSameID, a.id() == m.id, again, "the same request came as %s and as %s, before %s had its outcome", m.id, a.id(), m.id)
	quoted := strings.HasPrefix(a.key, `"`)
	if m.place.desk == deskPlain || m.known {
		m.say(claimKey, quoted == m.known, true, "the key is %s, for a peer that is certified: %v", a.key, m.known)
	}
	err := checkDigest(a.header.Values(headerDigest), a.body)
	m.say(claimSum, err == nil, true, "%v", err)
	m.say(claimIdentity, a.header.Get(headerAccept) == "identity", true, "Accept-Encoding is %q", a.header.Get(headerAccept))
	m.judgeStamps(a)
	m.judgePause(a)
	m.at = max(m.at, a.stamps.at)
}

func (m *message) judgeStamps(a *attempt) {
	s, first := a.stamps, m.first.stamps
	switch {
	case a.stampsError != nil:
		m.say(claimStamps, false, true, "Certified %v", a.stampsError)
		return
	case s.sent == 0 || s.at == 0 || s.until == 0:
		m.say(claimStamps, false, true, "Certified is missing, or lacks sent, at or until")
		return
	}
	m.say(claimStamps, s.sent <= s.at && s.at <= s.until, true, "%s is not in order", s)
	m.say(claimStamps, s.sent == first.sent && s.until == first.until, true, "%s came after %s", s, first)
	m.say(claimRises, s.at >= m.at, len(m.attempts) > 0, "at=@%d came after @%d", s.at, m.at)
	now := time.Now().Add(m.place.ahead).Unix()
	m.say(claimInTime, now <= s.until+1, len(m.attempts) > 0, "it came at @%d, after until=@%d", now, s.until)
	if m.place.ahead > 0 && m.step > 0 {
		if s.until < now {
			return // It cannot follow: at is never after until.
		}
		m.say(claimFollows, s.at > now-60 && s.at < now+60, true, "the server said that it is @%d, and at=@%d followed", now, s.at)
	}
}

// judgePause judges how long the client waited. Its clock began later than ours, so what is too short for us is so for it.
func (m *message) judgePause(a *attempt) {
	if m.last == nil || m.open > 0 {
		return
	}
	waited := a.begin.Sub(m.answered)
	if m.last.wait > 0 && m.last.follow == again {
		m.say(claimHeeds, waited >= m.wait-20*time.Millisecond, true, "attempt %d came %d ms after an answer with Retry-After: %s", len(m.attempts)+1,
			waited.Milliseconds(), m.last.retryAfter(m.answered))
	}
	if m.scenario.name == "none" && len(m.attempts) == len(m.scenario.replies)-1 {
		all := a.begin.Sub(m.firstAt)
		m.say(claimBackoff, all >= leastPause, true, "%d attempts came within %d ms", len(m.attempts)+1, all.Milliseconds())
	}
}

// leastPause is how long six attempts take at the least that follow each other with pauses, be they short.
const leastPause = 200 * time.Millisecond

// say keeps what was seen of c: if it is broken that it is, and otherwise that it held, where there was something to see.
func (m *message) say(c claim, holds, seen bool, format string, args ...any) {
	switch {
	case !holds:
		m.listener.broke(c, m, fmt.Sprintf(format, args...))
	case seen:
		m.listener.claims.saw(c)
	}
}

func (m *message) logf(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%6d ms  ", time.Since(m.firstAt).Milliseconds())+fmt.Sprintf(format, args...))
}

// maxUnmarked is how many attempts may follow an unmarked answer before the GET that C4 wants.
const maxUnmarked = 2

// came has an attempt, or a GET of the message URL, count for the reply that it follows.
func (m *message) came(get bool) {
	if m.last == nil || m.open > 0 || m.over {
		return
	}
	broke := func(why string) {
		m.listener.broke(m.last.claim, m, why)
		m.over = true
	}
	switch r := m.last; {
	case r.follow == again:
		m.listener.held(r.claim)
	case r.follow == final:
		if !get || r.state == stateRunning { // Looking at an outcome harms nobody.
			broke("another request came after it")
		}
	case get:
		m.probed = true
	case m.probed:
		broke("another attempt came after the GET")
	default:
		if m.unmarked++; m.unmarked > maxUnmarked {
			broke("attempts came, and no GET of the message URL or of discovery")
		}
	}
}

// rest judges that nothing came for a while. It is called with the listener locked.
func (m *message) rest(now time.Time) {
	if m.over || m.open > 0 || m.last == nil {
		return
	}
	silent := now.Sub(m.answered)
	switch o := m.listener.opt; {
	case m.last.follow == final && silent > m.wait+o.Quiet:
		m.listener.held(m.last.claim)
		m.over = true
	case m.last.follow == probing && m.probed && silent > o.Quiet:
		m.listener.held(m.last.claim)
		m.over = true
	case m.last.follow != final && silent > m.wait+o.Patience:
		m.listener.broke(m.last.claim, m, fmt.Sprintf("nothing came for %d s", int(silent.Seconds())))
		m.over = true
	}
}

// ack is an acknowledgement as it came.
type ack struct {
	id string
	at int64
}

// readAcks reads a Certified-Ack field.
func readAcks(lines []string) ([]ack, error) {
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil, err
	}
	var acks []ack
	for _, member := range list {
		item, _ := member.(httpsfv.Item)
		id, ok := item.Value.(string)
		if !ok {
			return nil, fmt.Errorf("%v is not an id in quotes", item.Value)
		}
		a := ack{id: id}
		if v, ok := item.Params.Get("at"); ok {
			t, _ := v.(time.Time)
			a.at = t.Unix()
		}
		acks = append(acks, a)
	}
	return acks, nil
}

// acknowledged judges an acknowledgement of m.
func (m *message) acknowledged(at int64, how string) {
	m.logf("%s, at=@%d", how, at)
	m.say(claimAcks, m.done, true, "%s of a message that is not done", how)
	m.say(claimAckAt, at == 0 || at >= m.at, true, "%s with at=@%d, though at=@%d was sent", how, at, m.at)
}
