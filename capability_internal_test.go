package chttp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/store"
)

var someSecret = bytes.Repeat([]byte{7}, 32)

func TestAMessageURLLeadsBackToItsMessage(t *testing.T) {
	c := newCapabilities(someSecret)
	for _, k := range []store.Key{
		{Scope: "bank alice", ID: "a1"}, {ID: "a1"}, {Scope: "s"}, {}, {Scope: strings.Repeat("s", 1000), ID: strings.Repeat("i", maxID)}, {Scope: "\x00\xff", ID: "a"},
	} {
		path := c.messageURL(k)
		if got, ok := c.parse(path); !ok || got != k {
			t.Errorf("of %q: got %q, %v", k, got, ok)
		}
		if got, ok := newCapabilities(someSecret).parse(path); !ok || got != k {
			t.Errorf("after a restart, of %q: got %q, %v", k, got, ok)
		}
		if !plain(path) || !isPath(path) {
			t.Errorf("%q cannot stand in Certified", path)
		}
	}
}

func TestMessageURLsStayWhatPeersHold(t *testing.T) {
	got := newCapabilities(someSecret).messageURL(store.Key{Scope: "bank", ID: "a1"})
	if want := "/.well-known/chttp/messages/AQExfXgllfILh17tIpy71HxvBGJhbmthMQ"; got != want {
		t.Errorf("got %s, want %s: URLs already given out would lead nowhere", got, want)
	}
}

func TestNoOtherPathIsAMessageURL(t *testing.T) {
	c := newCapabilities(someSecret)
	path := c.messageURL(store.Key{Scope: "bank", ID: "a1"})
	token := strings.TrimPrefix(path, prefixOfMessage)
	for i := range len(path) {
		for _, with := range []byte{'A', 'B', '_', '/', '\n', 0} {
			other := []byte(path)
			if other[i] == with {
				continue
			}
			other[i] = with
			if k, ok := c.parse(string(other)); ok {
				t.Fatalf("%q, changed at %d, leads to %q", other, i, k)
			}
		}
		if k, ok := c.parse(path[:i]); ok {
			t.Fatalf("%q, cut at %d, leads to %q", path, i, k)
		}
	}
	for _, other := range []string{
		path + "A", path + "=", path + "/", path + "\n", path + "?x", token, "/" + token, prefixOfMessage, prefixOfMessage + "/" + token,
		prefixOfMessage + "\n" + token, prefixOfMessage + strings.Repeat("A", 1<<20),
	} {
		if k, ok := c.parse(other); ok {
			t.Errorf("%.80q leads to %q", other, k)
		}
	}
}

func TestAnotherStoreCannotMakeAMessageURL(t *testing.T) {
	path := newCapabilities(bytes.Repeat([]byte{8}, 32)).messageURL(store.Key{Scope: "bank", ID: "a1"})
	if k, ok := newCapabilities(someSecret).parse(path); ok {
		t.Errorf("it leads to %q", k)
	}
}

func TestScopeAndIDDoNotRunTogetherInAMessageURL(t *testing.T) {
	c := newCapabilities(someSecret)
	if c.messageURL(store.Key{Scope: "ab", ID: "c"}) == c.messageURL(store.Key{Scope: "a", ID: "bc"}) {
		t.Error("two messages have one URL")
	}
}

func FuzzParseMessageURL(f *testing.F) {
	c := newCapabilities(someSecret)
	f.Add(c.messageURL(store.Key{Scope: "bank", ID: "a1"}))
	f.Add(prefixOfMessage + "AQE")
	f.Fuzz(func(t *testing.T, path string) {
		if k, ok := c.parse(path); ok && c.messageURL(k) != path {
			t.Fatalf("%q leads to %q, whose URL is another", path, k)
		}
	})
}

func FuzzMessageURL(f *testing.F) {
	c := newCapabilities(someSecret)
	f.Add("bank", "a1")
	f.Fuzz(func(t *testing.T, scope, id string) {
		k := store.Key{Scope: scope, ID: id}
		path := c.messageURL(k)
		got, ok := c.parse(path)
		if tooLong := len(path) > len(prefixOfMessage)+maxToken; ok == tooLong || ok && got != k {
			t.Fatalf("of %q: got %q, %v", k, got, ok)
		}
	})
}

func BenchmarkMessageURL(b *testing.B) {
	c, k := newCapabilities(someSecret), store.Key{Scope: "bank alice", ID: "0192f0c1-7b3a-7c00-8000-000000000000"}
	b.ReportAllocs()
	for b.Loop() {
		c.messageURL(k)
	}
}

// TestAMessageURLOfAPeerLeadsNowhereElse keeps a peer from having us DELETE, or GET, what is none of its messages.
func TestAMessageURLOfAPeerLeadsNowhereElse(t *testing.T) {
	for path, want := range map[string]bool{
		prefixOfMessage + "AQE_-":          true,
		prefixOfMessage + "a.b":            true,
		prefixOfMessage:                    false,
		prefixOfMessage + "../../../x":     false,
		prefixOfMessage + "..":             false,
		prefixOfMessage + "%2e%2e":         false,
		prefixOfMessage + "a/b":            false,
		prefixOfMessage + "a?b":            false,
		prefixOfMessage + "a#b":            false,
		"/admin":                           false,
		"//evil.example" + prefixOfMessage: false,
	} {
		if got := isMessageURL(path); got != want {
			t.Errorf("isMessageURL(%q): got %v", path, got)
		}
	}
}
