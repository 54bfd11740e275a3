package chttp_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/certifiedhttp/chttp"
)

// Header blocks of certified answers.
const (
	markedDone    = "Certified: v=1, id=\"{id}\", state=done, until={until}, now=@946684800, store=\"aaaa\", message=\"/.well-known/chttp/messages/AQE\"\r\nContent-Digest: {digest}\r\n"
	markedRunning = "Certified: v=1, id=\"{id}\", state=running, until={until}, store=\"aaaa\", message=\"/.well-known/chttp/messages/AQE\"\r\nRetry-After: 1\r\n"
	markedNone    = "Certified: v=1, id=\"{id}\", state=none, until={until}, now=@946694800, store=\"aaaa\"\r\n"
	markedRefused = "Certified: v=1, id=\"{id}\", state=refused\r\nContent-Type: application/problem+json\r\n"
	markedGone    = "Certified: v=1, id=\"{id}\", state=gone\r\n"
)

// answerSeeds are pairs of answers that lead to every end, and near misses.
var answerSeeds = []struct {
	flags         int
	first, second scripted
}{
	{0, scripted{200, markedDone, "done"}, scripted{500, "", ""}},
	{asParcel, scripted{422, markedDone, "no"}, scripted{500, "", ""}},
	{0, scripted{202, markedRunning, ""}, scripted{200, markedDone, "done at last"}},
	{0, scripted{503, markedNone, ""}, scripted{422, markedRefused, `{"code":"key-invalid"}`}},
	{0, scripted{422, markedRefused, `{"code":"key-reused"}`}, scripted{200, "", ""}},
	{asParcel, scripted{413, markedRefused, `{"code":"too-large"}`}, scripted{200, "", ""}},
	{0, scripted{410, markedGone, ""}, scripted{200, "", ""}},
	{0, scripted{200, strings.Replace(markedDone, "{id}", "another", 1), "another's"}, scripted{200, "", "plain"}},
	{0, scripted{200, strings.Replace(markedDone, "{digest}", "sha-256=:AAAA:", 1), "changed"}, scripted{200, "", "plain"}},
	{0, scripted{200, strings.Replace(markedDone, "{digest}", "md5=:AAAA:", 1), "by another sum"}, scripted{200, markedDone, "done"}},
	{0, scripted{200, strings.Replace(markedDone, "{digest}", "my-sha-256=:AAAA:", 1), "by a sum of nobody's"}, scripted{200, markedDone, "done"}},
	{0, scripted{200, strings.Replace(markedDone, "{digest}", "md5=:AAAA:;x=1, {digest}", 1), "by two"}, scripted{500, "", ""}},
	{0, scripted{200, strings.Replace(markedDone, "{digest}", "md5=:AAAA:\r\nContent-Digest: {digest}", 1), "in two lines"}, scripted{500, "", ""}},
	{0, scripted{200, "Content-Length: 9\r\n" + markedDone, "short"}, scripted{200, markedDone, "whole"}},
	{0, scripted{200, "Certified:\r\n" + markedRunning, "marked in the second line"}, scripted{200, markedDone, "done"}},
	{0, scripted{200, "Certified:\r\n", "an empty mark"}, scripted{200, markedDone, "done"}},
	{0, scripted{200, "Certified: v=2\r\n", "another version"}, scripted{200, "", "plain"}},
	{0, scripted{201, "", "plain"}, scripted{500, "", ""}},
	{asParcel, scripted{404, "", "plain"}, scripted{500, "", ""}},
	{0, scripted{409, "Retry-After: 3\r\n", ""}, scripted{409, "Content-Type: application/problem+json", `{"code":"in-progress"}`}},
	{0, scripted{409, "", "conflict"}, scripted{500, "", ""}},
	{0, scripted{503, "Retry-After: Sat, 01 Jan 2000 01:00:00 GMT\r\n", ""}, scripted{500, "Idempotent-Replayed: true\r\n", "replayed"}},
	{0, scripted{429, "Retry-After: 99999999999999999999\r\n", ""}, scripted{200, "", "too late"}},
	{0, scripted{308, "Location: /elsewhere?a=b\r\n", ""}, scripted{201, "", "there"}},
	{7 << flagBits, scripted{307, "Location: /a\r\n", ""}, scripted{307, "Location: ../b\r\n", ""}},
	{0, scripted{307, "Location: /elsewhere\r\n" + markedDone, "an outcome"}, scripted{500, "", ""}},
	{0, scripted{308, "Location: /elsewhere\r\n" + markedRunning, ""}, scripted{200, markedDone, "done"}},
	{asPlain, scripted{307, "Location: /elsewhere\r\n" + markedDone, ""}, scripted{201, "", "there"}},
	{0, scripted{307, "Location: http://evil.example/\r\n", ""}, scripted{200, "", ""}},
	{knownCertified, scripted{200, "", "stripped"}, scripted{200, "Certified: v=1\r\n", `{"versions":[1]}`}},
	{knownCertified, scripted{200, "", "stripped"}, scripted{200, "", "<html>"}},
	{knownCertified | asParcel | 3<<flagBits, scripted{404, "", "stripped"}, scripted{403, "", "stripped"}},
	{knownCertified, scripted{202, markedRunning, ""}, scripted{200, "", "stripped"}},
	{knownCertified, scripted{200, strings.Replace(markedDone, "aaaa", "bbbb", 1), "restored"}, scripted{500, "", ""}},
	{knownCertified, scripted{503, strings.Replace(markedNone, "aaaa", "bbbb", 1), "restored"}, scripted{500, "", ""}},
	{asPlain, scripted{200, markedRunning, "its marks do not count"}, scripted{500, "", ""}},
	{asPlain | asParcel, scripted{504, "", ""}, scripted{400, "", ""}},
	{0, scripted{200, strings.Replace(markedDone, "AQE", "../../../admin", 1), "a way out"}, scripted{500, "", ""}},
	{0, scripted{200, strings.Replace(markedDone, "/.well", "//evil.example/.well", 1), "a way out"}, scripted{200, markedDone, "done"}},
	{0, scripted{999, "", "x"}, scripted{0, "", ""}},
	{0, scripted{101, "Upgrade: x\r\n", ""}, scripted{204, "", "no content"}},
}

