package chttp

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/dunglas/httpsfv"
)

// Limits of what is read from a header field, however large the HTTP server lets it be.
const (
	maxField   = 64 << 10     // bytes of all lines of one field together
	maxSeconds = 253402300799 // the last second of the year 9999, in Unix seconds
)

var (
	errFieldTooLong = fmt.Errorf("the field is longer than %d bytes", maxField)
	errFieldSyntax  = errors.New("the field is not a structured field (RFC 9651)")
	errVersion      = fmt.Errorf("the field does not say v=%d", protocolVersion)
)

// certifiedField is a parsed Certified field of version 1.
type certifiedField struct{ members *httpsfv.Dictionary }

// parseCertified reads a Certified field of a request or a response in any form that RFC 9651 allows.
func parseCertified(values []string) (certifiedField, error) {
	if fieldSize(values) > maxField {
		return certifiedField{}, errFieldTooLong
	}
	d, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return certifiedField{}, errFieldSyntax
	}
	f := certifiedField{d}
	if v, _ := f.item("v"); v != int64(protocolVersion) {
		return certifiedField{}, errVersion
	}
	return f, nil
}

// item returns a member's value. Parameters of a member are ignored, as are members that nobody asks for.
func (f certifiedField) item(name string) (value any, present bool) {
	m, present := f.members.Get(name)
	item, _ := m.(httpsfv.Item) // nil, and so of no type that is wanted, when it is an inner list
	return item.Value, present
}

// seconds returns a date, or 0 when there is no such member.
func (f certifiedField) seconds(name string) (int64, error) {
	v, present := f.item(name)
	if !present {
		return 0, nil
	}
	t, ok := unixSeconds(v)
	if !ok {
		return 0, fmt.Errorf("%s is not a date from @1 to @%d", name, int64(maxSeconds))
	}
	return t, nil
}

// text returns a string that is visible ASCII without " and \, or "" when there is no such member.
func (f certifiedField) text(name string) (string, error) {
	v, present := f.item(name)
	if !present {
		return "", nil
	}
	s, ok := v.(string)
	if !ok || !plain(s) {
		return "", fmt.Errorf("%s is not a string of visible ASCII without quotes and backslashes", name)
	}
	return s, nil
}

// unixSeconds returns what a bare item says if it is a date that the protocol allows.
func unixSeconds(v any) (int64, bool) {
	t, ok := v.(time.Time)
	if !ok || t.Unix() < 1 || t.Unix() > maxSeconds {
		return 0, false
	}
	return t.Unix(), true
}

// scanSeconds reads the canonical digits of a date, behind its @. It returns 0 for everything else.
func scanSeconds(digits string) int64 {
	if len(digits) == 0 || len(digits) > len("253402300799") {
		return 0
	}
	var n int64
	for i := range len(digits) {
		c := digits[i]
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	if n > maxSeconds {
		return 0
	}
	return n
}

// scanQuoted reads a canonical string without escapes. It returns "" for everything else.
func scanQuoted(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' || !plain(s[1:len(s)-1]) {
		return ""
	}
	return s[1 : len(s)-1]
}

// plain tells whether s is visible ASCII without " and \, and so safe between quotes in a header field.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendDate appends a member that is a date; 0 is left out.
func appendDate(b []byte, name string, seconds int64) []byte {
	if seconds == 0 {
		return b
	}
	b = append(b, ", "...)
	b = append(b, name...)
	b = append(b, "=@"...)
	return strconv.AppendInt(b, seconds, 10)
}

// appendText appends a member that is a string. What is empty or not plain is left out: nothing that could break out of the
// quotes, or out of the header, is ever written.
func appendText(b []byte, name, value string) []byte {
	if value == "" || !plain(value) {
		return b
	}
	b = append(b, ", "...)
	b = append(b, name...)
	b = append(b, `="`...)
	b = append(b, value...)
	return append(b, '"')
}

func fieldSize(values []string) int {
	n := 0
	for _, v := range values {
		n += len(v)
	}
	return n
}

// only returns the line of a field that has a single one, of bearable length.
func only(values []string) (line string, ok bool) {
	if len(values) != 1 || len(values[0]) > maxField {
		return "", false
	}
	return values[0], true
}
