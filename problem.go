package chttp

import (
	"encoding/json"
	"mime"
	"net/http"
	"time"
)

// problemCode is why a certified server did not give an outcome (section 7). A program branches on it, never on type or title.
type problemCode string

// The codes of the protocol.
const (
	codeKeyMissing       problemCode = "key-missing"
	codeKeyInvalid       problemCode = "key-invalid"
	codeKeyReused        problemCode = "key-reused"
	codeCertifiedInvalid problemCode = "certified-invalid"
	codeDigestMismatch   problemCode = "digest-mismatch"
	codeStaleAttempt     problemCode = "stale-attempt"
	codeTooLong          problemCode = "too-long"
	codeInProgress       problemCode = "in-progress"
	codeParked           problemCode = "parked"
	codeAcknowledged     problemCode = "acknowledged"
	codeCrashed          problemCode = "crashed"
	codeQuota            problemCode = "quota"
	codeOverloaded       problemCode = "overloaded"
	codeStorageFull      problemCode = "storage-full"
	codeTooLarge         problemCode = "too-large"
	codeNotFound         problemCode = "not-found"
	codeUnauthorized     problemCode = "unauthorized"
	codeIncomplete       problemCode = "incomplete"
	codeNotRecordable    problemCode = "not-recordable"
)

// problemTypes begins every problem's type; the code follows. It leads to the code's heading in the published protocol.
const problemTypes = "https://github.com/certifiedhttp/chttp/blob/main/docs/protocol.md#"

// problemTitles are the same at every occurrence of a code (RFC 9457, section 3.1.3).
var problemTitles = map[problemCode]string{
	codeKeyMissing:       "Idempotency-Key is missing",
	codeKeyInvalid:       "Idempotency-Key is not valid",
	codeKeyReused:        "Idempotency-Key was used with another request",
	codeCertifiedInvalid: "Certified is not valid",
	codeDigestMismatch:   "Content-Digest does not match",
	codeStaleAttempt:     "Attempt is too old or ahead of its time",
	codeTooLong:          "Message wants to be known for too long",
	codeInProgress:       "Request is in progress",
	codeParked:           "Request is parked",
	codeAcknowledged:     "Outcome was acknowledged",
	codeCrashed:          "Handler crashed",
	codeQuota:            "Quota is used up",
	codeOverloaded:       "Server is overloaded",
	codeStorageFull:      "Storage is full",
	codeTooLarge:         "Content is too large",
	codeNotFound:         "Message is not known",
	codeUnauthorized:     "Credentials are missing or not good",
	codeIncomplete:       "Content is incomplete",
	codeNotRecordable:    "Request cannot be recorded",
}

// problem is an answer that is no outcome, as application/problem+json (RFC 9457). Nothing in it is another principal's.
type problem struct {
	Status     int
	Code       problemCode
	Detail     string        // what happened and what the caller can do
	Retryable  bool          // the same request may get another answer later
	RetryAfter time.Duration // no sooner than this; 0 says nothing
}

