package conform

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Header fields of the protocol.
const (
	headerKey        = "Idempotency-Key"
	headerCertified  = "Certified"
	headerDigest     = "Content-Digest"
	headerAck        = "Certified-Ack"
	headerReplayed   = "Idempotent-Replayed"
	headerPrefer     = "Prefer"
	headerRetryAfter = "Retry-After"
	headerType       = "Content-Type"
	headerEncoding   = "Content-Encoding"
	headerAccept     = "Accept-Encoding"
	headerCache      = "Cache-Control"
)

// Paths and values of the protocol.
const (
	wellKnown    = "/.well-known/chttp"
	pathAcks     = wellKnown + "/acks"
	pathMessages = wellKnown + "/messages/"
	typeProblem  = "application/problem+json"
	typeJSON     = "application/json"
	problemTypes = "https://github.com/certifiedhttp/chttp/blob/main/docs/protocol.md#"
	maxSeconds   = 253402300799
)

// States of a message.
const (
	stateDone    = "done"
	stateRunning = "running"
	stateNone    = "none"
	stateRefused = "refused"
	stateGone    = "gone"
)

var states = []string{stateDone, stateRunning, stateNone, stateRefused, stateGone}

// mark is the Certified field of an answer.
type mark struct {
	present  bool
	err      error // why it cannot be read
	id       string
	state    string
	replayed bool
	until    int64
	now      int64
	store    string
	message  string
}

// readMark reads the Certified field of an answer.
func readMark(lines []string) (m mark) {
	if len(lines) == 0 {
		return m
	}
	m.present = true
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		m.err = fmt.Errorf("is not a dictionary of RFC 9651: %w", err)
		return m
	}
	f := fields{members: d}
	if v, _ := f.item("v").(int64); v != 1 {
		f.wrong("v is not 1")
	}
	m.id, m.store, m.message = f.text("id"), f.text("store"), f.text("message")
	m.until, m.now = f.seconds("until"), f.seconds("now")
	if s := f.item("state"); s != nil {
		token, ok := s.(httpsfv.Token)
		if m.state = string(token); !ok || !slices.Contains(states, m.state) {
			f.wrong("state is none of version 1")
		}
	}
	if r := f.item("replayed"); r != nil {
		var ok bool
		if m.replayed, ok = r.(bool); !ok {
			f.wrong("replayed is not a boolean")
		}
	}
	m.err = f.err
	return m
}

// stamps are the Certified field of a request. 0 is none.
type stamps struct{ sent, at, until int64 }

func (s stamps) String() string {
	return fmt.Sprintf("v=1, sent=@%d, at=@%d, until=@%d", s.sent, s.at, s.until)
}

// readStamps reads the Certified field of a request.
func readStamps(lines []string) (s stamps, err error) {
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return s, fmt.Errorf("is not a dictionary of RFC 9651: %w", err)
	}
	f := fields{members: d}
	if v, _ := f.item("v").(int64); v != 1 {
		f.wrong("v is not 1")
	}
	s = stamps{f.seconds("sent"), f.seconds("at"), f.seconds("until")}
	return s, f.err
}

// fields are the members of a dictionary, and what is wrong with the first wrong one.
type fields struct {
	members *httpsfv.Dictionary
	err     error
}

func (f *fields) wrong(what string) {
	if f.err == nil {
		f.err = errors.New(what)
	}
}

// item returns the value of a member; nil if there is none, or only an inner list.
func (f *fields) item(name string) any {
	m, _ := f.members.Get(name)
	item, _ := m.(httpsfv.Item)
	return item.Value
}

func (f *fields) seconds(name string) int64 {
	v := f.item(name)
	if v == nil {
		return 0
	}
	t, ok := v.(time.Time)
	if !ok || t.Unix() < 1 || t.Unix() > maxSeconds {
		f.wrong(name + " is not a date")
		return 0
	}
	return t.Unix()
}

func (f *fields) text(name string) string {
	v := f.item(name)
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.wrong(name + " is not a string")
	}
	return s
}

// contentDigest returns the value of Content-Digest for body.
func contentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// checkDigest says what is wrong with a Content-Digest, of which one known algorithm is demanded.
func checkDigest(lines []string, body []byte) error {
	if len(lines) == 0 {
		return errors.New("there is no Content-Digest")
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return fmt.Errorf("the Content-Digest is not a dictionary of RFC 9651: %w", err)
	}
	f, known := fields{members: d}, false
	sum256, sum512 := sha256.Sum256(body), sha512.Sum512(body)
	for name, sum := range map[string][]byte{"sha-256": sum256[:], "sha-512": sum512[:]} {
		got, ok := f.item(name).([]byte)
		known = known || ok
		if ok && string(got) != string(sum) {
			return fmt.Errorf("the Content-Digest is not that of the %d bytes of content", len(body))
		}
	}
	if !known {
		return errors.New("the Content-Digest has neither sha-256 nor sha-512")
	}
	return nil
}

// problem is a document of section 7. Members that are pointers are nil where they are missing.
type problem struct {
	Type      *string `json:"type"`
	Title     *string `json:"title"`
	Status    *int    `json:"status"`
	Detail    *string `json:"detail"`
	Code      string  `json:"code"`
	Retryable *bool   `json:"retryable"`
}

// readProblem reads the problem of an answer, if that is what it is.
func readProblem(h http.Header, body []byte) (p problem, ok bool) {
	if media, _, err := mime.ParseMediaType(h.Get(headerType)); err != nil || media != typeProblem {
		return p, false
	}
	return p, json.Unmarshal(body, &p) == nil
}

// discovery is what a server says about itself (section 8).
type discovery struct {
	Versions  []int    `json:"versions"`
	Store     string   `json:"store"`
	Retention string   `json:"retention"`
	Linger    string   `json:"linger"`
	Skew      string   `json:"skew"`
	MaxBody   int64    `json:"max_body"`
	Ack       []string `json:"ack"`
	Now       int64    `json:"now"`
}

// period reads an ISO 8601 duration of weeks, days, hours, minutes and whole seconds.
func period(s string) (d time.Duration, err error) {
	units := map[byte]time.Duration{'W': 7 * 24 * time.Hour, 'D': 24 * time.Hour, 'H': time.Hour, 'M': time.Minute, 'S': time.Second}
	wrong := fmt.Errorf("%q is not an ISO 8601 duration of weeks, days, hours, minutes and whole seconds", s)
	rest, ok := strings.CutPrefix(s, "P")
	date, clock, timed := strings.Cut(rest, "T")
	if !ok || date+clock == "" || timed && clock == "" {
		return 0, wrong
	}
	for _, part := range [...]struct{ text, letters string }{{date, "WD"}, {clock, "HMS"}} {
		for text, letters := part.text, part.letters; text != ""; {
			n := strings.IndexAny(text, letters)
			if n < 0 {
				return 0, wrong
			}
			count, err := strconv.ParseUint(text[:n], 10, 32)
			if err != nil {
				return 0, wrong
			}
			d += time.Duration(count) * units[text[n]]
			letters = letters[strings.IndexByte(letters, text[n])+1:]
			text = text[n+1:]
		}
	}
	return d, nil
}

// retryAfter returns how long from now a Retry-After asks to wait.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get(headerRetryAfter)
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(t.Sub(now), 0), true
	}
	return 0, false
}
