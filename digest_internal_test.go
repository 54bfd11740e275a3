package chttp

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/dunglas/httpsfv"
)

// helloDigest is the example of RFC 9530, appendix D: {"hello": "world"} and a line feed.
const (
	hello       = `{"hello": "world"}` + "\n"
	helloDigest = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
)

func TestContentDigestIsThatOfRFC9530(t *testing.T) {
	if got := contentDigest([]byte(hello)); got != helloDigest {
		t.Errorf("got %s, want %s", got, helloDigest)
	}
	d, err := httpsfv.UnmarshalDictionary([]string{contentDigest(nil)})
	if err != nil || len(d.Names()) != 1 {
		t.Errorf("httpsfv reads %v, %v", d, err)
	}
}

func TestADigestIsVerifiedByEveryKnownAlgorithm(t *testing.T) {
	sum := sha512.Sum512([]byte(hello))
	long := "sha-512=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	const wrong256 = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
	for _, ex := range []struct {
		values []string
		want   error
	}{
		{nil, nil},
		{[]string{helloDigest}, nil},
		{[]string{long}, nil},
		{[]string{helloDigest, long}, nil},
		{[]string{long + "," + helloDigest + ";x=1"}, nil},
		{[]string{"unixsum=:AAAA:"}, nil},
		{[]string{""}, nil},
		{[]string{"unixsum=:AAAA:, " + helloDigest}, nil},
		{[]string{wrong256}, errDigestWrong},
		{[]string{wrong256, long}, errDigestWrong},
		{[]string{"sha-512=:AAAA:", helloDigest}, errDigestWrong},
		{[]string{"sha-256=::"}, errDigestWrong},
		{[]string{"sha-256"}, errDigestSyntax},
		{[]string{"sha-256=5"}, errDigestSyntax},
		{[]string{"sha-256=(:AAAA:)"}, errDigestSyntax},
		{[]string{"sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="}, errDigestSyntax},
		{[]string{"sha-256=:!:"}, errDigestSyntax},
		{[]string{"SHA-256=:AAAA:"}, errDigestSyntax},
		{[]string{helloDigest + "\r\n"}, errDigestSyntax},
		{[]string{string(make([]byte, maxField+1))}, errFieldTooLong},
	} {
		if got := verifyDigest(ex.values, []byte(hello)); !errors.Is(got, ex.want) {
			t.Errorf("verifyDigest(%.80q): got %v, want %v", ex.values, got, ex.want)
		}
	}
}

// TestAnOutcomeNeedsADigestThatProvesIt has digests that are right and prove nothing, and one that proves it in its second line.
func TestAnOutcomeNeedsADigestThatProvesIt(t *testing.T) {
	for _, ex := range []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{helloDigest}, true},
		{[]string{"unixsum=:AAAA:", helloDigest}, true},
		{[]string{"unixsum=:AAAA:"}, false},
		{[]string{"my-sha-256=:AAAA:"}, false},
		{[]string{`unixsum=:AAAA:;x="sha-256="`}, false},
		{[]string{"sha-256=:AAAA:"}, false},
	} {
		if got := provesContent(ex.values, []byte(hello)); got != ex.want {
			t.Errorf("provesContent(%q): got %v", ex.values, got)
		}
	}
}

func FuzzVerifyDigest(f *testing.F) {
	f.Add(helloDigest, []byte(hello))
	f.Add("unixsum=:AAAA:\nsha-512=:AAAA:", []byte{})
	f.Fuzz(func(t *testing.T, s string, body []byte) {
		if got, want := verifyDigest(lines(s), body), readDigest(lines(s), body); !errors.Is(got, want) {
			t.Fatalf("%q: quick says %v, slow %v", s, got, want)
		}
		own := contentDigest(body)
		if err := verifyDigest([]string{own}, body); err != nil {
			t.Fatalf("our own %s: %v", own, err)
		}
		if err := verifyDigest([]string{own}, append(bytes.Clone(body), 0)); !errors.Is(err, errDigestWrong) {
			t.Fatalf("%s of a longer body: got %v", own, err)
		}
	})
}
