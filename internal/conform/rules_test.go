package conform_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/internal/conform"
)

// Where the protocol gets a rule, this list gets one too, were it only to say that it cannot be seen.
func TestEveryRuleOfTheProtocolIsListedAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, sections []string
	for _, m := range regexp.MustCompile(`(?m)^- ([SAC][0-9]+) `).FindAllStringSubmatch(string(text), -1) {
		want = append(want, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^## ([0-9]+) `).FindAllStringSubmatch(string(text), -1) {
		sections = append(sections, "§"+m[1])
	}
	if len(want) < 26 {
		t.Fatalf("the protocol has the rules %v: not read aright", want)
	}
	var got []string
	for _, r := range append(conform.ServerRules(), conform.ClientRules()...) {
		if strings.HasPrefix(r.Name, "§") {
			if !slices.Contains(sections, r.Name) {
				t.Errorf("there is no section %s in the protocol", r.Name)
			}
			continue
		}
		if !slices.Contains(got, r.Name) {
			got = append(got, r.Name)
		}
		if !slices.Contains(want, r.Name) {
			t.Errorf("there is no rule %s in the protocol", r.Name)
		}
	}
	for _, r := range want {
		if !slices.Contains(got, r) {
			t.Errorf("rule %s of the protocol is not listed", r)
		}
	}
}

func TestThePageNamesOnlyRulesOfTheProtocol(t *testing.T) {
	page, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, r := range append(conform.ServerRules(), conform.ClientRules()...) {
		known[r.Name] = true
	}
	for _, name := range regexp.MustCompile(`\b[SAC][0-9]+\b|§[0-9]+`).FindAllString(string(page), -1) {
		if !known[name] {
			t.Errorf("the page names %s, which is no rule", name)
		}
	}
}

func TestARuleThatDoesNotExistIsRefused(t *testing.T) {
	if _, err := conform.Server(t.Context(), conform.Options{URL: "http://127.0.0.1:1/", Rules: []string{"S99"}}); err == nil || !strings.Contains(err.Error(), "S99") {
		t.Errorf("got %v, want an error that names S99", err)
	}
	if _, err := conform.Listen(conform.ListenOptions{Addr: "127.0.0.1:0", Rules: []string{"S3"}}); err == nil {
		t.Error("a client has no S3, and there was no error")
	}
}

func TestATargetThatCannotBeTestedIsAnError(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://127.0.0.1:1/": "the server is not there",
		"ftp://localhost/":    "not an http or https URL",
		"localhost:8080":      "not an http or https URL",
	} {
		if _, err := conform.Server(t.Context(), conform.Options{URL: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error that says %q", url, err, want)
		}
	}
	s := newServer(t, func(s *server) { s.options.Anonymous, s.options.Principal = false, basic })
	if _, err := conform.Server(t.Context(), s.target()); err == nil || !strings.Contains(err.Error(), "--header") {
		t.Errorf("without credentials: got %v, want advice to give some", err)
	}
}
