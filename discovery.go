package chttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// discovery is what a certified server says about itself at wellKnown (section 8).
type discovery struct {
	Versions  []int    `json:"versions"`
	Store     string   `json:"store"`
	Retention period   `json:"retention"`
	Linger    period   `json:"linger"`
	Skew      period   `json:"skew"`
	MaxBody   int64    `json:"max_body"`
	Ack       []string `json:"ack"`
	Now       int64    `json:"now"` // Unix seconds
}

// Ways to acknowledge that a server can offer (A1).
const (
	ackHeader = "header"
	ackDelete = "delete"
	ackBulk   = "bulk"
)

var (
	errNotCertified = errors.New("the server does not speak version 1 of Certified HTTP")
	errPeriod       = errors.New("not an ISO 8601 duration in weeks, days, hours, minutes and seconds")
)

// parseDiscovery reads the body of a discovery response. The error is errNotCertified when the server speaks no version that we speak.
func parseDiscovery(body []byte) (discovery, error) {
	var d discovery
	if err := json.Unmarshal(body, &d); err != nil {
		return discovery{}, fmt.Errorf("read discovery: %w", err)
	}
	if !slices.Contains(d.Versions, protocolVersion) {
		return discovery{}, errNotCertified
	}
	return d, nil
}

// period is a duration that is written in ISO 8601 on the wire.
type period time.Duration

// MarshalText implements encoding.TextMarshaler.
func (p period) MarshalText() ([]byte, error) { return []byte(formatPeriod(time.Duration(p))), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *period) UnmarshalText(text []byte) error {
	d, err := parsePeriod(string(text))
	*p = period(d)
	return err
}

// formatPeriod returns d in ISO 8601, in days, hours, minutes and whole seconds rounded down. Below 0 is 0.
func formatPeriod(d time.Duration) string {
	seconds := max(int64(d/time.Second), 0)
	if seconds == 0 {
		return "PT0S"
	}
	b := []byte{'P'}
	b = appendPart(b, seconds/86400, 'D')
	if seconds%86400 != 0 {
		b = append(b, 'T')
		b = appendPart(b, seconds%86400/3600, 'H')
		b = appendPart(b, seconds%3600/60, 'M')
		b = appendPart(b, seconds%60, 'S')
	}
	return string(b)
}

func appendPart(b []byte, n int64, unit byte) []byte {
	if n == 0 {
		return b
	}
	return append(strconv.AppendInt(b, n, 10), unit)
}

// periodUnits are the units of a period in their order. The part behind T begins at periodTime; years and months have no fixed length
// and are not read.
var periodUnits = [...]struct {
	letter byte
	length time.Duration
}{{'W', 7 * 24 * time.Hour}, {'D', 24 * time.Hour}, {'H', time.Hour}, {'M', time.Minute}, {'S', time.Second}}

const periodTime = 2

// parsePeriod reads an ISO 8601 duration of whole weeks, days, hours, minutes and seconds, in this order, at least one of them. What is
// longer than a time.Duration can say is an error.
func parsePeriod(s string) (time.Duration, error) {
	rest, ok := strings.CutPrefix(s, "P")
	if !ok {
		return 0, errPeriod
	}
	var sum time.Duration
	unit, timed := 0, false
	for first := true; first || rest != ""; first = false {
		if !timed && strings.HasPrefix(rest, "T") {
			rest, timed, unit = rest[1:], true, periodTime
		}
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || digits == len(rest) {
			return 0, errPeriod
		}
		letter := rest[digits]
		for unit < len(periodUnits) && periodUnits[unit].letter != letter {
			unit++
		}
		if unit == len(periodUnits) || (unit >= periodTime) != timed {
			return 0, errPeriod
		}
		length := periodUnits[unit].length
		if n > int64((1<<63-1-sum)/length) {
			return 0, errPeriod
		}
		sum += time.Duration(n) * length
		rest, unit = rest[digits+1:], unit+1
	}
	return sum, nil
}
