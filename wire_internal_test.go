package chttp

import (
	"net/http"
	"strings"
	"testing"
)

// lines makes the lines of a header field from a fuzzed string.
func lines(s string) []string { return strings.Split(s, "\n") }

// checkSafe fails when a value could not stand in a header field as it is.
func checkSafe(t *testing.T, value string) {
	t.Helper()
	for i := range len(value) {
		if c := value[i]; c < ' ' || c >= 0x7f {
			t.Fatalf("byte %#x at %d of %q is not safe in a header", c, i, value)
		}
	}
}

// hostile are texts that must never reach a header field unescaped.
var hostile = []string{"a\r\nSet-Cookie: x=1", "a\nb", "a\x00b", "a\x7fb", "ä", "\xff", `a"b`, `a", state=done, x="`, `a\b`, "a b", "\t"}

func TestHeaderNamesAreCanonical(t *testing.T) {
	for _, name := range []string{
		headerKey, headerCertified, headerDigest, headerAck, headerReplayed, headerPrefer,
		headerPreferenceApplied, headerRetryAfter, headerContentType, headerCacheControl, headerAcceptEncoding,
	} {
		if got := http.CanonicalHeaderKey(name); got != name {
			t.Errorf("got %q, want %q: direct look-up in http.Header would miss it", name, got)
		}
	}
}
