package chttp

import (
	"testing"
	"time"
)

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, ex := range []struct {
		values []string
		want   time.Duration
		ok     bool
	}{
		{[]string{"0"}, 0, true},
		{[]string{"1"}, time.Second, true},
		{[]string{" 120 "}, 2 * time.Minute, true},
		{[]string{"86400"}, maxRetryAfter, true},
		{[]string{"86401"}, maxRetryAfter, true},
		{[]string{"99999999999999999999999999"}, maxRetryAfter, true},
		{[]string{"-5"}, 0, true},
		{[]string{"Sun, 22 Nov 2026 12:00:30 GMT"}, 30 * time.Second, true},
		{[]string{"Sunday, 22-Nov-26 12:00:30 GMT"}, 30 * time.Second, true},
		{[]string{"Sun, 22 Nov 2026 11:00:00 GMT"}, 0, true},
		{[]string{"Mon, 22 Nov 2266 11:00:00 GMT"}, maxRetryAfter, true},
		{[]string{"soon", "7"}, 7 * time.Second, true},
		{[]string{"7", "9"}, 7 * time.Second, true},
		{nil, 0, false},
		{[]string{""}, 0, false},
		{[]string{"-"}, 0, false},
		{[]string{"1.5"}, 0, false},
		{[]string{"+5"}, 0, false},
		{[]string{"5, 6"}, 0, false},
		{[]string{"5\r\n"}, 0, false},
		{[]string{"\x00"}, 0, false},
	} {
		got, ok := parseRetryAfter(ex.values, now)
		if got != ex.want || ok != ex.ok {
			t.Errorf("parseRetryAfter(%q): got %v, %v, want %v, %v", ex.values, got, ok, ex.want, ex.ok)
		}
	}
}

func TestRetryAfterIsWrittenInWholeSecondsRoundedUp(t *testing.T) {
	for _, ex := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Hour, "0"}, {0, "0"}, {1, "1"}, {time.Second, "1"}, {time.Second + 1, "2"}, {time.Minute, "60"}, {1<<63 - 1, "9223372037"},
	} {
		if got := formatRetryAfter(ex.d); got != ex.want {
			t.Errorf("formatRetryAfter(%d): got %s, want %s", ex.d, got, ex.want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	f.Add("120", int64(1795348260))
	f.Add("Sun, 22 Nov 2026 12:00:30 GMT\n-5", int64(0))
	f.Fuzz(func(t *testing.T, s string, now int64) {
		d, ok := parseRetryAfter(lines(s), time.Unix(now, 0))
		if d < 0 || d > maxRetryAfter || !ok && d != 0 {
			t.Fatalf("%q: got %v, %v", s, d, ok)
		}
	})
}
