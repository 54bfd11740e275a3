package chttp

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// recorder is the ResponseWriter of a run: the answer is recorded before any of it leaves. It is no Flusher and no Hijacker.
type recorder struct {
	limit  int
	header http.Header
	fixed  http.Header // as it was when the status was written
	status int
	body   bytes.Buffer
	over   bool
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = make(http.Header)
	}
	return r.header
}

func (r *recorder) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid status code %d", status)) // as net/http does: a crash of the run
	}
	if r.status != 0 || status < 200 {
		return // Informational answers are not recorded.
	}
	r.status = status
	r.fixed = r.Header().Clone()
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.status == http.StatusNoContent || r.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	if r.body.Len()+len(b) > r.limit {
		r.over = true
		return 0, fmt.Errorf("the response is longer than Options.MaxValue, %d bytes", r.limit)
	}
	return r.body.Write(b)
}

// unrecorded are header fields of a response that are not part of the outcome (section 2).
var unrecorded = [...]string{"Date", "Set-Cookie", "Content-Length", "Traceparent", "Tracestate", "Traceresponse", "Server-Timing"}

// response returns what was recorded.
func (r *recorder) response(minimal bool) (*record.Response, error) {
	if r.over {
		return nil, fmt.Errorf("the handler's response is longer than Options.MaxValue, %d bytes", r.limit)
	}
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	h, err := recorded(r.fixed)
	if err != nil {
		return nil, err
	}
	body := r.body.Bytes()
	if len(body) > 0 && h.Get(headerContentType) == "" && h.Get("Content-Encoding") == "" {
		h.Set(headerContentType, http.DetectContentType(body)) // as net/http does
	}
	if minimal && r.status < 400 {
		body = nil
		h.Del(headerContentType)
		h.Del("Content-Encoding")
	}
	return &record.Response{Status: r.status, Header: h, Body: body}, nil
}

// recorded returns what of a handler's header fields belongs to the outcome, under their canonical names.
func recorded(fields http.Header) (http.Header, error) {
	h := make(http.Header, len(fields)+1)
	for name, values := range fields {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		for _, v := range values {
			if !validField(name, v) {
				return nil, fmt.Errorf("the handler's header field %q is not valid: names are tokens, values have no line breaks", name)
			}
		}
		name = http.CanonicalHeaderKey(name)
		h[name] = append(h[name], values...)
	}
	dropHopByHop(h)
	for _, f := range unrecorded {
		h.Del(f)
	}
	for _, f := range [...]string{headerCertified, headerDigest, headerReplayed, headerPreferenceApplied} {
		h.Del(f)
	}
	return h, nil
}

// dropHopByHop drops the fields that belong to a connection, those that it names itself among them (RFC 9110, section 7.6.1).
func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for f := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(f))
		}
	}
	for _, f := range hopByHop {
		h.Del(f)
	}
}

// outcomeIn returns the response that r has as its outcome. One that a recorder cannot have made is an error.
func outcomeIn(r *store.Record) (*record.Response, error) {
	t, err := record.ParseTail(r.Tail)
	switch {
	case err != nil:
		return nil, err
	case t.Response == nil:
		return nil, errors.New("the record has no response")
	case t.Response.Status < 200 || t.Response.Status > 999:
		return nil, fmt.Errorf("the record has a response with status %d", t.Response.Status)
	}
	return t.Response, nil
}

// writeResponse writes a recorded response, with the verdict on the request.
func writeResponse(w http.ResponseWriter, r *record.Response, v *verdict) {
	h := w.Header()
	for k, values := range r.Header {
		h[k] = append([]string(nil), values...)
	}
	h.Set(headerCacheControl, valueNoStore)
	h.Set(headerCertified, v.String())
	h.Set(headerDigest, contentDigest(r.Body))
	if v.Replayed {
		h.Set(headerReplayed, valueReplayed)
	}
	if r.Status != http.StatusNoContent && r.Status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(r.Body)))
	}
	w.WriteHeader(r.Status)
	if len(r.Body) > 0 {
		_, _ = w.Write(r.Body) // a client that has gone away asks again
	}
}
