package chttp

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestFingerprintsStayWhatStoresHold(t *testing.T) {
	got := hex.EncodeToString(fingerprint("POST", "/pay", "a=1", "application/json", "", []byte("{}")))
	if want := "df8d86636a481028de63914f245594f0d8f9fc43b014795908d1fda72fcf4a38"; got != want {
		t.Errorf("got %s, want %s: requests already recorded would be taken for others", got, want)
	}
}

func TestEveryPartOfARequestCountsInItsFingerprint(t *testing.T) {
	seen := map[string]int{}
	for i, parts := range [][6]string{
		{"POST", "/a", "b", "c", "d", "e"},
		{"PUT", "/a", "b", "c", "d", "e"},
		{"POST", "/", "b", "c", "d", "e"},
		{"POST", "/a", "", "c", "d", "e"},
		{"POST", "/a", "b", "", "d", "e"},
		{"POST", "/a", "b", "c", "", "e"},
		{"POST", "/a", "b", "c", "d", ""},
		{"POST", "/ab", "", "c", "d", "e"},
		{"POST", "/a", "bc", "", "d", "e"},
		{"POST", "/a", "b", "", "cd", "e"},
		{"POST", "/a", "b", "c", "", "de"},
		{"", "POST/a", "b", "c", "d", "e"},
		{},
	} {
		print := string(fingerprint(parts[0], parts[1], parts[2], parts[3], parts[4], []byte(parts[5])))
		if before, ok := seen[print]; ok {
			t.Errorf("requests %d and %d have the same fingerprint", before, i)
		}
		seen[print] = i
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("POST", "/a", "b", "c", "d", []byte("e"))
	f.Fuzz(func(t *testing.T, method, path, query, contentType, contentEncoding string, body []byte) {
		print := fingerprint(method, path, query, contentType, contentEncoding, body)
		if !bytes.Equal(print, fingerprint(method, path, query, contentType, contentEncoding, body)) {
			t.Fatal("the same request has two fingerprints")
		}
		if query == "" {
			return
		}
		// A byte that moves to the neighbour makes another request.
		path, query = path+query[:1], query[1:]
		if bytes.Equal(print, fingerprint(method, path, query, contentType, contentEncoding, body)) {
			t.Fatal("two requests have the same fingerprint")
		}
	})
}

func BenchmarkFingerprint(b *testing.B) {
	body := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		fingerprint("POST", "/accounts/5/pay", "", "application/json", "", body)
	}
}
