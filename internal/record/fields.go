// Package record is how a node writes what a store keeps for it: an execution's head, its oplog and its tail.
//
// The format is a version byte and then tagged fields, each a tag, a length and the bytes; a field that a reader does not know is
// passed over, a field that is zero is left out. testdata holds golden copies that every later version must read.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Version is the format that this package writes. It reads every version up to it.
const Version = 1

// ErrFormat says that bytes are not of a format that this package reads.
var ErrFormat = errors.New("not a record that this version can read")

func appendUint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	var n [binary.MaxVarintLen64]byte
	return appendBytes(b, tag, n[:binary.PutUvarint(n[:], v)])
}

func appendInt(b []byte, tag byte, v int64) []byte {
	return appendUint(b, tag, uint64(v)<<1^uint64(v>>63))
}

func appendBool(b []byte, tag byte, v bool) []byte {
	if !v {
		return b
	}
	return appendUint(b, tag, 1)
}

func appendBytes[T ~string | ~[]byte](b []byte, tag byte, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// appendPair writes a pair of strings as one field.
func appendPair(b []byte, tag byte, k, v string) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(uvarintLen(len(k))+len(k)+len(v)))
	b = binary.AppendUvarint(b, uint64(len(k)))
	b = append(b, k...)
	return append(b, v...)
}

func appendMap(b []byte, tag byte, m map[string]string) []byte {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b = appendPair(b, tag, k, m[k])
	}
	return b
}

func appendHeader(b []byte, tag byte, h http.Header) []byte {
	if len(h) == 0 {
		return b
	}
	var room [16]string
	names := room[:0]
	for k := range h {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		for _, v := range h[k] {
			b = appendPair(b, tag, k, v)
		}
	}
	return b
}

func uvarintLen(n int) int {
	l := 1
	for n >= 0x80 {
		n >>= 7
		l++
	}
	return l
}

// fields calls f for every field of b behind the version byte.
func fields(b []byte, f func(tag byte, v []byte) error) error {
	if len(b) == 0 {
		return nil
	}
	if b[0] == 0 || b[0] > Version {
		return fmt.Errorf("%w: version %d", ErrFormat, b[0])
	}
	return rawFields(b[1:], f)
}

func rawFields(b []byte, f func(tag byte, v []byte) error) error {
	for len(b) > 0 {
		tag := b[0]
		n, k := binary.Uvarint(b[1:])
		if k <= 0 || n > uint64(len(b)-1-k) {
			return fmt.Errorf("%w: cut short in field %d", ErrFormat, tag)
		}
		v := b[1+k : 1+k+int(n)]
		b = b[1+k+int(n):]
		if err := f(tag, v); err != nil {
			return err
		}
	}
	return nil
}

func getUint(v []byte) (uint64, error) {
	n, k := binary.Uvarint(v)
	if k != len(v) || k <= 0 {
		return 0, fmt.Errorf("%w: number", ErrFormat)
	}
	return n, nil
}

func getInt(v []byte, p *int64) error {
	n, err := getUint(v)
	*p = int64(n>>1) ^ -int64(n&1)
	return err
}

func getBool(v []byte, p *bool) error {
	n, err := getUint(v)
	*p = n != 0
	return err
}

func getPair(v []byte) (key, value string, err error) {
	n, k := binary.Uvarint(v)
	if k <= 0 || n > uint64(len(v)-k) {
		return "", "", fmt.Errorf("%w: pair", ErrFormat)
	}
	return string(v[k : k+int(n)]), string(v[k+int(n):]), nil
}

func getMap(v []byte, m *map[string]string) error {
	key, value, err := getPair(v)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[key] = value
	return nil
}

func getHeader(v []byte, h *http.Header) error {
	key, value, err := getPair(v)
	if err != nil {
		return err
	}
	if *h == nil {
		*h = make(http.Header)
	}
	(*h)[key] = append((*h)[key], value)
	return nil
}
