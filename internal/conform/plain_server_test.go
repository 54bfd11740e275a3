package conform_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/internal/conform"
)

// plainServer knows Idempotency-Key as the draft has it, in memory, and nothing of Certified. Its faults are fields.
type plainServer struct {
	endpoint
	forgetful bool // keeps no answer
	careless  bool // does not compare the request
	hasty     bool // notes a key only once it has an answer
	required  bool

	mu      sync.Mutex
	answers map[string]*plainAnswer
}

type plainAnswer struct {
	request string
	done    bool
	*httptest.ResponseRecorder
}

func (p *plainServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	switch {
	case r.Method != http.MethodPost:
		http.NotFound(w, r)
		return
	case key == "" && p.required:
		http.Error(w, "a key, please", http.StatusBadRequest)
		return
	case key == "" || p.forgetful:
		p.endpoint.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := r.URL.String() + string(body)
	p.mu.Lock()
	known := p.answers[key]
	if known == nil && !p.hasty {
		p.answers[key] = &plainAnswer{request: request}
	}
	p.mu.Unlock()
	switch {
	case known == nil:
	case known.request != request && !p.careless:
		http.Error(w, "another request", http.StatusUnprocessableEntity)
		return
	case !known.done:
		http.Error(w, "wait", http.StatusConflict)
		return
	}
	if known == nil {
		rec := httptest.NewRecorder()
		p.endpoint.ServeHTTP(rec, r)
		known = &plainAnswer{request, true, rec}
		p.mu.Lock()
		p.answers[key] = known
		p.mu.Unlock()
	}
	for k, v := range known.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(known.Code)
	_, _ = w.Write(known.Body.Bytes())
}

func TestAPlainServerIsJudgedBySectionSix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		server *plainServer
		want   string // the rules that fail
	}{
		{"right", &plainServer{}, ""},
		{"right, and strict", &plainServer{required: true}, ""},
		{"keeps no answers", &plainServer{forgetful: true}, "§6"},
		{"does not compare requests", &plainServer{careless: true}, "§6"},
		{"runs copies at once", &plainServer{hasty: true}, "§6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.server.answers = map[string]*plainAnswer{}
			srv := httptest.NewServer(tt.server)
			defer srv.Close()
			rep, err := conform.Server(t.Context(), conform.Options{URL: srv.URL, Slow: srv.URL + "?sleep=0.6", Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if got := verdicts(rep, conform.Fail); got != tt.want || rep.Profile != conform.ProfilePlain {
				t.Errorf("broken are %q of the %s profile, want %q", got, rep.Profile, tt.want)
				tell(t, rep)
			}
			if got, want := verdicts(rep, conform.Pass), "§6"; tt.want == "" && got != want {
				t.Errorf("kept are %q, want %q", got, want)
			}
			if got := verdicts(rep, conform.NotSeen); got != "" {
				t.Errorf("not seen are %q; what is not offered has a reason", got)
			}
		})
	}
}

// What is printed for a failure shows it once more, when it is pasted into a shell.
func TestTheScriptOfAFailureShowsItAgain(t *testing.T) {
	for _, tool := range []string{"curl", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	t.Parallel()
	var gone atomic.Int64
	s := newServer(t, func(s *server) {
		s.options.Anonymous, s.options.Principal = false, basic
		altering(func(_ *server, x *served) {
			if x.status == http.StatusGone && x.r.Header.Get("User-Agent") != "chttp-conform" {
				gone.Add(1)
			}
			x.certified("state=gone", "state=done")
			x.certified("state=refused", "state=none")
		})(s)
	})
	o := s.target()
	o.Header, o.Rules, o.Restart = ann, []string{"A2", "S3", "S8"}, nil
	rep, err := conform.Server(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := verdicts(rep, conform.Fail), "S3 A2"; got != want {
		t.Fatalf("broken are %q, want %q", got, want)
	}
	for _, f := range failures(rep) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", f.Script)
		cmd.Env = append(os.Environ(), "AUTHORIZATION="+ann.Get("Authorization"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, f.Script)
		}
		if strings.Contains(f.Script, ann.Get("Authorization")) {
			t.Errorf("the script tells a secret:\n%s", f.Script)
		}
		last := string(out)[strings.LastIndex(string(out), "HTTP/1.1"):]
		want := "state=none"
		if f.Rule == "A2" {
			want = "state=done"
		}
		if !strings.Contains(last, want) {
			t.Errorf("the last answer is not the one that failed, with %s:\n%s\n%s", want, f.Script, out)
		}
	}
	if gone.Load() == 0 {
		t.Error("no script came to the id that is gone")
	}
}
