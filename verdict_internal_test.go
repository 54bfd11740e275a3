package chttp

import (
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

var fullVerdict = verdict{
	ID: "a1", State: stateDone, Replayed: true, Until: 1795953000, Now: 1795348261,
	Store: "k3Jq", Message: "/.well-known/chttp/messages/AQE",
}

func TestHTTPSFVReadsTheVerdictThatWeWrite(t *testing.T) {
	want := `v=1, id="a1", state=done, replayed=?1, until=@1795953000, now=@1795348261, store="k3Jq", message="/.well-known/chttp/messages/AQE"`
	if got := fullVerdict.String(); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	d, err := httpsfv.UnmarshalDictionary([]string{want})
	if err != nil {
		t.Fatal(err)
	}
	checkDictionary(t, d, map[string]any{
		"v": int64(1), "id": "a1", "state": httpsfv.Token("done"), "replayed": true, "until": time.Unix(1795953000, 0),
		"now": time.Unix(1795348261, 0), "store": "k3Jq", "message": "/.well-known/chttp/messages/AQE",
	})
}

func TestZeroMembersOfAVerdictAreLeftOut(t *testing.T) {
	if got, want := (verdict{State: stateNone, Now: 5}).String(), "v=1, state=none, now=@5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAVerdictLeavesOutWhatIsNotSafeInAHeader(t *testing.T) {
	for _, s := range hostile {
		v := verdict{ID: s, State: wireState(s), Store: s, Message: s}
		if got, want := v.String(), "v=1"; got != want {
			t.Errorf("of %q: got %q, want %q", s, got, want)
		}
	}
}

func TestAVerdictIsReadInEveryFormOfRFC9651(t *testing.T) {
	for _, ex := range []struct {
		values []string
		want   verdict
	}{
		{[]string{fullVerdict.String()}, fullVerdict},
		{[]string{`v=1;x,id="a1"`, `state=done;y=1, replayed, until=@1795953000`, `now=@1795348261,store="k3Jq",message="/.well-known/chttp/messages/AQE",z`}, fullVerdict},
		{[]string{"state=gone, v=1, replayed=?0"}, verdict{State: stateGone}},
		{[]string{`v=1, state=running, id=""`}, verdict{State: stateRunning}},
		{[]string{`v=1, state=none, message="/x"`}, verdict{State: stateNone, Message: "/x"}},
		{[]string{"v=1, state=done, state=refused"}, verdict{State: stateRefused}},
	} {
		got, present, err := parseVerdict(ex.values)
		if err != nil || !present || got != ex.want {
			t.Errorf("parseVerdict(%q):\ngot  %+v, %v, %v\nwant %+v", ex.values, got, present, err, ex.want)
		}
	}
}

func TestAVerdictInErrorIsNone(t *testing.T) {
	for _, field := range []string{
		"", "v=1", "state=done", "v=2, state=done", "v=1, state=Done", "v=1, state=lost", `v=1, state="done"`, "v=1, state",
		"v=1, state=done, replayed=1", "v=1, state=done, replayed=true", "v=1, state=done, now=5", "v=1, state=done, until=@0",
		"v=1, state=done, id=a1", `v=1, state=done, id="a b"`, `v=1, state=done, id="a,b"`, `v=1, state=done, id="a\"b"`,
		`v=1, state=done, id="` + strings.Repeat("a", maxID+1) + `"`, `v=1, state=done, store=k3Jq`, `v=1, state=done, message=/x`,
		`v=1, state=done, message="x"`, `v=1, state=done, message="//evil.example/x"`, `v=1, state=done, message="https://evil.example/"`,
		"v=1, state=done\r\n", "v=1, state=done,", "\x00",
	} {
		got, present, err := parseVerdict([]string{field})
		if err == nil || !present || got != (verdict{}) {
			t.Errorf("parseVerdict(%.60q): got %+v, %v, %v, want an error", field, got, present, err)
		}
	}
	if _, present, err := parseVerdict(nil); present || err != nil {
		t.Errorf("of no field: got %v, %v, want nothing", present, err)
	}
}

func FuzzParseVerdict(f *testing.F) {
	f.Add(fullVerdict.String())
	f.Add("v=1,state=none\nreplayed;x=1, now=@5")
	f.Fuzz(func(t *testing.T, s string) {
		got, _, err := parseVerdict(lines(s))
		if quick, ok := scanVerdict(s); ok && len(s) <= maxField {
			slow, slowErr := readVerdict([]string{s})
			if slowErr != nil || quick != slow {
				t.Fatalf("%q: quick reads %+v, slow %+v, %v", s, quick, slow, slowErr)
			}
		}
		if err != nil {
			return
		}
		again, _, err := parseVerdict([]string{got.String()})
		if err != nil || again != got {
			t.Fatalf("%q: wrote %q, read %+v, %v", s, got.String(), again, err)
		}
	})
}

func FuzzVerdictString(f *testing.F) {
	f.Add("a1", "done", true, int64(1), int64(2), "k3Jq", "/x")
	f.Add("a\r\nb", "x", false, int64(-1), int64(0), "\x7f", `/"`)
	f.Fuzz(func(t *testing.T, id, state string, replayed bool, until, now int64, store, message string) {
		field := verdict{id, wireState(state), replayed, until, now, store, message}.String()
		checkSafe(t, field)
		if until < -999_999_999_999_999 || until > 999_999_999_999_999 || now < -999_999_999_999_999 || now > 999_999_999_999_999 {
			return // not a date of RFC 9651
		}
		if _, err := httpsfv.UnmarshalDictionary([]string{field}); err != nil {
			t.Fatalf("httpsfv does not read %q: %v", field, err)
		}
	})
}

func BenchmarkVerdict(b *testing.B) {
	field := []string{fullVerdict.String()}
	b.ReportAllocs()
	for b.Loop() {
		v, _, err := parseVerdict(field)
		if err != nil || v.String() != field[0] {
			b.Fatal(v, err)
		}
	}
}
