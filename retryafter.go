package chttp

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter is the longest that a peer can make us wait by saying so. A peer that is still not ready then says it again.
const maxRetryAfter = 24 * time.Hour

// parseRetryAfter reads a Retry-After field, seconds or a date, as the time to wait from now: not below 0 and at most maxRetryAfter. Of
// several lines the first that can be read counts.
func parseRetryAfter(values []string, now time.Time) (time.Duration, bool) {
	for _, line := range values {
		line = strings.Trim(line, " \t")
		if d, ok := deltaSeconds(line, maxRetryAfter); ok {
			return d, true
		}
		if digits, negative := strings.CutPrefix(line, "-"); negative {
			if _, ok := deltaSeconds(digits, maxRetryAfter); ok {
				return 0, true
			}
		}
		if t, err := http.ParseTime(line); err == nil {
			return min(max(t.Sub(now), 0), maxRetryAfter), true
		}
	}
	return 0, false
}

// formatRetryAfter returns the value of a Retry-After field: whole seconds, rounded up, so that nobody comes too early.
func formatRetryAfter(d time.Duration) string {
	seconds := d / time.Second
	if d%time.Second > 0 {
		seconds++
	}
	return strconv.FormatInt(int64(max(seconds, 0)), 10)
}
