package chttp_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// standing is a message that a shop has from somebody, and what it answers about it.
type standing struct {
	name   string // what stands for its URL, in braces
	as     string
	raw    []byte
	url    string
	before *wireReply
}

// stands makes the messages of a shop: one in each state, and another caller's.
func (s *shop) stands() []*standing {
	s.t.Helper()
	list := []*standing{
		{name: "{done}", as: "ann", raw: rawRequest("POST", "/orders", "Idempotency-Key: \"a-done\"\r\n"+stampsAt, []byte("secret of ann"))},
		{name: "{plain}", as: "ann", raw: rawRequest("POST", "/orders", "Idempotency-Key: a-plain", []byte("secret of ann's too"))},
		{name: "{bobs}", as: "bob", raw: rawRequest("POST", "/orders", "Idempotency-Key: \"b-done\"\r\n"+stampsAt, []byte("secret of bob"))},
		{name: "{running}", as: "ann", raw: rawRequest("POST", "/slow", "Prefer: respond-async\r\nIdempotency-Key: \"a-slow\"\r\n"+stampsAt, nil)},
		{name: "{parked}", as: "ann", raw: rawRequest("POST", "/fragile/panic", "Idempotency-Key: \"a-parked\"\r\n"+stampsAt, nil)},
		{name: "{gone}", as: "ann", raw: rawRequest("POST", "/orders", "Idempotency-Key: \"a-gone\"\r\n"+stampsAt, []byte("forgotten"))},
	}
	for _, m := range list {
		m.before = s.ask(m.as, m.raw)
		if m.url = m.before.member("message"); m.url == "" && m.name != "{parked}" {
			s.t.Fatalf("%s has no URL: %d %v", m.name, m.before.status, m.before.header)
		}
	}
	gone := list[len(list)-1]
	s.ask("ann", rawRequest("DELETE", gone.url, "", nil))
	gone.before = s.ask(gone.as, gone.raw)
	return list
}

// unchanged checks that nothing became of the message but what the request can have done, which was able to name those that it said.
func (m *standing) unchanged(t *testing.T, s *shop, method, input string) {
	t.Helper()
	now := s.ask(m.as, m.raw)
	named := m.url != "" && strings.Contains(input, m.url)
	finished := m.before.state == "done"
	switch {
	case finished && named && now.state == "gone" && (method == "DELETE" || method == "POST"):
	case finished:
		now.done(t, m.before.status, m.before.body, true)
		now.same(t, m.before.reply)
	case now.state != m.before.state || now.status != m.before.status || now.code != m.before.code:
		t.Errorf("%s was %d %s %s and is %d %s %s", m.name, m.before.status, m.before.state, m.before.code, now.status, now.state, now.code)
	}
}

// FuzzWellKnown sends a request to a server that has messages in every state, from somebody whose they are not. He sees and changes only
// those whose URLs he was given (section 2, A3), and those only as section 4 says.
func FuzzWellKnown(f *testing.F) {
	for _, s := range [][4]string{
		{"GET", "/.well-known/chttp", "", ""},
		{"POST", "/.well-known/chttp", "", ""},
		{"GET", "{done}", "", ""},
		{"HEAD", "{plain}", "", ""},
		{"GET", "{bobs}", "", ""},
		{"GET", "{running}", "", ""},
		{"GET", "{gone}", "", ""},
		{"DELETE", "{done}", "Certified: v=1, at=@946684800", ""},
		{"DELETE", "{done}", "Certified: v=1, at=@99999999999", ""},
		{"DELETE", "{plain}", "Certified: at=@x", ""},
		{"DELETE", "{running}", "", ""},
		{"DELETE", "{gone}", "", ""},
		{"PATCH", "{done}", "", ""},
		{"GET", "{done}?query#a", "", ""},
		{"DELETE", "{done}A", "", ""},
		{"GET", "/.well-known/chttp/messages/", "", ""},
		{"DELETE", "/.well-known/chttp/messages/AQEeToKxWzBxrhvjuLEV_ew2CGJhbmsvYW5ub3JkZXItNDI", "", ""},
		{"POST", "/.well-known/chttp/acks", "Content-Type: application/json", `{"acks":[{"message":"{done}","at":946684800},{"message":"{bobs}"},{"message":"/.well-known/chttp/messages/x"}]}`},
		{"POST", "/.well-known/chttp/acks", "", `{"acks":[{"message":"{running}"},{"message":"{gone}","at":1}]}`},
		{"POST", "/.well-known/chttp/acks", "", `{"acks":[{"message":"/.well-known/chttp/messages/x"},{"message":""}]}`},
		{"POST", "/.well-known/chttp/acks", "", `{"acks":null}`},
		{"POST", "/.well-known/chttp/acks", "", `{"acks":[{"message":"{done}","at":-1}]}`},
		{"POST", "/.well-known/chttp/acks", "", strings.Repeat(" ", 100) + "[]"},
		{"GET", "/.well-known/chttp/acks", "", ""},
		{"POST", "/orders", "Idempotency-Key: \"a-done\"\r\nCertified-Ack: \"a-done\", \"b-done\"\r\n" + stampsAt, "secret of ann"},
		{"POST", "/orders/../.well-known/chttp/acks", "", ""},
		{"GET", "/%2ewell-known/chttp/messages/x", "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, method, target, header, body string) {
		if strings.ContainsAny(method+target, "\r\n") {
			return // several requests
		}
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t)
			all := s.stands()
			var pairs []string
			for _, m := range all {
				pairs = append(pairs, m.name, m.url)
			}
			fill := strings.NewReplacer(pairs...).Replace
			target, header, body := fill(target), fill(header), fill(body)
			runs := s.ran()
			got := s.ask("eve", rawRequest(method, target, header, []byte(body)))
			if got.asked != nil && isWellKnown(got.asked) && s.ran() > runs {
				t.Error("the application ran")
			}
			for _, m := range all {
				m.unchanged(t, s, method, target+header+body)
				m.hidden(t, got, target)
			}
			for _, m := range all {
				m.acknowledged(t, s, method, target, got)
			}
		})
	})
}

// hidden checks that the answer tells nothing of the message unless it was asked for by its URL, and then what its sender is told.
func (m *standing) hidden(t *testing.T, got *wireReply, target string) {
	t.Helper()
	secret := m.before.body
	if m.before.state != "done" {
		return
	}
	switch asked := got.asked != nil && got.asked.URL.Path == m.url; {
	case !asked && strings.Contains(got.body, secret):
		t.Errorf("%s is shown to whoever asks for %q", m.name, target)
	case asked && got.asked.Method == "GET":
		got.done(t, m.before.status, secret, true)
		got.same(t, m.before.reply)
		if got.member("message") != m.url || got.member("until") != m.before.member("until") {
			t.Errorf("got %s, of %s", got.header.Get("Certified"), m.before.header.Get("Certified"))
		}
	}
}

// acknowledged checks the answer to a DELETE of the message's URL (A3).
func (m *standing) acknowledged(t *testing.T, s *shop, method, target string, got *wireReply) {
	t.Helper()
	if method != http.MethodDelete || target != m.url || got.asked == nil || got.code == "certified-invalid" {
		return
	}
	want, left := http.StatusNoContent, "gone"
	if m.before.state == "running" {
		want, left = http.StatusConflict, "running"
	}
	if now := s.ask(m.as, m.raw); got.status != want || now.state != left {
		t.Errorf("DELETE %s: %d, and then it is %s; want %d, %s", m.name, got.status, now.state, want, left)
	}
}
