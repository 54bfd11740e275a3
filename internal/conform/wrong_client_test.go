package conform_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/certifiedhttp/chttp/internal/conform"
)

// faults are what can be wrong with a simpleClient.
type faults struct {
	newID, otherBody, lowersAt, movesUntil, noDigest, compresses, bareKey  bool
	givesUp, hastens, hammers, hedges                                      bool
	believesStatus, believesAnyDigest, believesAnyID, retriesFinal         bool
	believesUnmarked, insists, ignoresStore, ignoresClock                  bool
	acksEarly, acksSmall, acksElsewhere, retries400, followsAnywhere, lazy bool
	mortal, resends, believesNone, believesRunning503, retriesGone         bool
	believesGateway, believes503, believes409, believesInProgress, stays   bool
	retries409, retriesReplayed                                            bool
}

// A wrongClient has one fault.
type wrongClient struct {
	name   string
	want   string // the rules that fail
	faults faults
}

var wrongClients = []wrongClient{
	{"none", "", faults{}},
	{"never acknowledges, which is never needed", "", faults{lazy: true}},
	{"makes up a new id for a retry", "C1", faults{newID: true}},
	{"sends other bytes in a retry", "C1", faults{otherBody: true}},
	{"lowers at", "C8", faults{lowersAt: true}},
	{"moves until", "§1", faults{movesUntil: true}},
	{"sends no digest", "§1", faults{noDigest: true}},
	{"accepts compressed answers", "§1", faults{compresses: true}},
	{"sends bare keys to certified peers", "§1", faults{bareKey: true}},
	{"gives up when there is no answer", "§2 C2 C5", faults{givesUp: true}},
	{"does not read Retry-After", "C2", faults{hastens: true}},
	{"sends a second copy when the first takes long", "C2", faults{hedges: true}},
	{"goes by the status", "§2 C8", faults{believesStatus: true}},
	{"does not compare digests", "§2 A1", faults{believesAnyDigest: true}},
	{"does not compare ids", "§2 A1", faults{believesAnyID: true}},
	{"sends again what was refused", "§2", faults{retriesFinal: true}},
	{"takes an unmarked answer for an outcome", "C4", faults{believesUnmarked: true}},
	{"sends on to a peer that is certified no more", "C4", faults{insists: true}},
	{"does not mind another store", "S13", faults{ignoresStore: true}},
	{"trusts its own clock", "C8", faults{ignoresClock: true}},
	{"acknowledges what runs", "A1", faults{acksEarly: true}},
	{"acknowledges with an at that is too small", "A5", faults{acksSmall: true}},
	{"has acknowledgements ride anywhere", "A1", faults{acksElsewhere: true}},
	{"retries what a plain peer rejects", "C5", faults{retries400: true}},
	{"follows redirections to anywhere", "C5", faults{followsAnywhere: true}},
	{"sends on after until", "C2", faults{mortal: true}},
	{"sends again what is done", "§2 C5", faults{resends: true}},
	{"takes none for the end", "§2 C8", faults{believesNone: true}},
	{"takes 503 for an end that it is not", "§2", faults{believesRunning503: true}},
	{"sends again what is gone", "§2", faults{retriesGone: true}},
	{"takes a gateway's answer for its server's", "C4", faults{believesGateway: true}},
	{"takes a plain 503 for the end", "C5", faults{believes503: true}},
	{"takes every 409 for the end", "C5", faults{believes409: true}},
	{"does not read problem documents", "C5", faults{believesInProgress: true}},
	{"follows no redirection", "C5", faults{stays: true}},
	{"takes every 409 for a pause", "C5", faults{retries409: true}},
	{"does not see that a plain answer is a replay", "C5", faults{retriesReplayed: true}},
}

func TestAWrongClientBreaksTheRuleThatItBreaks(t *testing.T) {
	t.Parallel()
	reports := make([]chan *conform.Report, len(wrongClients))
	atOnce := make(chan struct{}, 12) // they mostly wait
	for i, tt := range wrongClients {
		reports[i] = make(chan *conform.Report, 1)
		go func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			o := conform.ListenOptions{Quiet: 2 * time.Second, Patience: 6 * time.Second}
			reports[i] <- judge(t, o, func(ctx context.Context, places []conform.Place) {
				var all sync.WaitGroup
				c := &simpleClient{faults: tt.faults}
				for k, p := range places {
					all.Go(func() { c.send(ctx, p.URL, fmt.Sprintf(`{"message":%d}`, k)) })
				}
				all.Wait()
				c.send(ctx, places[0].URL, "the last") // has an acknowledgement ride
			})
		}()
	}
	seen := map[string]bool{}
	for i, tt := range wrongClients {
		t.Run(tt.name, func(t *testing.T) {
			rep := <-reports[i]
			note(seen, rep)
			if got := verdicts(rep, conform.Fail); got != tt.want {
				t.Errorf("broken are %q, want %q", got, tt.want)
				tell(t, rep)
			}
			for _, f := range failures(rep) {
				if f.Why == "" || f.Seen == "" {
					t.Errorf("%s fails without a reason and what was seen: %+v", f.Rule, f)
				}
			}
			if acks := verdicts(rep, conform.NotSeen); tt.faults.lazy && !strings.Contains(acks, "A1 A5") {
				t.Errorf("not seen are %s, want A1 and A5 among them", acks)
			}
		})
	}
	everyClaimFailed(t, seen, "C2 attempts do not follow each other without a pause") // the next test
}

