package record

import (
	"encoding/binary"
	"fmt"
)

// Kind is what an operation is.
type Kind uint8

// The kinds. Their numbers are stored.
const (
	Persist  Kind = iota + 1 // a value that is not deterministic
	Step                     // Do, Run: an effect outside
	Call                     // one message, answered
	Send                     // one message, not waited for
	Sleep                    // until a time
	Branch                   // Go: a scope of its own
	Function                 // Function.Call: a scope of its own
	Start                    // an execution begun
	Wait                     // another execution's outcome
)

var kindNames = [...]string{"", "persist", "step", "call", "send", "sleep", "branch", "function", "start", "wait"}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Phase is which part of an operation an entry records.
type Phase uint8

// The phases. Their numbers are stored.
const (
	Begin  Phase = iota + 1 // it begins, and may have had its effect
	End                     // its result
	Whole                   // both at once
	Crash                   // not an operation: a run crashed; Data says how
	Cancel                  // not an operation: it was cancelled; Data says why
)

// Entry is one entry of an oplog.
type Entry struct {
	Phase Phase
	Kind  Kind   // Begin, Whole
	Scope string // path of the scope, "" for the function itself
	Seq   int    // the operation's number in its scope
	Name  string // Begin, Whole
	Print []byte // Begin, Whole: fingerprint of a request or an input
	Data  []byte // Begin: what the operation goes on from; End, Whole: its result

	// Data of a call's beginning.
	ID        string // of its message
	Sent      int64
	Until     int64
	Continues bool // an earlier call's message that got no answer

	// A result.
	Err      *Error
	Response *Response
}

// AppendEntry appends e to an oplog chunk.
func AppendEntry(b []byte, e *Entry) []byte {
	if len(b) == 0 {
		b = append(b, Version)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendUint(b, 1, uint64(e.Phase))
	b = appendUint(b, 2, uint64(e.Kind))
	b = appendBytes(b, 3, e.Scope)
	b = appendUint(b, 4, uint64(e.Seq))
	b = appendBytes(b, 5, e.Name)
	b = appendBytes(b, 6, e.Print)
	b = appendBytes(b, 7, e.Data)
	b = appendBytes(b, 8, e.ID)
	b = appendInt(b, 9, e.Sent)
	b = appendInt(b, 10, e.Until)
	b = appendBool(b, 11, e.Continues)
	b = appendError(b, 12, e.Err)
	b = appendResponse(b, 13, e.Response)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// ParseEntries reads a chunk. What it returns shares b.
func ParseEntries(b []byte) ([]Entry, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] == 0 || b[0] > Version {
		return nil, fmt.Errorf("%w: version %d", ErrFormat, b[0])
	}
	var all []Entry
	for b = b[1:]; len(b) > 0; {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return all, fmt.Errorf("%w: oplog cut short after %d entries", ErrFormat, len(all))
		}
		n := binary.BigEndian.Uint32(b)
		e, err := parseEntry(b[4 : 4+n])
		if err != nil {
			return all, err
		}
		all = append(all, e)
		b = b[4+n:]
	}
	return all, nil
}

func parseEntry(b []byte) (e Entry, err error) {
	err = rawFields(b, func(tag byte, v []byte) (err error) {
		var n uint64
		switch tag {
		case 1:
			n, err = getUint(v)
			e.Phase = Phase(n)
		case 2:
			n, err = getUint(v)
			e.Kind = Kind(n)
		case 3:
			e.Scope = string(v)
		case 4:
			n, err = getUint(v)
			e.Seq = int(n)
		case 5:
			e.Name = string(v)
		case 6:
			e.Print = v
		case 7:
			e.Data = v
		case 8:
			e.ID = string(v)
		case 9:
			err = getInt(v, &e.Sent)
		case 10:
			err = getInt(v, &e.Until)
		case 11:
			err = getBool(v, &e.Continues)
		case 12:
			e.Err, err = parseError(v)
		case 13:
			e.Response, err = parseResponse(v)
		}
		return err
	})
	if err == nil && (e.Phase < Begin || e.Phase > Cancel || e.Seq < 0) {
		err = fmt.Errorf("%w: entry of phase %d", ErrFormat, e.Phase)
	}
	return e, err
}

// Join returns the entries of chunk a and then those of b as one chunk.
func Join(a, b []byte) []byte {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return append(a[:len(a):len(a)], b[1:]...)
}