// FuzzAnswer has a peer answer a message with answers from the fuzzer and good ones after them. The message ends with the first that is its
// outcome by the rules (section 2, C4, C5) and with nothing else; until then every attempt is the same message (C1).
func FuzzAnswer(f *testing.F) {
	for _, s := range answerSeeds {
		f.Add(byte(s.flags), s.first.status, s.first.header, s.first.body, s.second.status, s.second.header, s.second.body)
	}
	f.Fuzz(func(t *testing.T, flags byte, status int, header, body string, status2 int, header2, body2 string) {
		if status < 0 || status2 < 0 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			second := scripted{status2, header2, body2}
			p := &scriptedPeer{script: []scripted{{status, header, body}, second}}
			for range flags >> flagBits & 7 {
				p.script = append(p.script, second)
			}
			e := p.receive(t, int(flags))
			o := &oracle{t: t, peer: p, plain: flags&asPlain != 0, parcel: flags&asParcel != 0, certified: flags&knownCertified != 0}
			o.compare(e, o.judge())
			o.sameMessage()
			o.onlyAcknowledgements()
			if t.Failed() {
				o.tell(e)
			}
		})
	})
}

// class is what an answer means to the message.
type class string

const (
	again   class = "again"   // it is no outcome
	final   class = "final"   // the response is the outcome
	refused class = "refused" // nothing was done by this attempt, and none is to follow
	unknown class = "unknown" // it may have had its effect, and none is to follow
	diverge class = "diverge" // our own id is known with another request: it parks
)

// oracle says what the rules make of a peer's answers, from what the peer has seen. It knows nothing of how the node decides.
type oracle struct {
	t         *testing.T
	peer      *scriptedPeer
	plain     bool
	parcel    bool
	certified bool       // the peer is known to be
	asked     string     // where the attempt went at first
	redirects int        // since
	unmarked  int        // answers without the mark from a peer known to be certified
	doubted   *exchanged // the last of them
	owed      bool       // the outcome is to be acknowledged
	resources []string   // message URLs that the peer has named
}

// judge returns what the last answer means. None before it may have been an end.
func (o *oracle) judge() (c class) {
	c = again
	for i, x := range o.peer.seen {
		if c = o.class(x, i); c != again && i < len(o.peer.seen)-1 {
			o.t.Errorf("answer %d is %s, and yet another request follows", i, c)
		}
	}
	return c
}

// class judges one exchange.
func (o *oracle) class(x *exchanged, i int) class {
	if o.redirects == 0 {
		o.asked = x.url
	}
	v, present := verdictOf(x)
	to := o.redirected(x)
	if v != nil && x.method != http.MethodGet && !o.plain {
		to = "" // A certified answer is followed by its state alone (section 2).
	}
	if to == "" || o.redirects == 4 {
		o.redirects = 0
	} else {
		o.redirects++
		if i+1 < len(o.peer.seen) && o.peer.seen[i+1].url != to {
			o.t.Errorf("answer %d redirects to %q, and the next request goes to %q", i, to, o.peer.seen[i+1].url)
		}
	}
	switch {
	case x.err != nil || to != "":
		return again
	case x.method == http.MethodGet:
		return o.probed(x, v)
	case o.plain:
		return plainClass(x)
	case v != nil:
		return o.followed(x, v, i > 0)
	case present:
		return again
	case o.certified:
		o.unmarked++
		o.doubted = x
		return again
	}
	return plainClass(x)
}

