package conform

import (
	"net/http"
	"time"
)

// A desk is one of the authorities of a Listener, each with an address of its own: what a client learns of a peer counts for its authority.
type desk int

// The desks, in the order of their ports.
const (
	deskMain     desk = iota
	deskPlain         // knows nothing of Certified
	deskClock         // its clock is ahead
	deskStripped      // something on the way begins to strip what is certified
	deskRestored      // its store is restored from a copy
	desks
)

// clockAhead is how far the clock of deskClock is ahead: beyond the linger, so that a client who does not follow gets nowhere.
const clockAhead = 15 * time.Minute

// follow says what is to follow an answer.
type follow int

const (
	again   follow = iota // another attempt
	final                 // nothing
	probing               // no attempt before a GET of the message URL or of discovery, and none after it
)

// manner is how an answer is given.
type manner int

const (
	whole      manner = iota
	lost              // not at all: the connection closes
	cut               // less than its length, and the connection closes
	damaged           // with the digest of something else
	misnamed          // with the id of another message
	stripped          // without what is certified
	held              // late
	redirected        // with a Location, on the same authority
	sentAway          // with a Location on another authority
	plainly           // as a server that does not know Certified
)

// holdFor is how long a held answer takes.
const holdFor = 1500 * time.Millisecond

// reply is the answer to one attempt, and what the client is to do about it.
type reply struct {
	manner
	status int
	state  string
	code   string        // of the problem document
	wait   time.Duration // Retry-After
	date   bool          // which is written as a date
	marked bool          // Idempotent-Replayed: true
	store  string        // "": the desk's
	follow follow
	claim  claim
}

// scenario is what befalls one message.
type scenario struct {
	name    string
	desk    desk
	does    string
	replies []reply // to its attempts; the last one to all further ones
}

var claimOver = claim{"§2", "what is done is not sent again"}

// outcome is the end of most scenarios.
var outcome = reply{status: http.StatusCreated, state: stateDone, follow: final, claim: claimOver}

