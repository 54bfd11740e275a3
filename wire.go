package chttp

// Version 1 of the protocol, docs/protocol.md. Comments cite the numbers of its rules.
const protocolVersion = 1

// Header fields of the protocol, in the canonical form of net/http.
const (
	headerKey               = "Idempotency-Key"
	headerCertified         = "Certified"
	headerDigest            = "Content-Digest"
	headerAck               = "Certified-Ack"
	headerReplayed          = "Idempotent-Replayed"
	headerPrefer            = "Prefer"
	headerPreferenceApplied = "Preference-Applied"
	headerRetryAfter        = "Retry-After"
)

// Header fields of HTTP that the protocol also sets.
const (
	headerContentType    = "Content-Type"
	headerCacheControl   = "Cache-Control"
	headerAcceptEncoding = "Accept-Encoding"
)

// Values of header fields.
const (
	valueReplayed = "true"     // of Idempotent-Replayed
	valueNoStore  = "no-store" // of Cache-Control, always
	valueIdentity = "identity" // of Accept-Encoding: the recorded bytes are the bytes
	typeProblem   = "application/problem+json"
	typeJSON      = "application/json"
)

// The resources that every certified server has at the root of its authority.
const (
	wellKnown       = "/.well-known/chttp"     // discovery, section 8
	pathAcks        = wellKnown + "/acks"      // acknowledgements in bulk, A1
	prefixOfMessage = wellKnown + "/messages/" // message URLs, A3
)

// wireState is what became of a request, as its answer says in Certified. A client follows it, not the status code.
type wireState string

const (
	stateDone    wireState = "done"    // the recorded outcome, final whatever its status
	stateRunning wireState = "running" // no outcome yet, or not known just now whether it was accepted
	stateNone    wireState = "none"    // this attempt did nothing, which says nothing of others
	stateRefused wireState = "refused" // this attempt did nothing and is not to be repeated
	stateGone    wireState = "gone"    // acknowledged and forgotten
)

func (s wireState) valid() bool {
	switch s {
	case stateDone, stateRunning, stateNone, stateRefused, stateGone:
		return true
	}
	return false
}
