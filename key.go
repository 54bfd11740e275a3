package chttp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dunglas/httpsfv"
)

// maxID is the length of the longest message id (section 1).
const maxID = 255

// Why an id or a key is not valid. The texts complete the sentence of the problem key-invalid.
var (
	errNoKey       = errors.New("there is no Idempotency-Key")
	errManyKeys    = errors.New("there is more than one Idempotency-Key")
	errKeySyntax   = errors.New("the key is neither a string in quotes nor a bare id")
	errIDEmpty     = errors.New("the id is empty")
	errIDLong      = fmt.Errorf("the id has more than %d characters", maxID)
	errIDInvisible = errors.New("the id has a character that is not visible ASCII")
	errIDReserved  = errors.New(`the id has one of the characters " \ , ;`)
)

// validID tells whether id may name a message or an execution: 1 to 255 visible ASCII characters without " \ , ; and if not, why.
func validID(id string) error {
	switch {
	case id == "":
		return errIDEmpty
	case len(id) > maxID:
		return errIDLong
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c <= ' ' || c >= 0x7f:
			return errIDInvisible
		case c == '"' || c == '\\' || c == ',' || c == ';':
			return errIDReserved
		}
	}
	return nil
}

// parseKey returns the id that an Idempotency-Key field names, in quotes or bare: "a1" and a1 name the same message. The error is
// errNoKey when there is no such field.
func parseKey(values []string) (id string, err error) {
	switch len(values) {
	case 0:
		return "", errNoKey
	case 1:
	default:
		return "", errManyKeys
	}
	line := strings.Trim(values[0], " \t")
	if !strings.HasPrefix(line, `"`) {
		return line, validID(line)
	}
	if id = scanQuoted(line); id != "" {
		return id, validID(id)
	}
	return readKey(line)
}

// readKey reads a key in quotes in any form that RFC 9651 allows; parameters are ignored.
func readKey(line string) (id string, err error) {
	if len(line) > maxField {
		return "", errFieldTooLong
	}
	item, err := httpsfv.UnmarshalItem([]string{line})
	if err != nil {
		return "", errKeySyntax
	}
	id, ok := item.Value.(string)
	if !ok {
		return "", errKeySyntax
	}
	return id, validID(id)
}

// formatKey returns the value of an Idempotency-Key field: in quotes for a certified peer, bare for others. Of an id that is not valid
// it makes "", which no peer takes for a key.
func formatKey(id string, certified bool) string {
	switch {
	case validID(id) != nil:
		return ""
	case certified:
		return `"` + id + `"`
	default:
		return id
	}
}
