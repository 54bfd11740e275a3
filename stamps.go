package chttp

import (
	"cmp"
	"fmt"
	"strings"
)

// stamps is the Certified field of a request: when the client first sent the message, when it sends it now, and after when it never
// will. Unix seconds; 0 is none. An acknowledgement by DELETE carries At alone (A1).
type stamps struct {
	Sent  int64
	At    int64
	Until int64
}

// String returns the field's value; what is 0 is left out.
func (s stamps) String() string {
	var room [96]byte
	b := append(room[:0], "v=1"...)
	b = appendDate(b, "sent", s.Sent)
	b = appendDate(b, "at", s.At)
	b = appendDate(b, "until", s.Until)
	return string(b)
}

// parseStamps reads the Certified field of a request that carries a message. Each of its three times is from 1 to maxSeconds; their
// order and distance are for S8 and S9 to judge. An error completes the sentence of the problem certified-invalid.
func parseStamps(values []string) (s stamps, present bool, err error) {
	if len(values) == 0 {
		return stamps{}, false, nil
	}
	if line, ok := only(values); ok {
		if s, ok := scanStamps(line); ok {
			return s, true, nil
		}
	}
	s, err = readStamps(values)
	if err != nil {
		return stamps{}, true, err
	}
	for _, member := range []struct {
		name  string
		value int64
	}{{"sent", s.Sent}, {"at", s.At}, {"until", s.Until}} {
		if member.value == 0 {
			return stamps{}, true, fmt.Errorf("%s is missing", member.name)
		}
	}
	return s, true, nil
}

// parseAckAt reads the Certified field of an acknowledgement by DELETE. It returns 0 when the field, or at, is missing: A5 counts that
// as until.
func parseAckAt(values []string) (at int64, err error) {
	if len(values) == 0 {
		return 0, nil
	}
	f, err := parseCertified(values)
	if err != nil {
		return 0, err
	}
	return f.seconds("at")
}

// scanStamps reads the form that String writes, and is silent about every other.
func scanStamps(field string) (s stamps, ok bool) {
	rest, ok := strings.CutPrefix(field, "v=1, ")
	if !ok {
		return stamps{}, false
	}
	for member := range strings.SplitSeq(rest, ", ") {
		name, digits, _ := strings.Cut(member, "=@")
		seconds := scanSeconds(digits)
		if seconds == 0 {
			return stamps{}, false
		}
		switch name {
		case "sent":
			s.Sent = seconds
		case "at":
			s.At = seconds
		case "until":
			s.Until = seconds
		default:
			return stamps{}, false
		}
	}
	return s, s.Sent != 0 && s.At != 0 && s.Until != 0
}

// readStamps reads any form. A missing member is 0.
func readStamps(values []string) (s stamps, err error) {
	f, err := parseCertified(values)
	if err != nil {
		return stamps{}, err
	}
	var sentErr, atErr, untilErr error
	s.Sent, sentErr = f.seconds("sent")
	s.At, atErr = f.seconds("at")
	s.Until, untilErr = f.seconds("until")
	return s, cmp.Or(sentErr, atErr, untilErr)
}
