package lost_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/chttptest"
	"github.com/certifiedhttp/chttp/examples/lost"
)

var ann = lost.Trip{Traveller: "Ann", From: "Basel", To: "Zurich"}

// world is the bank, in memory.
func world() *chttptest.Options {
	return &chttptest.Options{Peers: []chttptest.Peer{{
		Host:    "bank.example",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }),
	}}}
}

// TestBookRightResumes is all that it takes to prove a function.
func TestBookRightResumes(t *testing.T) {
	chttptest.Resumes(t, lost.BookRight, ann, world())
}

// TestBookDoesNotResume shows what such a test says of Book.
func TestBookDoesNotResume(t *testing.T) {
	said := &failure{T: t}
	chttptest.Resumes(said, lost.Book, ann, world())
	for _, want := range []string{
		"lost.go:", `step "fare"`, "POST http://bank.example/payments", `{"amount":96,"from":"Ann"}`, `{"amount":0,"from":"Ann"}`,
	} {
		if !strings.Contains(said.text, want) {
			t.Errorf("the failure does not say %s:\n%s", want, said.text)
		}
	}
	t.Log(said.text)
}

// failure is a test that keeps what it is told, instead of failing.
type failure struct {
	*testing.T
	text string
}

func (f *failure) Error(args ...any) { f.text += fmt.Sprintln(args...) }
