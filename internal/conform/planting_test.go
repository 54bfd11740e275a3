package conform_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// served is an answer on its way out.
type served struct {
	r      *http.Request
	status int
	header http.Header
	body   []byte
}

// altering makes a server that changes its answers, and perhaps the requests before it reads them.
func altering(answer func(*server, *served), request ...func(*http.Request)) func(*server) {
	return func(s *server) {
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, f := range request {
					f(r)
				}
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				x := &served{r, rec.Code, rec.Header(), rec.Body.Bytes()}
				if answer != nil {
					answer(s, x)
				}
				x.write(w)
			})
		}
	}
}

func (x *served) write(w http.ResponseWriter) {
	for k, v := range x.header {
		w.Header()[k] = v
	}
	w.Header().Del("Content-Length")
	if x.r.Method != http.MethodHead && x.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(x.body)))
	}
	w.WriteHeader(x.status)
	_, _ = w.Write(x.body)
}

func (x *served) replayed() bool { return x.header.Get("Idempotent-Replayed") == "true" }

// certified replaces what matches in the Certified field.
func (x *served) certified(pattern, by string) {
	if c := x.header.Get("Certified"); c != "" {
		x.header.Set("Certified", regexp.MustCompile(pattern).ReplaceAllLiteralString(c, by))
	}
}

func (x *served) digest() {
	sum := sha256.Sum256(x.body)
	x.header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
}

// problem makes the answer a problem.
func (x *served) problem(status int, state, code string) {
	x.status = status
	x.certified("state=[a-z]+(, replayed=.1)?", "state="+state)
	x.header.Set("Content-Type", "application/problem+json")
	x.header.Del("Content-Digest")
	x.body = fmt.Appendf(nil, `{"type":"https://github.com/certifiedhttp/chttp/blob/main/docs/protocol.md#%s","title":%q,"status":%d,"detail":"x","code":%q,"retryable":true}`,
		code, titles[code], status, code)
}

var titles = map[string]string{
	"not-found": "Message is not known", "overloaded": "Server is overloaded", "certified-invalid": "Certified is not valid",
	"key-invalid": "Idempotency-Key is not valid", "acknowledged": "Outcome was acknowledged",
}

// restamped changes one of the stamps before the server sees it, and hides that from the client.
func restamped(name string, to func(stamp, now int64) int64) func(http.Handler) http.Handler {
	stamp := regexp.MustCompile(name + `=@([0-9]{10})`)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			was := r.Header.Get("Certified")
			m := stamp.FindStringSubmatch(was)
			if m == nil || r.Header.Get("Idempotency-Key") == "" || len(r.Header.Values("Certified")) > 1 {
				next.ServeHTTP(w, r)
				return
			}
			n, _ := strconv.ParseInt(m[1], 10, 64)
			changed := fmt.Sprintf("%s=@%d", name, to(n, time.Now().Unix()))
			r.Header.Set("Certified", strings.Replace(was, m[0], changed, 1))
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			x := &served{r, rec.Code, rec.Header(), rec.Body.Bytes()}
			x.certified(regexp.QuoteMeta(changed), m[0])
			x.write(w)
		})
	}
}