// A hot loop is seen where answers come fast enough for it to be one: on a busy machine, not at the first try.
func TestAClientThatDoesNotPauseBreaksC2(t *testing.T) {
	for range 20 {
		places, over, stop := listen(t, conform.ListenOptions{Rules: []string{"C2"}})
		i := slices.IndexFunc(places, func(p conform.Place) bool { return strings.HasSuffix(p.URL, "/none") })
		(&simpleClient{faults: faults{hammers: true}}).send(t.Context(), places[i].URL, "quick")
		stop()
		if verdicts(<-over, conform.Fail) == "C2" {
			return
		}
	}
	t.Error("never seen")
}

// simpleClient is about as small as a certified client can be. Its store is its memory.
type simpleClient struct {
	faults

	mu   sync.Mutex        // guards what follows
	acks map[string]string // by URL, what the next request there acknowledges
}

// sending is a message on its way.
type sending struct {
	*simpleClient
	url, target     *url.URL
	id, body        string
	sent, at, until int64
	tries           int
	certified       bool
	store, resource string
	offset          int64
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (c *simpleClient) send(ctx context.Context, target, body string) {
	now := time.Now().Unix()
	m := &sending{simpleClient: c, id: rand.Text(), body: body, sent: now, until: now + 86400}
	if m.mortal {
		m.until = now + 1
	}
	m.url, _ = url.Parse(target)
	m.target = m.url
	for ctx.Err() == nil {
		r := m.attempt(ctx)
		wait, over := m.judge(ctx, r)
		if over {
			return
		}
		m.tries++
		pause := wait + time.Duration(50<<min(m.tries, 6))*time.Millisecond
		if m.hammers && wait == 0 {
			pause = 0
		}
		if m.hastens {
			pause = 60 * time.Millisecond
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// attempt sends the message once; nil is no answer, or not a whole one.
func (m *sending) attempt(ctx context.Context) *reply {
	if m.newID && m.tries > 0 {
		m.id = rand.Text()
	}
	body := m.body
	if m.otherBody && m.tries > 0 {
		body += " "
	}
	at := time.Now().Unix() + m.offset
	if m.lowersAt {
		at = m.sent + max(5-int64(m.tries), 0)
	} else {
		at = min(max(at, m.at), m.until)
	}
	m.at = max(m.at, at)
	if m.movesUntil && m.tries > 0 {
		m.until++
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.target.String(), strings.NewReader(body))
	if err != nil {
		return nil
	}
	req.GetBody = nil
	h := req.Header
	h.Set("Idempotency-Key", m.id)
	if m.certified && !m.bareKey {
		h.Set("Idempotency-Key", `"`+m.id+`"`)
	}
	h.Set("Certified", fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", m.sent, at, m.until))
	h.Set("Accept-Encoding", "identity")
	if m.compresses {
		h.Set("Accept-Encoding", "gzip")
	}
	if !m.noDigest {
		h.Set("Content-Digest", sum([]byte(body)))
	}
	m.mu.Lock()
	for to, ack := range m.acks {
		if to == m.target.String() || m.acksElsewhere && strings.HasPrefix(to, m.target.Scheme+"://"+m.target.Host) {
			h.Set("Certified-Ack", ack)
			delete(m.acks, to)
		}
	}
	m.mu.Unlock()
	if m.hedges && strings.HasSuffix(m.url.Path, "/slow") {
		return m.hedged(req, body)
	}
	return exchange(req)
}

// hedged sends a second copy when the first takes long.
func (m *sending) hedged(req *http.Request, body string) *reply {
	first := make(chan *reply, 1)
	go func() { first <- exchange(req) }()
	select {
	case r := <-first:
		return r
	case <-time.After(300 * time.Millisecond):
	}
	second := req.Clone(req.Context())
	second.Body = io.NopCloser(strings.NewReader(body))
	r := exchange(second)
	<-first
	return r
}

func exchange(req *http.Request) *reply {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil
	}
	return &reply{status: res.StatusCode, header: res.Header, body: body}
}

func sum(body []byte) string {
	s := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(s[:]) + ":"
}

// judge says how long to wait for the next attempt, or that there is none.
func (m *sending) judge(ctx context.Context, r *reply) (time.Duration, bool) {
	if r == nil {
		return 0, m.givesUp
	}
	if m.believesStatus {
		m.certified = m.certified || r.header.Get("Certified") != ""
		return m.plain(r)
	}
	mark, _ := httpsfv.UnmarshalDictionary(r.header.Values("Certified"))
	switch {
	case r.header.Get("Certified") == "" && m.certified && m.believesUnmarked:
		return 0, r.status/100 == 2
	case r.header.Get("Certified") == "" && m.certified && m.believesGateway && r.status == http.StatusBadGateway:
		return 0, true
	case r.header.Get("Certified") == "" && m.certified:
		return m.unmarked(ctx, r)
	case r.header.Get("Certified") == "":
		return m.plain(r)
	case member(mark, "id") != m.id && !m.believesAnyID:
		return 0, false
	case member(mark, "state") == "done" && r.header.Get("Content-Digest") != sum(r.body) && !m.believesAnyDigest:
		return 0, false
	}
	return m.follow(ctx, r, mark)
}

func member(d *httpsfv.Dictionary, name string) string {
	v, _ := d.Get(name)
	item, _ := v.(httpsfv.Item)
	switch v := item.Value.(type) {
	case time.Time:
		return fmt.Sprint(v.Unix())
	case nil:
		return ""
	default:
		return fmt.Sprint(v)
	}
}

// follow does what the state says.
func (m *sending) follow(ctx context.Context, r *reply, mark *httpsfv.Dictionary) (time.Duration, bool) {
	m.certified = m.certified || member(mark, "until") != ""
	if s := member(mark, "store"); m.store != "" && s != m.store && !m.ignoresStore {
		return 0, true
	} else {
		m.store = s
	}
	if now, err := strconv.ParseInt(member(mark, "now"), 10, 64); err == nil && !m.ignoresClock {
		m.offset = now - time.Now().Unix()
	}
	if to := member(mark, "message"); to != "" {
		m.resource = to
	}
	switch member(mark, "state") {
	case "done":
		m.acknowledge(ctx)
		return 0, !m.resends
	case "gone":
		return 0, !m.retriesGone
	case "none":
		return wait(r), m.believesNone
	case "refused":
		return 0, !m.retriesFinal
	case "running":
		if m.acksEarly {
			m.acknowledge(ctx)
		}
		if m.believesRunning503 && r.status == http.StatusServiceUnavailable {
			return 0, true
		}
	}
	return wait(r), false
}

func wait(r *reply) time.Duration {
	v := r.header.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return time.Until(t)
	}
	return 0
}

// unmarked judges an answer without Certified from a certified peer.
func (m *sending) unmarked(ctx context.Context, r *reply) (time.Duration, bool) {
	if r.status/100 != 2 || m.insists {
		return time.Second, false
	}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, m.target.Scheme+"://"+m.target.Host+m.resource, nil)
	got := exchange(req)
	return 0, got != nil && got.header.Get("Certified") == ""
}

// plain judges an answer by its status.
func (m *sending) plain(r *reply) (time.Duration, bool) {
	switch {
	case r.status == http.StatusTemporaryRedirect:
		to, err := m.target.Parse(r.header.Get("Location"))
		if err != nil || m.stays || to.Host != m.target.Host && !m.followsAnywhere {
			return 0, true
		}
		m.target = to
		return 0, false
	case r.status >= 500 && r.header.Get("Idempotent-Replayed") == "true":
		return 0, !m.retriesReplayed
	case r.status == http.StatusServiceUnavailable && m.believes503, r.status == http.StatusConflict && m.believes409:
		return 0, true
	case r.status == http.StatusConflict && m.retries409:
		return wait(r), false
	case r.status/100 == 2 && m.resends:
		return 0, false
	case r.status == http.StatusBadRequest && m.retries400:
		return 0, false
	case r.status == http.StatusConflict:
		var p struct{ Code string }
		_ = json.Unmarshal(r.body, &p)
		return wait(r), r.header.Get("Retry-After") == "" && (p.Code != "in-progress" || m.believesInProgress)
	}
	return wait(r), !slices.Contains([]int{408, 425, 429, 500, 502, 503, 504}, r.status)
}

// acknowledge says that the outcome is kept: every other one rides, if there is another request, the others go by themselves.
func (m *sending) acknowledge(ctx context.Context) {
	at := m.at
	if m.acksSmall {
		at -= 2
	}
	if m.lazy {
		return
	}
	if strings.HasSuffix(m.url.Path, "/done") || m.acksElsewhere && strings.HasSuffix(m.url.Path, "/none-200") {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.acks == nil {
			m.acks = map[string]string{}
		}
		m.acks[m.url.String()] = fmt.Sprintf(`"%s";at=@%d`, m.id, at)
		return
	}
	base := m.target.Scheme + "://" + m.target.Host
	req, _ := http.NewRequestWithContext(ctx, http.MethodDelete, base+m.resource, nil)
	req.Header.Set("Certified", fmt.Sprintf("v=1, at=@%d", at))
	if strings.HasSuffix(m.url.Path, "/slow") {
		bulk := fmt.Appendf(nil, `{"acks":[{"message":%q,"at":%d}]}`, m.resource, at)
		req, _ = http.NewRequestWithContext(ctx, http.MethodPost, base+"/.well-known/chttp/acks", bytes.NewReader(bulk))
	}
	exchange(req)
}
