package chttp

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func manyAcks(n int) []ack {
	acks := make([]ack, n)
	for i := range acks {
		acks[i] = ack{ID: "id" + strconv.Itoa(i), At: int64(i)}
	}
	return acks
}

func TestHTTPSFVReadsTheAcksThatWeWrite(t *testing.T) {
	field := formatAcks([]ack{{"id1", 1795348260}, {"id2", 0}})
	if want := `"id1";at=@1795348260, "id2"`; field != want {
		t.Fatalf("got %s, want %s", field, want)
	}
	list, err := httpsfv.UnmarshalList([]string{field})
	if err != nil || len(list) != 2 {
		t.Fatalf("got %v, %v, want two", list, err)
	}
	first, second := list[0].(httpsfv.Item), list[1].(httpsfv.Item)
	at, _ := first.Params.Get("at")
	if first.Value != "id1" || at != time.Unix(1795348260, 0) || second.Value != "id2" || len(second.Params.Names()) != 0 {
		t.Errorf("got %v", list)
	}
}

func TestAcksAreReadAsTheyWereWritten(t *testing.T) {
	for _, n := range []int{0, 1, 2, 99, 100} {
		want := manyAcks(n)
		var values []string
		if field := formatAcks(want); field != "" {
			values = []string{field}
		}
		got, err := parseAcks(values)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("of %d: got %v, %v", n, got, err)
		}
	}
}

func TestAcksAreReadInEveryFormOfRFC9651(t *testing.T) {
	for _, ex := range []struct {
		values []string
		want   []ack
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{`"a"`}, []ack{{"a", 0}}},
		{[]string{`"a";at=@5,"b"; at=@6;new=?1`, `"c";new`}, []ack{{"a", 5}, {"b", 6}, {"c", 0}}},
		{[]string{`"a";at=@5, "a";at=@4, "a"`}, []ack{{"a", 5}, {"a", 4}, {"a", 0}}},
		{[]string{`"a";at=@4;at=@5`}, []ack{{"a", 5}}},
	} {
		got, err := parseAcks(ex.values)
		if err != nil || !slices.Equal(got, ex.want) {
			t.Errorf("parseAcks(%q): got %v, %v, want %v", ex.values, got, err, ex.want)
		}
	}
}

func TestAcksInErrorAreRefusedWhole(t *testing.T) {
	for _, values := range [][]string{
		{"a"},
		{`"a", b`},
		{`"a", ("b")`},
		{`""`},
		{`"a b"`},
		{`"a;b"`},
		{`"` + strings.Repeat("a", 256) + `"`},
		{`"a";at=5`},
		{`"a";at`},
		{`"a";at=@0`},
		{`"a";at=@-1`},
		{`"a";at=@253402300800`},
		{`"a";at=@1.5`},
		{`"a",`},
		{`"a`},
		{"\"a\"\r\n"},
		{"\x00"},
		{formatAcks(manyAcks(100)), `"one-more"`},
		{strings.Repeat(" ", maxField+1)},
	} {
		if got, err := parseAcks(values); err == nil || got != nil {
			t.Errorf("parseAcks(%.60q): got %d, %v, want an error", values, len(got), err)
		}
	}
}

func TestAcksThatCannotBeSentAreLeftOut(t *testing.T) {
	if got, err := parseAcks([]string{formatAcks(manyAcks(101))}); err != nil || len(got) != 100 {
		t.Errorf("of 101: got %d, %v, want the first 100", len(got), err)
	}
	for _, s := range hostile {
		if got, want := formatAcks([]ack{{s, 1}, {"a", 2}}), `"a";at=@2`; got != want {
			t.Errorf("with %q: got %q, want %q", s, got, want)
		}
	}
}

func TestBulkAcksAreBounded(t *testing.T) {
	body := func(n int) []byte {
		return []byte(`{"acks":[` + strings.TrimSuffix(strings.Repeat(`{"message":"/x","at":5},`, n), ",") + `]}`)
	}
	for _, ex := range []struct {
		body []byte
		want int
		ok   bool
	}{
		{body(0), 0, true},
		{body(1), 1, true},
		{body(1000), 1000, true},
		{body(1001), 0, false},
		{[]byte(`{"acks":[{"message":"/x"}],"new":1}`), 1, true},
		{[]byte(`{"acks":[{"message":"/x","at":-1}]}`), 0, false},
		{[]byte(`{"acks":[{"message":"/x","at":253402300800}]}`), 0, false},
		{[]byte(`{"acks":[{"message":"/x","at":1.5}]}`), 0, false},
		{[]byte(`{"acks":{}}`), 0, false},
		{nil, 0, false},
	} {
		got, err := parseBulkAcks(ex.body)
		if (err == nil) != ex.ok || len(got.Acks) != ex.want {
			t.Errorf("parseBulkAcks(%.60q): got %d, %v, want %d, ok %v", ex.body, len(got.Acks), err, ex.want, ex.ok)
		}
	}
}

func FuzzParseAcks(f *testing.F) {
	f.Add(`"id1";at=@1795348260, "id2"`)
	f.Add("\"a\";at=@5;x,\"b\"\n\"c\"")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseAcks(lines(s))
		if quick, ok := scanAcks(s); ok {
			slow, slowErr := readAcks([]string{s})
			if slowErr != nil || !slices.Equal(quick, slow) {
				t.Fatalf("%q: quick reads %v, slow %v, %v", s, quick, slow, slowErr)
			}
		}
		if err != nil {
			return
		}
		if len(got) > maxAcks {
			t.Fatalf("got %d, want at most %d", len(got), maxAcks)
		}
		field := formatAcks(got)
		checkSafe(t, field)
		again, err := parseAcks([]string{field})
		if err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q: wrote %q, read %v, %v", s, field, again, err)
		}
	})
}

func FuzzParseBulkAcks(f *testing.F) {
	f.Add([]byte(`{"acks":[{"message":"/.well-known/chttp/messages/AQE","at":1795348260}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		bulk, err := parseBulkAcks(body)
		if err != nil {
			return
		}
		if len(bulk.Acks) > maxBulkAcks {
			t.Fatalf("got %d, want at most %d", len(bulk.Acks), maxBulkAcks)
		}
		for _, a := range bulk.Acks {
			if a.At < 0 || a.At > maxSeconds {
				t.Fatalf("got at %d", a.At)
			}
		}
	})
}

func BenchmarkAcks(b *testing.B) {
	field := []string{formatAcks(manyAcks(10))}
	b.ReportAllocs()
	for b.Loop() {
		acks, err := parseAcks(field)
		if err != nil || formatAcks(acks) != field[0] {
			b.Fatal(acks, err)
		}
	}
}
