package chttp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func TestStampsAreReadInEveryFormOfRFC9651(t *testing.T) {
	want := stamps{Sent: 1, At: 1795348260, Until: maxSeconds}
	for _, values := range [][]string{
		{"v=1, sent=@1, at=@1795348260, until=@253402300799"},
		{"v=1,sent=@1,at=@1795348260,until=@253402300799"},
		{"until=@253402300799, at=@1795348260, sent=@1, v=1"},
		{"v=1, sent=@1", "at=@1795348260", "until=@253402300799"},
		{`v=1;p="x", sent=@1;q, at=@1795348260 ,` + "\t" + `until=@253402300799, new=(1 2), other="a, at=@5"`},
		{"v=1, sent=@7, sent=@1, at=@1795348260, until=@253402300799"}, // the last one counts
		{"v=2, v=1, sent=@1, at=@1795348260, until=@253402300799"},
	} {
		got, present, err := parseStamps(values)
		if err != nil || !present || got != want {
			t.Errorf("parseStamps(%q): got %v, %v, %v, want %v", values, got, present, err, want)
		}
	}
}

func TestStampsAreRefusedWithTheReason(t *testing.T) {
	for _, ex := range []struct {
		field string
		want  string
	}{
		{"", "does not say v=1"},
		{"sent=@1, at=@2, until=@3", "does not say v=1"},
		{"v=2, sent=@1, at=@2, until=@3", "does not say v=1"},
		{`v="1", sent=@1, at=@2, until=@3`, "does not say v=1"},
		{"v=1.0, sent=@1, at=@2, until=@3", "does not say v=1"},
		{"v=(1), sent=@1, at=@2, until=@3", "does not say v=1"},
		{"v=1", "sent is missing"},
		{"v=1, sent=@1, until=@3", "at is missing"},
		{"v=1, sent=@1, at=@2", "until is missing"},
		{"v=1, sent=1, at=@2, until=@3", "sent is not a date"},
		{"v=1, sent=@0, at=@2, until=@3", "sent is not a date"},
		{"v=1, sent=@-1, at=@2, until=@3", "sent is not a date"},
		{"v=1, sent=@1, at, until=@3", "at is not a date"},
		{"v=1, sent=@1, at=@2, until=@253402300800", "until is not a date"},
		{"v=1, sent=@1, at=@2, until=@999999999999999", "until is not a date"},
		{"v=1, sent=@1, at=@2, until=@9999999999999999999", "not a structured field"},
		{"v=1, sent=@1.5, at=@2, until=@3", "not a structured field"},
		{"v=1, sent=@1, at=@2, until=@3,", "not a structured field"},
		{"v=1, sent=@1, at=@2, until=@3\r\nX: y", "not a structured field"},
		{"v=1, sent=@1, at=@2, until=@3\x00", "not a structured field"},
		{"\xff", "not a structured field"},
		{"v=1, sent=@1, at=@2, until=@3" + strings.Repeat(", at=@2", maxField/7), "longer than"},
	} {
		_, present, err := parseStamps([]string{ex.field})
		if !present || err == nil || !strings.Contains(err.Error(), ex.want) {
			t.Errorf("parseStamps(%.60q): got %v, %v, want an error that says %q", ex.field, present, err, ex.want)
		}
	}
}

func TestWithoutCertifiedThereAreNoStamps(t *testing.T) {
	if _, present, err := parseStamps(nil); present || err != nil {
		t.Errorf("got %v, %v, want nothing", present, err)
	}
}

func TestTheOrderOfStampsIsNotJudgedByTheParser(t *testing.T) {
	if _, _, err := parseStamps([]string{"v=1, sent=@3, at=@2, until=@1"}); err != nil {
		t.Errorf("got %v, want stamps for S8 to judge", err)
	}
}

func TestAnAcknowledgementByDeleteMayNameAtOrNothing(t *testing.T) {
	for _, ex := range []struct {
		values []string
		at     int64
		ok     bool
	}{
		{nil, 0, true},
		{[]string{stamps{At: 5}.String()}, 5, true},
		{[]string{"v=1"}, 0, true},
		{[]string{"v=1, sent=@1, at=@2, until=@3"}, 2, true},
		{[]string{"at=@2"}, 0, false},
		{[]string{"v=1, at=@0"}, 0, false},
		{[]string{"v=1, at=2"}, 0, false},
	} {
		at, err := parseAckAt(ex.values)
		if at != ex.at || (err == nil) != ex.ok {
			t.Errorf("parseAckAt(%q): got %d, %v, want %d, ok %v", ex.values, at, err, ex.at, ex.ok)
		}
	}
}

func TestHTTPSFVReadsTheStampsThatWeWrite(t *testing.T) {
	s := stamps{Sent: 1795348200, At: 1795348260, Until: 1795953000}
	if got, want := s.String(), "v=1, sent=@1795348200, at=@1795348260, until=@1795953000"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	d, err := httpsfv.UnmarshalDictionary([]string{s.String()})
	if err != nil {
		t.Fatal(err)
	}
	checkDictionary(t, d, map[string]any{"v": int64(1), "sent": time.Unix(s.Sent, 0), "at": time.Unix(s.At, 0), "until": time.Unix(s.Until, 0)})
}

// checkDictionary fails unless d holds exactly these items.
func checkDictionary(t *testing.T, d *httpsfv.Dictionary, want map[string]any) {
	t.Helper()
	if len(d.Names()) != len(want) {
		t.Errorf("got members %q, want %d", d.Names(), len(want))
	}
	for name, value := range want {
		m, _ := d.Get(name)
		if item, ok := m.(httpsfv.Item); !ok || item.Value != value {
			t.Errorf("got %s=%v, want %v", name, m, value)
		}
	}
}

func FuzzParseStamps(f *testing.F) {
	f.Add("v=1, sent=@1795348200, at=@1795348260, until=@1795953000")
	f.Add("v=1,sent=@1\nat=@2;x, until=@3, y=\"a, b\"")
	f.Fuzz(func(t *testing.T, s string) {
		got, _, err := parseStamps(lines(s))
		if quick, ok := scanStamps(s); ok && len(s) <= maxField {
			slow, slowErr := readStamps([]string{s})
			if slowErr != nil || quick != slow {
				t.Fatalf("%q: quick reads %v, slow %v, %v", s, quick, slow, slowErr)
			}
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("error %q has several lines", err)
			}
			return
		}
		again, _, err := parseStamps([]string{got.String()})
		if err != nil || again != got {
			t.Fatalf("%q: wrote %q, read %v, %v", s, got.String(), again, err)
		}
		checkSafe(t, got.String())
	})
}

func BenchmarkStamps(b *testing.B) {
	field := []string{stamps{1795348200, 1795348260, 1795953000}.String()}
	b.ReportAllocs()
	for b.Loop() {
		s, _, err := parseStamps(field)
		if err != nil || s.String() != field[0] {
			b.Fatal(fmt.Sprint(s, err))
		}
	}
}
