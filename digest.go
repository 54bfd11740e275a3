package chttp

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/dunglas/httpsfv"
)

// Algorithms of Content-Digest (RFC 9530) that are verified. Others are ignored; ours is always SHA-256.
const (
	digestSHA256 = "sha-256"
	digestSHA512 = "sha-512"
)

var (
	errDigestSyntax = errors.New("the Content-Digest is not a dictionary of byte sequences (RFC 9530)")
	errDigestWrong  = errors.New("the Content-Digest is not that of the content")
)

// contentDigest returns the value of the Content-Digest field for body.
func contentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	var room [64]byte
	b := append(room[:0], digestSHA256+"=:"...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	return string(append(b, ':'))
}

// verifyDigest compares the Content-Digest of a request or response with its complete body, by every algorithm that it knows. A field
// that is absent or names none of these verifies nothing and is no error.
func verifyDigest(values []string, body []byte) error {
	if len(values) == 0 {
		return nil
	}
	if len(values) == 1 && strings.HasPrefix(values[0], digestSHA256+"=:") && values[0] == contentDigest(body) {
		return nil
	}
	return readDigest(values, body)
}

// provesContent tells whether a Content-Digest field is that of the complete body, by an algorithm that is known.
func provesContent(values []string, body []byte) bool {
	if len(values) == 1 && values[0] == contentDigest(body) {
		return true
	}
	if verifyDigest(values, body) != nil {
		return false
	}
	d, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return false
	}
	_, short := d.Get(digestSHA256)
	_, long := d.Get(digestSHA512)
	return short || long
}

// readDigest verifies any form.
func readDigest(values []string, body []byte) error {
	if fieldSize(values) > maxField {
		return errFieldTooLong
	}
	d, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return errDigestSyntax
	}
	for _, algorithm := range d.Names() {
		m, _ := d.Get(algorithm)
		item, _ := m.(httpsfv.Item)
		got, ok := item.Value.([]byte)
		if !ok {
			return errDigestSyntax
		}
		var want []byte
		switch algorithm {
		case digestSHA256:
			sum := sha256.Sum256(body)
			want = sum[:]
		case digestSHA512:
			sum := sha512.Sum512(body)
			want = sum[:]
		default:
			continue
		}
		if subtle.ConstantTimeCompare(got, want) != 1 {
			return errDigestWrong
		}
	}
	return nil
}
