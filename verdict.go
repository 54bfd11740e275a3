package chttp

import (
	"cmp"
	"errors"
	"strings"

	"github.com/dunglas/httpsfv"
)

// verdict is the Certified field of a response. Unix seconds. Members that are zero are left out: a response to what is no message
// has no ID, and only a message that the server knows has a Message, the path of its URL.
type verdict struct {
	ID       string
	State    wireState
	Replayed bool
	Until    int64
	Now      int64
	Store    string
	Message  string
}

var (
	errNoState   = errors.New("state is missing, or none of version 1")
	errReplayed  = errors.New("replayed is not a boolean")
	errVerdictID = errors.New("id is not a message id")
	errNotAPath  = errors.New("message is not an absolute path")
)

// String returns the field's value.
func (v verdict) String() string {
	var room [512]byte
	b := append(room[:0], "v=1"...)
	if validID(v.ID) == nil {
		b = appendText(b, "id", v.ID)
	}
	if v.State.valid() {
		b = append(b, ", state="...)
		b = append(b, v.State...)
	}
	if v.Replayed {
		b = append(b, ", replayed=?1"...)
	}
	b = appendDate(b, "until", v.Until)
	b = appendDate(b, "now", v.Now)
	b = appendText(b, "store", v.Store)
	b = appendText(b, "message", v.Message)
	return string(b)
}

// parseVerdict reads the Certified field of a response. Of its members only the version and the state are required here; whether the
// id is the request's is for the caller to compare. A response whose field is in error is no answer (section 2).
func parseVerdict(values []string) (v verdict, present bool, err error) {
	if len(values) == 0 {
		return verdict{}, false, nil
	}
	if line, ok := only(values); ok {
		if v, ok := scanVerdict(line); ok {
			return v, true, nil
		}
	}
	v, err = readVerdict(values)
	if err != nil {
		return verdict{}, true, err
	}
	return v, true, nil
}

// scanVerdict reads the form that String writes, and is silent about every other.
func scanVerdict(field string) (v verdict, ok bool) {
	rest, ok := strings.CutPrefix(field, "v=1, ")
	if !ok {
		return verdict{}, false
	}
	for member := range strings.SplitSeq(rest, ", ") {
		name, value, _ := strings.Cut(member, "=")
		ok := false
		switch name {
		case "id":
			v.ID = scanQuoted(value)
			ok = validID(v.ID) == nil
		case "state":
			v.State = wireState(value)
			ok = v.State.valid()
		case "replayed":
			v.Replayed = true
			ok = value == "?1"
		case "until":
			v.Until, ok = scanDate(value)
		case "now":
			v.Now, ok = scanDate(value)
		case "store":
			v.Store = scanQuoted(value)
			ok = v.Store != ""
		case "message":
			v.Message = scanQuoted(value)
			ok = isPath(v.Message)
		}
		if !ok {
			return verdict{}, false
		}
	}
	return v, v.State != ""
}

func scanDate(value string) (seconds int64, ok bool) {
	digits, at := strings.CutPrefix(value, "@")
	seconds = scanSeconds(digits)
	return seconds, at && seconds != 0
}

// readVerdict reads any form.
func readVerdict(values []string) (v verdict, err error) {
	f, err := parseCertified(values)
	if err != nil {
		return verdict{}, err
	}
	state, _ := f.item("state")
	token, _ := state.(httpsfv.Token)
	if v.State = wireState(token); !v.State.valid() {
		return verdict{}, errNoState
	}
	if replayed, present := f.item("replayed"); present {
		var ok bool
		if v.Replayed, ok = replayed.(bool); !ok {
			return verdict{}, errReplayed
		}
	}
	var errs [5]error
	v.ID, errs[0] = f.text("id")
	v.Until, errs[1] = f.seconds("until")
	v.Now, errs[2] = f.seconds("now")
	v.Store, errs[3] = f.text("store")
	v.Message, errs[4] = f.text("message")
	if err := cmp.Or(errs[:]...); err != nil {
		return verdict{}, err
	}
	switch {
	case v.ID != "" && validID(v.ID) != nil:
		return verdict{}, errVerdictID
	case v.Message != "" && !isPath(v.Message):
		return verdict{}, errNotAPath
	}
	return v, nil
}

// isPath tells whether s stays on the authority that sent it: a peer must not point a client, and its credentials, at another host.
func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//")
}
