package chttp

import (
	"errors"
	"strings"
	"testing"
)

func TestAnIDHas1To255VisibleCharactersWithoutTheReservedOnes(t *testing.T) {
	for _, ex := range []struct {
		id   string
		want error
	}{
		{"", errIDEmpty},
		{"a", nil},
		{strings.Repeat("a", 255), nil},
		{strings.Repeat("a", 256), errIDLong},
		{"!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~", nil},
		{`a"b`, errIDReserved},
		{`a\b`, errIDReserved},
		{"a,b", errIDReserved},
		{"a;b", errIDReserved},
		{"a b", errIDInvisible},
		{"a\tb", errIDInvisible},
		{"a\r\nb", errIDInvisible},
		{"a\x00", errIDInvisible},
		{"a\x7f", errIDInvisible},
		{"ä", errIDInvisible},
		{"\xff", errIDInvisible},
	} {
		if got := validID(ex.id); !errors.Is(got, ex.want) {
			t.Errorf("validID(%.20q): got %v, want %v", ex.id, got, ex.want)
		}
	}
}

func TestAKeyInQuotesAndBareNamesTheSameMessage(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, ex := range []struct {
		values []string
		id     string
		want   error
	}{
		{[]string{`"a1"`}, "a1", nil},
		{[]string{"a1"}, "a1", nil},
		{[]string{" \ta1 "}, "a1", nil},
		{[]string{`"a1";p=1`}, "a1", nil},
		{[]string{`"` + long + `"`}, long, nil},
		{[]string{long}, long, nil},
		{nil, "", errNoKey},
		{[]string{}, "", errNoKey},
		{[]string{"a1", "a1"}, "", errManyKeys},
		{[]string{""}, "", errIDEmpty},
		{[]string{`""`}, "", errIDEmpty},
		{[]string{long + "x"}, "", errIDLong},
		{[]string{`"` + long + `x"`}, "", errIDLong},
		{[]string{`"a1`}, "", errKeySyntax},
		{[]string{`"`}, "", errKeySyntax},
		{[]string{`"a1" x`}, "", errKeySyntax},
		{[]string{`"a1", "a2"`}, "", errKeySyntax},
		{[]string{"a1, a2"}, "", errIDReserved},
		{[]string{`a1"`}, "", errIDReserved},
		{[]string{`"a\"b"`}, "", errIDReserved},
		{[]string{`"a b"`}, "", errIDInvisible},
		{[]string{"\"a\r\nb\""}, "", errKeySyntax},
		{[]string{"a\x00"}, "", errIDInvisible},
		{[]string{`"` + strings.Repeat(" ", maxField) + `"`}, "", errFieldTooLong},
	} {
		id, err := parseKey(ex.values)
		if !errors.Is(err, ex.want) || err == nil && id != ex.id {
			t.Errorf("parseKey(%.30q): got %.20q, %v, want %.20q, %v", ex.values, id, err, ex.id, ex.want)
		}
	}
}

func TestAKeyIsFormattedInQuotesForCertifiedPeersOnly(t *testing.T) {
	for _, ex := range []struct {
		id        string
		certified bool
		want      string
	}{{"a1", true, `"a1"`}, {"a1", false, "a1"}, {"", true, ""}, {"a b", false, ""}} {
		if got := formatKey(ex.id, ex.certified); got != ex.want {
			t.Errorf("formatKey(%q, %v): got %q, want %q", ex.id, ex.certified, got, ex.want)
		}
	}
	for _, s := range hostile {
		if got := formatKey(s, true) + formatKey(s, false); got != "" {
			t.Errorf("formatKey(%q): got %q, want nothing", s, got)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(`"a1"`)
	f.Add("a1")
	f.Add("\"a1\";x\n")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := parseKey(lines(s))
		if err != nil {
			return
		}
		for _, certified := range []bool{true, false} {
			field := formatKey(id, certified)
			checkSafe(t, field)
			again, err := parseKey([]string{field})
			if err != nil || again != id {
				t.Fatalf("%q: wrote %q, read %q, %v", s, field, again, err)
			}
		}
		if slow, err := readKey(formatKey(id, true)); err != nil || slow != id {
			t.Fatalf("httpsfv reads %q, %v, want %q", slow, err, id)
		}
	})
}
