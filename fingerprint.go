package chttp

import (
	"crypto/sha256"
	"encoding/binary"
)

// fingerprintDomain begins what is hashed. Fingerprints are stored: a change of what follows it needs another domain and a reader of both.
const fingerprintDomain = "chttp fingerprint 1\x00"

// fingerprint returns the SHA-256 by which a request is known again (S3): path and query as received, the authority not counted. Every
// part is preceded by its length, so no two requests share a fingerprint by moving bytes from one part to the next.
func fingerprint(method, path, query, contentType, contentEncoding string, body []byte) []byte {
	var room [512]byte
	b := append(room[:0], fingerprintDomain...)
	for _, part := range [...]string{method, path, query, contentType, contentEncoding} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = binary.AppendUvarint(b, uint64(len(body)))
	h := sha256.New()
	h.Write(b)
	h.Write(body)
	return h.Sum(make([]byte, 0, sha256.Size))
}