var scenarios = []scenario{
	{"done", deskMain, "is done at once", []reply{outcome}},
	{"lost-answer", deskMain, "is done, and its answer is lost", []reply{
		{manner: lost, claim: claim{"C2", "without an answer the same request is sent again"}}, outcome,
	}},
	{"cut-answer", deskMain, "is done, and its answer is cut short", []reply{
		{manner: cut, status: http.StatusCreated, state: stateDone, claim: claim{"§2", "an outcome that is not whole is none"}}, outcome,
	}},
	{"wrong-digest", deskMain, "is done, and its answer is damaged on the way", []reply{
		{manner: damaged, status: http.StatusCreated, state: stateDone, claim: claim{"§2", "an outcome with a wrong digest is none"}}, outcome,
	}},
	{"wrong-id", deskMain, "gets the answer of another message", []reply{
		{manner: misnamed, status: http.StatusCreated, state: stateDone, claim: claim{"§2", "an answer about another id is none"}}, outcome,
	}},
	{"running", deskMain, "takes a while", []reply{
		{status: http.StatusAccepted, state: stateRunning, wait: time.Second, claim: claim{"§2", "running: it waits and asks again"}},
		{status: http.StatusServiceUnavailable, state: stateRunning, code: "in-progress", wait: time.Second, claim: claim{"§2", "running with 503 is running as well"}},
		outcome,
	}},
	{"none", deskMain, "does not get through, several times", []reply{
		{status: http.StatusServiceUnavailable, state: stateNone, code: "overloaded", claim: claimNone},
		{status: http.StatusServiceUnavailable, state: stateNone, code: "overloaded", claim: claimNone},
		{status: http.StatusBadRequest, state: stateNone, code: "digest-mismatch", claim: claim{"§2", "none with 400 is none as well"}},
		{status: http.StatusServiceUnavailable, state: stateNone, code: "overloaded", claim: claimNone},
		{status: http.StatusServiceUnavailable, state: stateNone, code: "overloaded", claim: claimNone},
		outcome,
	}},
	{"retry-after", deskMain, "is asked to wait, in seconds and by a date", []reply{
		{status: http.StatusServiceUnavailable, state: stateNone, code: "overloaded", wait: 2 * time.Second, claim: claimNone},
		{status: http.StatusTooManyRequests, state: stateNone, code: "quota", wait: 3 * time.Second, date: true, claim: claimNone},
		outcome,
	}},
	{"done-503", deskMain, "is done, and its outcome is 503", []reply{
		{status: http.StatusServiceUnavailable, state: stateDone, follow: final, claim: claim{"§2", "done with 503 is final"}},
	}},
	{"done-307", deskMain, "is done, and its outcome is a redirection", []reply{
		{manner: redirected, status: http.StatusTemporaryRedirect, state: stateDone, follow: final, claim: claim{"§2", "done with 307 is final"}},
	}},
	{"none-200", deskMain, "does not get through, and a proxy says 200", []reply{
		{status: http.StatusOK, state: stateNone, claim: claim{"§2", "none with 200 is sent again"}}, outcome,
	}},
	{"refused", deskMain, "is refused", []reply{
		{status: http.StatusRequestEntityTooLarge, state: stateRefused, code: "too-large", follow: final, claim: claim{"§2", "refused: it stops"}},
	}},
	{"gone", deskMain, "was acknowledged long ago", []reply{
		{status: http.StatusGone, state: stateGone, code: "acknowledged", follow: final, claim: claim{"§2", "gone: it stops"}},
	}},
	{"slow", deskMain, "is answered late", []reply{
		{manner: held, status: http.StatusCreated, state: stateDone, follow: final, claim: claimOver},
	}},
	{"gateway", deskMain, "meets a gateway whose server is away", []reply{
		{status: http.StatusServiceUnavailable, state: stateNone, code: "overloaded", claim: claimNone},
		{manner: stripped, status: http.StatusBadGateway, claim: claim{"C4", "an unmarked 502 of a certified peer is no outcome"}},
		outcome,
	}},

	{"plain", deskPlain, "goes to a server that does not know Certified", []reply{
		{manner: lost, claim: claim{"C5", "no answer of a plain peer: it is sent again"}},
		{manner: plainly, status: http.StatusServiceUnavailable, claim: claim{"C5", "503 of a plain peer: it is sent again"}},
		{manner: plainly, status: http.StatusConflict, wait: time.Second, claim: claim{"C5", "409 with Retry-After: it is sent again"}},
		{manner: plainly, status: http.StatusConflict, code: "in-progress", claim: claim{"C5", "409 in-progress: it is sent again"}},
		{manner: plainly, status: http.StatusCreated, follow: final, claim: claim{"C5", "2xx of a plain peer is final"}},
	}},
	{"plain-400", deskPlain, "is answered 400", []reply{
		{manner: plainly, status: http.StatusBadRequest, follow: final, claim: claim{"C5", "400 of a plain peer is final"}},
	}},
	{"plain-409", deskPlain, "is answered 409, and no more", []reply{
		{manner: plainly, status: http.StatusConflict, follow: final, claim: claim{"C5", "409 without Retry-After or in-progress is final"}},
	}},
	{"plain-replayed", deskPlain, "is answered 503, from the record", []reply{
		{manner: plainly, status: http.StatusServiceUnavailable, marked: true, follow: final, claim: claim{"C5", "503 with Idempotent-Replayed: true is final"}},
	}},
	{"plain-redirect", deskPlain, "has moved, on the same authority", []reply{
		{manner: redirected, status: http.StatusTemporaryRedirect, claim: claim{"C5", "307 on the same authority is followed"}},
		{manner: plainly, status: http.StatusCreated, follow: final, claim: claim{"C5", "2xx of a plain peer is final"}},
	}},
	{"plain-elsewhere", deskPlain, "has moved, to another authority", []reply{
		{manner: sentAway, status: http.StatusTemporaryRedirect, follow: final, claim: claim{"C5", "307 to another authority is final"}},
	}},

	{"clock", deskClock, "goes to a server whose clock is 15 minutes ahead", []reply{
		{status: http.StatusPreconditionFailed, state: stateNone, code: "stale-attempt", claim: claim{"C8", "stale-attempt: it is sent again"}}, outcome,
	}},
	{"stripped", deskStripped, "runs, and then answers are stripped of what is certified", []reply{
		{status: http.StatusAccepted, state: stateRunning, wait: time.Second, claim: claim{"§2", "running: it waits and asks again"}},
		{manner: stripped, status: http.StatusOK, follow: probing, claim: claim{"C4", "an unmarked 2xx of a certified peer: one GET decides, and nothing more is sent"}},
	}},
	{"restored", deskRestored, "runs, and then the server is restored from a copy", []reply{
		{status: http.StatusAccepted, state: stateRunning, wait: time.Second, claim: claim{"§2", "running: it waits and asks again"}},
		{
			status: http.StatusAccepted, state: stateRunning, wait: time.Second, store: "restored", follow: final,
			claim: claim{"S13", "once the store changed, nothing more is sent there"},
		},
	}},
}

var claimNone = claim{"§2", "none: the same request is sent again, later"}
