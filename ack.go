package chttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"
)

// Limits of acknowledgements in one request.
const (
	maxAcks     = 100  // that ride along in Certified-Ack
	maxBulkAcks = 1000 // in the body of one POST
)

// ack says that the outcome of a message was kept, and that no attempt of it later than At was or will be made (A5).
type ack struct {
	ID string
	At int64 // Unix seconds. 0: none was named, which counts as until
}

var (
	errAckSyntax = errors.New("an acknowledgement is not an id in quotes")
	errAckTime   = fmt.Errorf("at is not a date from @1 to @%d", int64(maxSeconds))
	errBulkTime  = fmt.Errorf("at is not a number from 1 to %d", int64(maxSeconds))
	errManyAcks  = fmt.Errorf("there are more than %d acknowledgements", maxAcks)
	errBulkAcks  = fmt.Errorf("there are more than %d acknowledgements", maxBulkAcks)
)

// formatAcks returns the value of a Certified-Ack field, "" for none. Acknowledgements beyond maxAcks, which the caller keeps for its
// next request, and those of ids that are not valid are left out.
func formatAcks(acks []ack) string {
	var b []byte
	for _, a := range acks[:min(len(acks), maxAcks)] {
		if validID(a.ID) != nil {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, '"')
		b = append(b, a.ID...)
		b = append(b, '"')
		if a.At != 0 {
			b = append(b, ";at=@"...)
			b = strconv.AppendInt(b, a.At, 10)
		}
	}
	return string(b)
}

// parseAcks reads a Certified-Ack field, in the order and number given: an id may occur twice. An error means that none of them counts,
// which harms nothing (A4).
func parseAcks(values []string) ([]ack, error) {
	if len(values) == 0 {
		return nil, nil
	}
	if line, ok := only(values); ok {
		if acks, ok := scanAcks(line); ok {
			return acks, nil
		}
	}
	return readAcks(values)
}

// scanAcks reads the form that formatAcks writes, and is silent about every other.
func scanAcks(field string) ([]ack, bool) {
	n := strings.Count(field, ", ") + 1
	if n > maxAcks {
		return nil, false
	}
	acks := make([]ack, 0, n)
	for member := range strings.SplitSeq(field, ", ") {
		quoted, digits, dated := strings.Cut(member, ";at=@")
		a := ack{ID: scanQuoted(quoted), At: scanSeconds(digits)}
		if validID(a.ID) != nil || dated != (a.At != 0) {
			return nil, false
		}
		acks = append(acks, a)
	}
	return acks, true
}

// readAcks reads any form.
func readAcks(values []string) ([]ack, error) {
	if fieldSize(values) > maxField {
		return nil, errFieldTooLong
	}
	list, err := httpsfv.UnmarshalList(values)
	if err != nil {
		return nil, errFieldSyntax
	}
	if len(list) > maxAcks {
		return nil, errManyAcks
	}
	var acks []ack
	for _, member := range list {
		a, err := readAck(member)
		if err != nil {
			return nil, err
		}
		acks = append(acks, a)
	}
	return acks, nil
}

func readAck(member httpsfv.Member) (a ack, err error) {
	item, ok := member.(httpsfv.Item)
	if !ok {
		return ack{}, errAckSyntax
	}
	if a.ID, ok = item.Value.(string); !ok {
		return ack{}, errAckSyntax
	}
	if err := validID(a.ID); err != nil {
		return ack{}, err
	}
	if at, dated := item.Params.Get("at"); dated {
		if a.At, ok = unixSeconds(at); !ok {
			return ack{}, errAckTime
		}
	}
	return a, nil
}

// bulkAck acknowledges the message whose URL is the path Message.
type bulkAck struct {
	Message string `json:"message"`
	At      int64  `json:"at,omitzero"` // Unix seconds. 0: none was named, which counts as until
}

// bulkAcks is the body of a POST that acknowledges many messages (A1).
type bulkAcks struct {
	Acks []bulkAck `json:"acks"`
}

// parseBulkAcks reads the body of such a POST. Whether a Message is one of ours is for capabilities to tell.
func parseBulkAcks(body []byte) (bulkAcks, error) {
	var bulk bulkAcks
	if err := json.Unmarshal(body, &bulk); err != nil {
		return bulkAcks{}, fmt.Errorf("read acknowledgements: %w", err)
	}
	if len(bulk.Acks) > maxBulkAcks {
		return bulkAcks{}, errBulkAcks
	}
	for _, a := range bulk.Acks {
		if a.At < 0 || a.At > maxSeconds {
			return bulkAcks{}, errBulkTime
		}
	}
	return bulk, nil
}
