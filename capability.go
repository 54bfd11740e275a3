package chttp

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"strings"
	"sync"

	"github.com/certifiedhttp/chttp/store"
)

// What a message URL's token is made of: version, number of the key, MAC, then the length of the scope, the scope and the id.
const (
	tokenVersion = 1
	tokenKey     = 1
	tokenMAC     = 2                  // where the MAC begins
	tokenName    = tokenMAC + macSize // where the name of the message begins
	macSize      = 16                 // of HMAC-SHA-256, truncated
	maxToken     = 4096               // characters; bounds what parse decodes
)

// capabilityInfo separates the key of message URLs from all other keys made from the same secret (RFC 5869, section 3.2).
const capabilityInfo = "chttp message url 1"

// tokenEncoding is strict, so that a message has exactly one URL.
var tokenEncoding = base64.RawURLEncoding.Strict()

// capabilities makes and reads message URLs (section 2). Whoever has one may read the outcome and acknowledge it; nobody can make one
// without the store's secret. It is safe for concurrent use.
type capabilities struct {
	sealers sync.Pool // of *sealer
}

// sealer computes MACs, one at a time, and lends its buffers to whoever has it.
type sealer struct {
	hash  hash.Hash
	sum   []byte
	token []byte
	path  []byte
}

// newCapabilities returns the capabilities of the store whose secret this is.
func newCapabilities(secret []byte) *capabilities {
	key, err := hkdf.Key(sha256.New, secret, nil, capabilityInfo, sha256.Size)
	if err != nil {
		panic("chttp: no key for message URLs: " + err.Error())
	}
	return &capabilities{sealers: sync.Pool{New: func() any { return &sealer{hash: hmac.New(sha256.New, key)} }}}
}

// messageURL returns the path of k's URL, on whatever authority the server has. parse reads it as long as scope and id together
// have less than 3,000 bytes.
func (c *capabilities) messageURL(k store.Key) string {
	s := c.sealers.Get().(*sealer)
	defer c.sealers.Put(s)
	var mac [macSize]byte
	s.token = append(s.token[:0], tokenVersion, tokenKey)
	s.token = append(s.token, mac[:]...)
	s.token = binary.AppendUvarint(s.token, uint64(len(k.Scope)))
	s.token = append(s.token, k.Scope...)
	s.token = append(s.token, k.ID...)
	copy(s.token[tokenMAC:], s.mac(s.token))
	s.path = tokenEncoding.AppendEncode(append(s.path[:0], prefixOfMessage...), s.token)
	return string(s.path)
}

// parse returns the key of the message whose URL path is, if it is one that messageURL made with the same secret.
func (c *capabilities) parse(path string) (store.Key, bool) {
	encoded, ok := strings.CutPrefix(path, prefixOfMessage)
	if !ok || len(encoded) > maxToken || strings.ContainsAny(encoded, "\r\n") { // which the decoder would pass over
		return store.Key{}, false
	}
	token, err := tokenEncoding.DecodeString(encoded)
	if err != nil || len(token) < tokenName || token[0] != tokenVersion || token[1] != tokenKey {
		return store.Key{}, false
	}
	if !c.sealed(token) {
		return store.Key{}, false
	}
	length, n := binary.Uvarint(token[tokenName:])
	if n <= 0 || length > uint64(len(token)-tokenName-n) {
		return store.Key{}, false
	}
	name := string(token[tokenName+n:])
	return store.Key{Scope: name[:length], ID: name[length:]}, true
}

// sealed tells whether token bears the MAC that belongs to it.
func (c *capabilities) sealed(token []byte) bool {
	s := c.sealers.Get().(*sealer)
	defer c.sealers.Put(s)
	return subtle.ConstantTimeCompare(token[tokenMAC:tokenName], s.mac(token)) == 1
}

// mac returns the MAC over everything in token but the place where the MAC goes. It is good until the next call.
func (s *sealer) mac(token []byte) []byte {
	s.hash.Reset()
	s.hash.Write(token[:tokenMAC])
	s.hash.Write(token[tokenName:])
	s.sum = s.hash.Sum(s.sum[:0])
	return s.sum[:macSize]
}
