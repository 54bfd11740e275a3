package chttptest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/store"
)

func TestPointsAreReadAsTheyAreWritten(t *testing.T) {
	root := store.Key{ID: rootID}
	for want, plan := range map[string][]point{
		"#3.answer-lost":                       {{site{root, "", 3}, momentAnswerLost}},
		"/2:side#0.done + .ended":              {{site{root, "/2:side", 0}, momentDone}, {site{root, "", none}, momentEnded}},
		"/0:a.b#c#1.durable":                   {{site{root, "/0:a.b#c", 1}, momentDurable}},
		"0a1b!.request-lost":                   {{site{store.Key{ID: "0a1b"}, "", none}, momentRequestLost}},
		"handler/tester|0a1b!#0.begun-durable": {{site{store.Key{Scope: "handler/tester", ID: "0a1b"}, "", 0}, momentBegunDurable}},
		"#0.asked + #0.asked + #1.ended-durable": {
			{site{root, "", 0}, momentAsked}, {site{root, "", 0}, momentAsked}, {site{root, "", 1}, momentEndedDurable},
		},
	} {
		if got := planText(plan); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		got, err := parsePlan(want)
		if err != nil || !reflect.DeepEqual(got, plan) {
			t.Errorf("%q is read as %v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "#1", "#1.", "#x.done", "#1.never"} {
		if p, err := parsePlan(bad); err == nil {
			t.Errorf("%q is read as %v", bad, p)
		}
	}
}

func TestNamesAreNotBroken(t *testing.T) {
	name := strings.Repeat("long ", 30)
	for in, want := range map[string]string{
		"a b":                      "> a b",
		"":                         "",
		`a "b  c" d`:               `> a "b  c" d`,
		`open "quote`:              `> open "quote`,
		`see "` + name + `" there`: `> see` + "\n>   " + `"` + name + `"` + "\n>   there",
	} {
		if got := wrap(in, "> "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestADifferenceIsShownWithWhatIsAroundIt(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, c := range []struct {
		was, now, a, b string
		at             int
	}{
		{"abc", "abd", "abc", "abd", 2},
		{"abc", "abc", "abc", "abc", -1},
		{"", "a", "", "a", 0},
		{"a\nb", "a\nc", "a⏎b", "a⏎c", 2},
		{long + "1" + long, long + "2" + long, "…" + long[:60] + "1" + long[:59] + "…", "…" + long[:60] + "2" + long[:59] + "…", 61},
		{long + "é", long, "…" + long[:60] + "é", "…" + long[:60], 61},
	} {
		a, b, at := aroundDifference(c.was, c.now)
		if a != c.a || b != c.b || at != c.at {
			t.Errorf("%.10q %.10q: got\n%q\n%q %d, want\n%q\n%q %d", c.was, c.now, a, b, at, c.a, c.b, c.at)
		}
	}
}
