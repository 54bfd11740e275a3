package conform

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// The claims that every answer of a certified server is held against.
var (
	claimMarked   = claim{"§2", "every answer carries Certified, of version 1"}
	claimState    = claim{"§2", "it says a state of the message"}
	claimID       = claim{"§2", "id is the request's"}
	claimUntil    = claim{"§2", "until echoes the request's"}
	claimNow      = claim{"§2", "now is there"}
	claimNoStore  = claim{"§2", "Cache-Control is no-store"}
	claimDigest   = claim{"§2", "an outcome has a Content-Digest, which is right"}
	claimReplayed = claim{"§2", "replays are marked for plain clients too: Idempotent-Replayed: true"}
	claimMessage  = claim{"§2", "message is a path on the same authority"}
	claimStore    = claim{"S13", "every answer names the same store"}
	claimOverload = claim{"S10", "its answers are none, with Retry-After"}
	claimProblem  = claim{"§7", "what is no outcome has a problem document, with all its members"}
	claimCode     = claim{"§7", "its status and state are those of its code"}
	claimTitle    = claim{"§7", "the title of a code is always the same"}

	claimsOfAnswers = []claim{
		claimMarked, claimState, claimID, claimUntil, claimNow, claimNoStore, claimDigest, claimReplayed, claimMessage, claimProblem, claimCode,
		claimTitle, claimStore, claimOverload,
	}
)

// codes are those of section 7: the status and the state of each. Some have two statuses.
var codes = map[string]struct {
	statuses []int
	state    string // "" where the protocol leaves it open
}{
	"key-missing":       {[]int{400}, ""},
	"key-invalid":       {[]int{400}, stateRefused},
	"key-reused":        {[]int{422}, stateRefused},
	"certified-invalid": {[]int{400}, stateRefused},
	"digest-mismatch":   {[]int{400}, stateNone},
	"stale-attempt":     {[]int{412}, stateNone},
	"too-long":          {[]int{400}, stateRefused},
	"in-progress":       {[]int{409, 503}, stateRunning},
	"parked":            {[]int{503}, stateRunning},
	"acknowledged":      {[]int{410}, stateGone},
	"crashed":           {[]int{500}, stateRunning},
	"quota":             {[]int{429}, stateNone},
	"overloaded":        {[]int{503}, stateNone},
	"storage-full":      {[]int{507}, stateNone},
	"too-large":         {[]int{413}, stateRefused},
	"not-found":         {[]int{404}, stateNone},
	"unauthorized":      {[]int{401}, stateNone},
	"incomplete":        {[]int{400}, stateNone},
	"not-recordable":    {[]int{501}, stateRefused},
}

// audit holds an answer of a certified server against what is true of every one of them.
func (t *trial) audit(a *answer, script func() string) {
	if a.err != nil || !a.mark.present && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
		return // the application's own refusal (S1)
	}
	judge := func(c claim, holds bool, format string, args ...any) {
		if holds {
			t.audits.saw(c)
		} else {
			t.audits.broke(c, fmt.Sprintf(format, args...)+" in "+a.String(), script(), "")
		}
	}
	m := a.mark
	switch {
	case !m.present:
		judge(claimMarked, false, "there is no Certified")
		return
	case m.err != nil:
		judge(claimMarked, false, "Certified %v", m.err)
		return
	}
	judge(claimMarked, true, "")
	about := a.req.method == http.MethodPost && !strings.HasSuffix(a.req.url, pathAcks)
	if about {
		t.auditMessage(a, judge)
	}
	judge(claimNow, m.now > 0, "now is missing")
	judge(claimNoStore, strings.Contains(strings.ToLower(strings.Join(a.header.Values(headerCache), ",")), "no-store"), "no-store is missing")
	if m.message != "" {
		judge(claimMessage, strings.HasPrefix(m.message, "/") && !strings.HasPrefix(m.message, "//"), "message is %q", m.message)
	}
	if m.state == stateDone && a.req.method != http.MethodHead {
		err := checkDigest(a.header.Values(headerDigest), a.body)
		judge(claimDigest, err == nil, "%v", err)
	}
	if m.replayed {
		judge(claimReplayed, a.header.Get(headerReplayed) == "true", "%s: true is missing", headerReplayed)
	}
	known := t.audits.same(claimStore.text, m.store)
	judge(claimStore, m.store != "" && known == m.store, "store is %q, and was %q", m.store, known)
	if m.state != stateDone {
		t.auditProblem(a, judge)
	}
}

// auditMessage judges what only answers about a message of this request say.
func (t *trial) auditMessage(a *answer, judge func(claim, bool, string, ...any)) {
	q, m := a.req, a.mark
	judge(claimState, m.state != "", "state is missing")
	if len(q.key) == 1 && readableKey(q.key[0]) && m.state != "" {
		judge(claimID, m.id == strings.Trim(q.key[0], `"`), "id is %q, the request's key is %s", m.id, q.key[0])
		if q.stamps != nil && q.certified == nil && a.problem.Code != "key-invalid" { // of what is no message nothing was understood
			judge(claimUntil, m.until == a.sent.until, "until is %d, the request's is %d", m.until, a.sent.until)
		}
	}
}

// auditProblem judges an answer that is no outcome by section 7, and by S10 where it is the server's own refusal for want of room.
func (t *trial) auditProblem(a *answer, judge func(claim, bool, string, ...any)) {
	p, state := a.problem, a.mark.state
	code, known := codes[p.Code]
	own := a.isDoc && known
	if a.status < http.StatusBadRequest || a.req.method == http.MethodHead ||
		!own && (state == stateNone || state == "") { // what the application says, passed on
		return
	}
	complete := a.isDoc && p.Type != nil && p.Title != nil && p.Status != nil && p.Detail != nil && p.Code != "" && p.Retryable != nil
	judge(claimProblem, complete, "the problem document is missing or lacks members")
	if !complete {
		return
	}
	judge(claimProblem, *p.Status == a.status && *p.Type == problemTypes+p.Code, "the problem's status is %d and its type %s", *p.Status, *p.Type)
	judge(claimCode, known && slices.Contains(code.statuses, a.status) && (code.state == "" || state == code.state),
		"the code %s goes with status %v and state=%s,", p.Code, code.statuses, code.state)
	title := t.audits.same("title of "+p.Code, *p.Title)
	judge(claimTitle, title == *p.Title, "the title of %s is %q, and was %q", p.Code, *p.Title, title)
	switch p.Code {
	case "quota", "overloaded", "storage-full":
		judge(claimOverload, a.header.Get(headerRetryAfter) != "" && state == stateNone, "there is no Retry-After, or another state")
	}
}

func readableKey(key string) bool {
	id := strings.TrimSuffix(strings.TrimPrefix(key, `"`), `"`)
	return len(id) > 0 && len(id) < 256 && !strings.ContainsAny(id, "\"\\,; ")
}

// auditFindings returns what was found about all answers.
func (r *run) auditFindings() []Finding {
	var all []Finding
	for _, c := range claimsOfAnswers {
		f := r.audits.finding(c, unseenClaims[c])
		if !r.certified {
			f = Finding{Rule: c.rule, Claim: c.text, Verdict: NotOffered, Why: r.lacks(needCertified)}
		}
		all = append(all, f)
	}
	return all
}

// unseenClaims say why they may not have been seen.
var unseenClaims = map[claim]string{
	claimReplayed: "there was no replay",
	claimMessage:  "no answer named a message URL",
	claimOverload: "the server was not overloaded, which is not tried",
}