// followed follows the state of a certified answer.
func (o *oracle) followed(x *exchanged, v map[string]any, before bool) class {
	o.certified = o.certified || v["until"] != nil
	if m, _ := v["message"].(string); m != "" {
		o.resources = append(o.resources, m)
	}
	switch v["state"] {
	case httpsfv.Token("done"):
		o.owed = true
		return final
	case httpsfv.Token("gone"):
		return unknown
	case httpsfv.Token("refused"):
		switch {
		case problemCode(x) == "key-reused":
			return diverge
		case before:
			return unknown
		}
		return refused
	}
	return again
}

// probed judges the answer to the question whether the peer is certified still (C4).
func (o *oracle) probed(x *exchanged, v map[string]any) class {
	if o.doubted == nil {
		o.t.Errorf("a GET of %s, for no reason", x.url)
		return again
	}
	marked := v != nil
	if strings.HasSuffix(o.asked, "/.well-known/chttp") {
		var d struct {
			Versions []int `json:"versions"`
		}
		marked = json.Unmarshal([]byte(x.answer), &d) == nil && slices.Contains(d.Versions, 1) && x.res.StatusCode == 200
	} else if marked && v["state"] == httpsfv.Token("done") {
		o.owed = true
		return final
	}
	switch {
	case marked && o.unmarked >= 3 && !retried(o.doubted.res.StatusCode):
		return unknown
	case marked, retried(x.res.StatusCode):
		return again
	}
	return unknown
}

