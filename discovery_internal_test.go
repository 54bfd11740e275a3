package chttp

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestDiscoveryIsWrittenAndReadAsPublished(t *testing.T) {
	d := discovery{
		Versions: []int{1}, Store: "k3Jq", Retention: period(15 * 24 * time.Hour), Linger: period(10 * time.Minute), Skew: period(2 * time.Minute),
		MaxBody: 10 << 20, Ack: []string{ackHeader, ackDelete, ackBulk}, Now: 1795348261,
	}
	want := `{"versions":[1],"store":"k3Jq","retention":"P15D","linger":"PT10M","skew":"PT2M","max_body":10485760,"ack":["header","delete","bulk"],"now":1795348261}`
	body, err := json.Marshal(d)
	if err != nil || string(body) != want {
		t.Fatalf("got  %s, %v\nwant %s", body, err, want)
	}
	got, err := parseDiscovery(body)
	if err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDiscoveryIsOnlyThatOfAServerThatSpeaksVersion1(t *testing.T) {
	for _, ex := range []struct {
		body string
		ok   bool
	}{
		{`{"versions":[2,1],"new":{}}`, true},
		{`{"versions":[2]}`, false},
		{`{}`, false},
		{`[]`, false},
		{``, false},
		{`{"versions":[1],"linger":"10 minutes"}`, false},
		{`<html>`, false},
	} {
		if _, err := parseDiscovery([]byte(ex.body)); (err == nil) != ex.ok {
			t.Errorf("of %s: got %v, want ok %v", ex.body, err, ex.ok)
		}
	}
	if _, err := parseDiscovery([]byte(`{"versions":[2]}`)); !errors.Is(err, errNotCertified) {
		t.Errorf("got %v, want %v", err, errNotCertified)
	}
}

func TestPeriodsAreISO8601(t *testing.T) {
	const day = 24 * time.Hour
	for _, ex := range []struct {
		d    time.Duration
		want string
	}{
		{0, "PT0S"},
		{-time.Hour, "PT0S"},
		{999 * time.Millisecond, "PT0S"},
		{time.Second, "PT1S"},
		{90 * time.Second, "PT1M30S"},
		{10 * time.Minute, "PT10M"},
		{23 * time.Hour, "PT23H"},
		{day, "P1D"},
		{day + time.Second, "P1DT1S"},
		{15 * day, "P15D"},
		{1<<63 - 1, "P106751DT23H47M16S"},
	} {
		got := formatPeriod(ex.d)
		if got != ex.want {
			t.Errorf("formatPeriod(%v): got %s, want %s", ex.d, got, ex.want)
		}
		if d, err := parsePeriod(got); err != nil || d != max(ex.d, 0).Truncate(time.Second) {
			t.Errorf("parsePeriod(%s): got %v, %v", got, d, err)
		}
	}
}

func TestPeriodsAreReadInTheirOrderOnly(t *testing.T) {
	for _, ex := range []struct {
		s    string
		want time.Duration
		ok   bool
	}{
		{"P2W", 14 * 24 * time.Hour, true},
		{"P1W1DT1H1M1S", 8*24*time.Hour + time.Hour + time.Minute + time.Second, true},
		{"PT90M", 90 * time.Minute, true},
		{"P007D", 7 * 24 * time.Hour, true},
		{"", 0, false},
		{"P", 0, false},
		{"PT", 0, false},
		{"P1DT", 0, false},
		{"T1H", 0, false},
		{"1D", 0, false},
		{"P1", 0, false},
		{"PD", 0, false},
		{"P1H", 0, false},
		{"PT1D", 0, false},
		{"P1Y", 0, false},
		{"P1M", 0, false},
		{"PT1S1M", 0, false},
		{"PT1M1M", 0, false},
		{"PT1HT1M", 0, false},
		{"P-1D", 0, false},
		{"-P1D", 0, false},
		{"P+1D", 0, false},
		{"PT1.5S", 0, false},
		{"p1d", 0, false},
		{"P1D ", 0, false},
		{"P1D\x00", 0, false},
		{"P106751D", 106751 * 24 * time.Hour, true},
		{"P106752D", 0, false},
		{"P106751DT23H47M17S", 0, false},
		{"P99999999999999999999D", 0, false},
	} {
		got, err := parsePeriod(ex.s)
		if (err == nil) != ex.ok || got != ex.want {
			t.Errorf("parsePeriod(%q): got %v, %v, want %v, ok %v", ex.s, got, err, ex.want, ex.ok)
		}
	}
}

func FuzzParsePeriod(f *testing.F) {
	f.Add("P1W2DT3H4M5S")
	f.Add("PT10M")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parsePeriod(s)
		if err != nil {
			return
		}
		if again, err := parsePeriod(formatPeriod(d)); err != nil || again != d || d < 0 {
			t.Fatalf("%q: got %v, wrote %s, read %v, %v", s, d, formatPeriod(d), again, err)
		}
	})
}

func FuzzParseDiscovery(f *testing.F) {
	f.Add([]byte(`{"versions":[1],"store":"k3Jq","retention":"P15D","linger":"PT10M","skew":"PT2M","max_body":10485760,"ack":["header"],"now":1795348261}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDiscovery(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseDiscovery(again); err != nil || !reflect.DeepEqual(got, d) {
			t.Fatalf("wrote %s, read %+v, %v, want %+v", again, got, err, d)
		}
	})
}
