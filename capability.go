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
	macs sync.Pool // of hash.Hash
}

// newCapabilities returns the capabilities of the store whose secret this is.
func newCapabilities(secret []byte) *capabilities {
	key, err := hkdf.Key(sha256.New, secret, nil, capabilityInfo, sha256.Size)
	if err != nil {
		panic("chttp: no key for message URLs: " + err.Error())
	}
	return &capabilities{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// messageURL returns the path of k's URL, on whatever authority the server has.
func (c *capabilities) messageURL(k store.Key) string {
	var room [512]byte
	token := append(room[:0], tokenVersion, tokenKey)
	token = append(token, make([]byte, macSize)...)
	token = binary.AppendUvarint(token, uint64(len(k.Scope)))
	token = append(token, k.Scope...)
	token = append(token, k.ID...)
	mac := c.mac(token)
	copy(token[tokenMAC:tokenName], mac[:])
	path := make([]byte, 0, len(prefixOfMessage)+tokenEncoding.EncodedLen(len(token)))
	return string(tokenEncoding.AppendEncode(append(path, prefixOfMessage...), token))
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
	want := c.mac(token)
	if subtle.ConstantTimeCompare(token[tokenMAC:tokenName], want[:]) != 1 {
		return store.Key{}, false
	}
	length, n := binary.Uvarint(token[tokenName:])
	if n <= 0 || length > uint64(len(token)-tokenName-n) {
		return store.Key{}, false
	}
	name := string(token[tokenName+n:])
	return store.Key{Scope: name[:length], ID: name[length:]}, true
}

// mac returns the MAC over everything in token but the place where the MAC goes.
func (c *capabilities) mac(token []byte) (mac [macSize]byte) {
	h := c.macs.Get().(hash.Hash)
	defer c.macs.Put(h)
	h.Reset()
	h.Write(token[:tokenMAC])
	h.Write(token[tokenName:])
	var room [sha256.Size]byte
	copy(mac[:], h.Sum(room[:0]))
	return mac
}
