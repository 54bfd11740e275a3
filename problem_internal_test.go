package chttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

var standingProblems = []problem{
	problemKeyMissing, problemKeyInvalid, problemShortKey, problemKeyReused, problemCertifiedInvalid, problemDigestMismatch,
	problemStaleAttempt, problemTooLong, problemInProgress, problemUncertain, problemParked, problemAcknowledged, problemCrashed,
	problemQuota, problemOverloaded, problemClosed, problemStorageFull, problemTooLarge, problemNotFound,
	problemUnauthorized, problemIncomplete, problemUpgrade,
}

func TestEveryStandingProblemTellsWhatItIsAndWhatToDo(t *testing.T) {
	for _, p := range standingProblems {
		if problemTitles[p.Code] == "" {
			t.Errorf("%s has no title", p.Code)
		}
		if p.Status < 400 || p.Detail == "" || !strings.HasSuffix(p.Detail, ".") {
			t.Errorf("%s: got status %d, detail %q", p.Code, p.Status, p.Detail)
		}
		if p.RetryAfter > 0 && !p.Retryable {
			t.Errorf("%s tells when to retry, but not to retry", p.Code)
		}
	}
}

func TestAProblemIsWrittenAsRFC9457Says(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Content-Length", "5")
	problemOverloaded.after(1500*time.Millisecond).write(w, &verdict{ID: "a1", State: stateNone, Now: 5})
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "Cache-Control": "no-store", "Retry-After": "2", "Content-Encoding": "", "Content-Length": "",
		"Certified": `v=1, id="a1", state=none, now=@5`, "X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"type": problemTypes + "overloaded", "title": "Server is overloaded", "status": 503.0, "detail": problemOverloaded.Detail,
		"code": "overloaded", "retryable": true,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	if w.Code != http.StatusServiceUnavailable || len(got) != 6 {
		t.Errorf("got status %d, %d members", w.Code, len(got))
	}
	if code, ok := parseProblem(w.Header().Get("Content-Type"), w.Body.Bytes()); !ok || code != codeOverloaded {
		t.Errorf("got code %q, %v", code, ok)
	}
}

func TestAProblemWithoutVerdictOrTimeSaysNothingOfThem(t *testing.T) {
	w := httptest.NewRecorder()
	problemKeyMissing.write(w, nil)
	for _, name := range []string{"Certified", "Retry-After"} {
		if _, ok := w.Header()[name]; ok {
			t.Errorf("got %s: %s", name, w.Header().Get(name))
		}
	}
}

func TestWhatIsWrongInOneCaseDoesNotChangeTheStandingProblem(t *testing.T) {
	before := problemKeyInvalid
	p := problemKeyInvalid.because(errManyKeys).after(time.Second)
	if !strings.Contains(p.Detail, errManyKeys.Error()) || problemKeyInvalid != before {
		t.Errorf("got %q", p.Detail)
	}
	w := httptest.NewRecorder()
	p.because(errors.New("x\r\n\xff\"")).write(w, nil)
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("got %q, which is not JSON", w.Body)
	}
}

func TestOnlyProblemsAreReadAsProblems(t *testing.T) {
	for _, ex := range []struct {
		contentType, body string
		want              problemCode
	}{
		{"application/problem+json", `{"code":"in-progress"}`, codeInProgress},
		{"Application/Problem+JSON; charset=utf-8", `{"code":"x","more":[1]}`, "x"},
		{"application/json", `{"code":"in-progress"}`, ""},
		{"application/problem+json", `{"code":5}`, ""},
		{"application/problem+json", `{}`, ""},
		{"application/problem+json", `{"code":"x"`, ""},
		{"", `{"code":"x"}`, ""},
		{"application/problem+json; =", `{"code":"x"}`, ""},
	} {
		code, ok := parseProblem(ex.contentType, []byte(ex.body))
		if code != ex.want || ok != (ex.want != "") {
			t.Errorf("parseProblem(%q, %q): got %q, %v, want %q", ex.contentType, ex.body, code, ok, ex.want)
		}
	}
}

func FuzzParseProblem(f *testing.F) {
	f.Add("application/problem+json", []byte(`{"code":"in-progress"}`))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if code, ok := parseProblem(contentType, body); ok != (code != "") {
			t.Fatalf("got %q, %v", code, ok)
		}
	})
}
