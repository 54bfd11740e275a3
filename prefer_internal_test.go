package chttp

import (
	"testing"
	"time"
)

func TestPreferencesAreReadAndGarbageIsIgnored(t *testing.T) {
	for _, ex := range []struct {
		values []string
		want   preferences
	}{
		{nil, preferences{}},
		{[]string{""}, preferences{}},
		{[]string{preferAsync}, preferences{Async: true}},
		{[]string{preferMinimal}, preferences{Minimal: true}},
		{[]string{"return=representation"}, preferences{}},
		{[]string{"Respond-Async, WAIT=10, Return=Minimal"}, preferences{Async: true, Minimal: true, Wait: 10 * time.Second, HasWait: true}},
		{[]string{"respond-async", "wait=1", "return=minimal"}, preferences{Async: true, Minimal: true, Wait: time.Second, HasWait: true}},
		{[]string{`respond-async;x="a, wait=9" , wait = "3" ; y`}, preferences{Async: true, Wait: 3 * time.Second, HasWait: true}},
		{[]string{"wait=0"}, preferences{HasWait: true}},
		{[]string{"wait=300"}, preferences{Wait: maxWait, HasWait: true}},
		{[]string{"wait=301"}, preferences{Wait: maxWait, HasWait: true}},
		{[]string{"wait=99999999999999999999999999"}, preferences{Wait: maxWait, HasWait: true}},
		{[]string{"wait=5, wait=6"}, preferences{Wait: 5 * time.Second, HasWait: true}},
		{[]string{"return=representation, return=minimal"}, preferences{}},
		{[]string{"wait", "wait=", "wait=-1", "wait=1.5", "wait=x", `wait="`, "=", ",;,", "\x00\xff", `x="respond-async`, `y="\", respond-async`}, preferences{}},
		{[]string{"return=minimal" + string(make([]byte, maxField))}, preferences{}},
	} {
		if got := parsePrefer(ex.values); got != ex.want {
			t.Errorf("parsePrefer(%.60q): got %+v, want %+v", ex.values, got, ex.want)
		}
	}
}

func FuzzParsePrefer(f *testing.F) {
	f.Add("respond-async, wait=10\nreturn=minimal")
	f.Add(`a="b, \"c";d=e, wait="5"`)
	f.Fuzz(func(t *testing.T, s string) {
		p := parsePrefer(lines(s))
		if p.Wait < 0 || p.Wait > maxWait || p.Wait%time.Second != 0 || !p.HasWait && p.Wait != 0 {
			t.Fatalf("%q: got %+v", s, p)
		}
	})
}
