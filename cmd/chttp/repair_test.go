package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// newFile makes a node's file that holds b, and returns its path.
func newFile(t *testing.T, b *store.Batch) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.db")
	st, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := commit(t.Context(), st, b); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResumeEndsThePauseAndKeepsWhatElseIsKnownOfThePeer(t *testing.T) {
	const peer = "https://bank.example"
	path := newFile(t, &store.Batch{Now: 1, Facts: []store.Fact{
		{Name: peerFact + peer, Value: []byte(`{"certified":true,"store":"abcd","paused":"its store changed"}`)},
	}})
	if got := run([]string{"resume", peer, "--db", path}); got != exitOK {
		t.Fatalf("status %d, want %d", got, exitOK)
	}
	if got := run([]string{"resume", peer, "--db", path}); got != exitFailed {
		t.Errorf("a peer that is not paused: status %d, want %d", got, exitFailed)
	}
	st, err := sqlitestore.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	facts, err := st.Facts(t.Context())
	if err != nil || len(facts) != 1 {
		t.Fatalf("got %v, %v, want one fact", facts, err)
	}
	got := string(facts[0].Value)
	if strings.Contains(got, "paused") || strings.Contains(got, "certified") || !strings.Contains(got, `"store":"abcd"`) {
		t.Errorf("got %s, want it of store abcd, not paused, and certified only when it says so again", got)
	}
}

func TestRetryLetsWhatIsParkedGoOn(t *testing.T) {
	path := newFile(t, &store.Batch{Now: 1, Changes: []store.Change{{
		Key: store.Key{ID: "order-42"}, Run: 1, Version: 1, Function: "buy", Created: 1, State: store.Parked, Head: []byte{1}, Tail: []byte{1},
	}}})
	if got := run([]string{"retry", "order-42", "--db", path}); got != exitOK {
		t.Fatalf("status %d, want %d", got, exitOK)
	}
	st, err := sqlitestore.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r, err := st.Read(t.Context(), store.Key{ID: "order-42"})
	if err != nil || r.State != store.Running || r.Version != 2 {
		t.Errorf("got %+v, %v, want it running at version 2", r, err)
	}
}