// The standing problems. Section 2 and the rules behind each say which state goes with it.
var (
	problemKeyMissing = problem{
		Status: http.StatusBadRequest, Code: codeKeyMissing,
		Detail: "This resource needs an Idempotency-Key: make up an id for the message, and repeat it whenever you send the message again.",
	}
	problemKeyInvalid = problem{
		Status: http.StatusBadRequest, Code: codeKeyInvalid,
		Detail: `Send one Idempotency-Key of 1 to 255 visible ASCII characters without " \ , ; in quotes or bare.`,
	}
	problemShortKey = problem{
		Status: http.StatusBadRequest, Code: codeKeyInvalid,
		Detail: "Callers without a principal need ids that cannot be guessed, of at least 22 characters.",
	}
	problemKeyReused = problem{
		Status: http.StatusUnprocessableEntity, Code: codeKeyReused,
		Detail: "The id belongs to an earlier message with another method, target, content type, content encoding or content: " +
			"repeat that request exactly, or use a new id.",
	}
	problemCertifiedInvalid = problem{
		Status: http.StatusBadRequest, Code: codeCertifiedInvalid,
		Detail: "Send Certified as v=1, sent=@…, at=@…, until=@… in whole Unix seconds, or leave it out.",
	}
	problemDigestMismatch = problem{
		Status: http.StatusBadRequest, Code: codeDigestMismatch,
		Detail:    "The content that arrived is not the content that Content-Digest describes. Nothing was done: send the request again.",
		Retryable: true,
	}
	problemStaleAttempt = problem{
		Status: http.StatusPreconditionFailed, Code: codeStaleAttempt,
		Detail: "The attempt's at is out of bounds, so this may be a delayed copy of a message that is over. Nothing was done: " +
			"send it again with the present time as at, no later than until, and compare your clock with the now in Certified.",
		Retryable: true,
	}
	problemTooLong = problem{
		Status: http.StatusBadRequest, Code: codeTooLong,
		Detail: "From sent to until is longer than this server's retention, which discovery tells: use an earlier until.",
	}
	problemInProgress = problem{
		Status: http.StatusConflict, Code: codeInProgress,
		Detail:    "The request with this key is still being worked on: send it again later for its outcome.",
		Retryable: true, RetryAfter: time.Second,
	}
	problemUncertain = problem{
		Status: http.StatusServiceUnavailable, Code: codeInProgress,
		Detail:    "It is not known just now whether the request was accepted: send it again later to find out. It will not be done twice.",
		Retryable: true, RetryAfter: time.Second,
	}
	problemParked = problem{
		Status: http.StatusServiceUnavailable, Code: codeParked,
		Detail:    "The request was accepted and waits for an operator; nothing is lost: send it again later for its outcome.",
		Retryable: true, RetryAfter: time.Minute,
	}
	problemAcknowledged = problem{
		Status: http.StatusGone, Code: codeAcknowledged,
		Detail: "The outcome was acknowledged by its caller, and is forgotten.",
	}
	problemCrashed = problem{
		Status: http.StatusInternalServerError, Code: codeCrashed,
		Detail:    "The handler crashed; the server tries again by itself: send the request again later for its outcome.",
		Retryable: true, RetryAfter: time.Second,
	}
	problemQuota = problem{
		Status: http.StatusTooManyRequests, Code: codeQuota,
		Detail:    "The caller's quota is used up. Nothing was done: send the request again later.",
		Retryable: true, RetryAfter: time.Second,
	}
	problemOverloaded = problem{
		Status: http.StatusServiceUnavailable, Code: codeOverloaded,
		Detail:    "There is more work than the server takes on. Nothing was done: send the request again later.",
		Retryable: true, RetryAfter: time.Second,
	}
	problemClosed = problem{
		Status: http.StatusServiceUnavailable, Code: codeOverloaded,
		Detail:    "The server takes no work just now. Nothing was done: send the request again later.",
		Retryable: true, RetryAfter: time.Second,
	}
	problemStorageFull = problem{
		Status: http.StatusInsufficientStorage, Code: codeStorageFull,
		Detail:    "The server has no room to record the request. Nothing was done: send it again later.",
		Retryable: true, RetryAfter: time.Minute,
	}
	problemTooLarge = problem{
		Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge,
		Detail: "The content is larger than this server's max_body, which discovery tells. Nothing was done.",
	}
	problemNotFound = problem{
		Status: http.StatusNotFound, Code: codeNotFound,
		Detail: "There is no such message, or it is not yours.",
	}
)

// because returns p with what is wrong in this case put before its detail.
func (p problem) because(err error) problem {
	p.Detail = "It was refused because " + err.Error() + ". " + p.Detail
	return p
}

// after returns p with another time to wait.
func (p problem) after(d time.Duration) problem {
	p.RetryAfter = d
	return p
}

// problemBody is a problem on the wire.
type problemBody struct {
	Type      string      `json:"type"`
	Title     string      `json:"title"`
	Status    int         `json:"status"`
	Detail    string      `json:"detail"`
	Code      problemCode `json:"code"`
	Retryable bool        `json:"retryable"`
}

// write answers with p, and with the state that v tells, unless it is nil. It is for a response of which nothing was written yet.
func (p problem) write(w http.ResponseWriter, v *verdict) {
	h := w.Header()
	// What surrounds the handler may have described a body that is not sent now.
	for _, name := range [...]string{"Content-Length", "Content-Encoding", headerDigest, "Etag", "Last-Modified"} {
		h.Del(name)
	}
	h.Set(headerContentType, typeProblem)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(headerCacheControl, valueNoStore)
	if v != nil {
		h.Set(headerCertified, v.String())
	}
	if p.RetryAfter > 0 {
		h.Set(headerRetryAfter, formatRetryAfter(p.RetryAfter))
	}
	body, err := json.Marshal(problemBody{problemTypes + string(p.Code), problemTitles[p.Code], p.Status, p.Detail, p.Code, p.Retryable})
	if err != nil {
		panic("chttp: a problem cannot be encoded: " + err.Error())
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a caller who has gone away asks again
}

// parseProblem returns the code of a problem, if that is what the response is. The code may be one that is not ours.
func parseProblem(contentType string, body []byte) (code problemCode, ok bool) {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != typeProblem {
		return "", false
	}
	var p struct {
		Code problemCode `json:"code"`
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return "", false
	}
	return p.Code, true
}