// redirected returns where a redirect within the authority leads.
func (o *oracle) redirected(x *exchanged) string {
	if x.err != nil || x.res.StatusCode != 307 && x.res.StatusCode != 308 || x.res.Header.Get("Location") == "" {
		return ""
	}
	r, err := http.NewRequest(http.MethodGet, x.url, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	to, err := r.URL.Parse(x.res.Header.Get("Location"))
	if err != nil || to.Scheme != "http" || to.Host != "peer.example" {
		return ""
	}
	return to.String()
}

// retried are the statuses of C5 that say: later.
func retried(status int) bool {
	return slices.Contains([]int{408, 425, 429, 500, 502, 503, 504}, status)
}

// plainClass is C5.
func plainClass(x *exchanged) class {
	s := x.res.StatusCode
	switch {
	case s >= 500 && x.res.Header.Get("Idempotent-Replayed") == "true":
		return final
	case retried(s), s == 409 && (saysWhen(x) || problemCode(x) == "in-progress"):
		return again
	}
	return final
}

// saysWhen tells whether there is a Retry-After that can be read.
func saysWhen(x *exchanged) bool {
	return slices.ContainsFunc(x.res.Header.Values("Retry-After"), func(line string) bool {
		line = strings.Trim(line, " \t")
		digits := strings.TrimPrefix(line, "-")
		_, err := http.ParseTime(line)
		return err == nil || digits != "" && strings.Trim(digits, "0123456789") == ""
	})
}

func problemCode(x *exchanged) string {
	var p struct{ Code string }
	media, _, err := mime.ParseMediaType(x.res.Header.Get("Content-Type"))
	if err != nil || media != "application/problem+json" || json.Unmarshal([]byte(x.answer), &p) != nil {
		return ""
	}
	return p.Code
}

// verdictOf returns the members of the Certified field of an answer that counts as certified (section 2), and whether there is such a field
// at all.
func verdictOf(x *exchanged) (members map[string]any, present bool) {
	if x.err != nil {
		return nil, false
	}
	lines := x.res.Header.Values("Certified")
	present = slices.ContainsFunc(lines, func(s string) bool { return s != "" })
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || !present {
		return nil, present
	}
	members = map[string]any{}
	for _, name := range d.Names() {
		m, _ := d.Get(name)
		item, _ := m.(httpsfv.Item)
		if members[name] = item.Value; !memberRight(name, item.Value) {
			return nil, true
		}
	}
	state, _ := members["state"].(httpsfv.Token)
	switch {
	case members["v"] != int64(1), members["id"] != x.id, !slices.Contains([]httpsfv.Token{"done", "running", "none", "refused", "gone"}, state):
		return nil, true
	case state == "done" && !digestRight(x):
		return nil, true
	}
	return members, true
}

// memberRight tells whether a member of a verdict is of its type; others are ignored.
func memberRight(name string, value any) bool {
	switch name {
	case "until", "now":
		at, ok := value.(time.Time)
		return ok && at.Unix() >= 1 && at.Unix() <= 253402300799
	case "id", "store", "message":
		s, ok := value.(string)
		visible := !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
		return ok && visible && (name != "message" || s == "" || strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//"))
	case "replayed":
		_, ok := value.(bool)
		return ok
	}
	return true
}

// digestRight tells whether the answer has a digest of its body that we know, and every one that we know is right.
func digestRight(x *exchanged) bool {
	d, err := httpsfv.UnmarshalDictionary(x.res.Header.Values("Content-Digest"))
	if err != nil {
		return false
	}
	s256, s512 := sha256.Sum256([]byte(x.answer)), sha512.Sum512([]byte(x.answer))
	known := false
	for _, name := range d.Names() {
		m, _ := d.Get(name)
		item, _ := m.(httpsfv.Item)
		sum, ok := item.Value.([]byte)
		switch name {
		case "sha-256":
			ok = ok && string(sum) == string(s256[:])
			known = true
		case "sha-512":
			ok = ok && string(sum) == string(s512[:])
			known = true
		}
		if !ok {
			return false
		}
	}
	return known
}

// compare checks that the message ended as the last answer says.
func (o *oracle) compare(e ending, want class) {
	o.t.Helper()
	last := &exchanged{}
	if n := len(o.peer.seen); n > 0 {
		last = o.peer.seen[n-1]
	}
	var ok bool
	switch maybe := errors.Is(e.err, chttp.ErrUnknownOutcome) && !errors.Is(e.err, chttp.ErrNotDone); want {
	case final:
		ok = e.status == last.res.StatusCode && (o.parcel || e.err == nil && e.body == last.answer)
		ok = ok && (!o.parcel || e.state == "answered" && e.status < 400 || e.state == "rejected" && e.status >= 400)
	case refused:
		ok = errors.Is(e.err, chttp.ErrNotDone) && (!o.parcel || e.state == "rejected")
	case unknown:
		ok = maybe && (!o.parcel || e.state == "unknown")
	case diverge:
		ok = e.state == "parked"
	case again:
		ok = maybe && e.took >= tried && (!o.parcel || e.state == "unknown") // Its until has passed.
	}
	if !ok {
		o.t.Errorf("by its answers it is %s", want)
	}
}

// sameMessage checks that every attempt is the same message (C1), and every question one about it.
func (o *oracle) sameMessage() {
	o.t.Helper()
	first := o.peer.seen[0]
	stamp := func(x *exchanged, name string) int64 { return (&sighting{header: x.header}).stamp(name) }
	var at int64
	for i, x := range o.peer.seen {
		switch {
		case x.method == http.MethodGet:
			if strings.HasPrefix(x.url, peerURL) || x.body != "" || x.header.Get("Idempotency-Key")+x.header.Get("Certified") != "" {
				o.t.Errorf("request %d: GET %s %v", i, x.url, x.header)
			}
			continue
		case x.method != first.method || x.body != "the message" || x.id != first.id:
			o.t.Errorf("request %d is another message: %s %q %q", i, x.method, x.id, x.body)
		case o.plain && x.header.Get("Idempotency-Key")+x.header.Get("Certified") != "":
			o.t.Errorf("request %d has a key: %v", i, x.header)
		case o.plain:
			continue
		case !goodID(x.id) || x.header.Get("Content-Digest") != digestOf(x.body):
			o.t.Errorf("request %d has the id %q and %v", i, x.id, x.header)
		case stamp(x, "sent") != stamp(first, "sent") || stamp(x, "until") != stamp(first, "until"):
			o.t.Errorf("request %d is stamped %s", i, x.header.Get("Certified"))
		case stamp(x, "at") < max(at, stamp(x, "sent")) || stamp(x, "at") > stamp(x, "until"):
			o.t.Errorf("request %d is stamped %s after at=%d", i, x.header.Get("Certified"), at)
		}
		at = stamp(x, "at")
	}
}

// onlyAcknowledgements checks that nothing was sent beside the message but the acknowledgement of its outcome, to where the peer said, which is
// a message URL.
func (o *oracle) onlyAcknowledgements() {
	o.t.Helper()
	for _, x := range o.peer.acks {
		u, err := url.Parse(x.url)
		if err != nil || u.Host != "peer.example" || path.Dir(u.Path) != "/.well-known/chttp/messages" || !slices.Contains(o.resources, u.Path) {
			o.t.Errorf("%s %s, of %q", x.method, x.url, o.resources)
		}
		if x.method != http.MethodDelete || !o.owed {
			o.t.Errorf("%s %s, and there is nothing to acknowledge", x.method, x.url)
		}
	}
}

// tell shows what happened.
func (o *oracle) tell(e ending) {
	for i, x := range o.peer.seen {
		answer := fmt.Sprint(x.err)
		if x.err == nil {
			answer = fmt.Sprintf("%d %v %.200q", x.res.StatusCode, x.res.Header, x.answer)
		}
		o.t.Logf("%d: %s %s %s\n   %s", i, x.method, x.url, x.header.Get("Certified"), answer)
	}
	o.t.Logf("it is %s after %v: %d %q %v", e.state, e.took, e.status, e.body, e.err)
}
