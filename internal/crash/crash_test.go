package crash_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/crash"
)

// scenario is a world to be disturbed.
type scenario struct {
	// start starts the processes.
	start func(w *crash.World)
	// check says what is wrong when everything is finished.
	check func(w *crash.World) []string
	// least is how many crash points there must be: with fewer, something was not done.
	least int
}

// forgetting is when everything that was acknowledged is forgotten, and abandonment when everything is.
const (
	forgetting  = crash.Linger + 2*time.Minute
	abandonment = crash.Until + crash.Linger + 2*time.Minute
)

// play plays the scenario in a bubble with deaths as planned and returns where it could die.
func play(t *testing.T, s *scenario, plan ...crash.Point) (points []crash.Point) {
	t.Helper()
	var problems []string
	synctest.Test(t, func(t *testing.T) {
		w := crash.NewWorld(plan...)
		s.start(w)
		w.Settle(30 * time.Minute)
		points = w.Points()
		problems = s.check(w)
		if len(plan) == 0 {
			time.Sleep(forgetting) // I9
		} else {
			time.Sleep(abandonment)
		}
		w.Settle(30 * time.Minute)
		for _, p := range w.Missed() {
			problems = append(problems, fmt.Sprintf("not reached: %v", p))
		}
		for _, l := range w.Leftover() {
			problems = append(problems, "I9: "+l)
		}
		problems = append(problems, w.Close()...)
		if len(problems) > 0 {
			problems = append(problems, w.Events()...)
		}
	})
	if len(problems) > 0 {
		t.Errorf("%v:\n  %s", plan, strings.Join(problems, "\n  "))
	}
	return points
}

// explore plays the scenario undisturbed, then with every death, then with pairs of them.
func explore(t *testing.T, s *scenario) {
	t.Helper()
	points := play(t, s)
	if t.Failed() {
		return
	}
	if len(points) < s.least {
		t.Fatalf("%d crash points, want %d or more", len(points), s.least)
	}
	for _, p := range points {
		play(t, s, p)
	}
	t.Logf("%d crash points", len(points))
}

// anybody puts all callers in one scope.
var anybody = &chttp.HandlerOptions{Principal: func(*http.Request) (string, error) { return "anybody", nil }}

// once says what is wrong unless the process finished the work of function exactly once for each of the values, and nothing else.
func once(p *crash.Process, function string, values ...string) (bad []string) {
	var got []string
	for _, o := range p.Outcomes(function) {
		got = append(got, o.State+" "+o.Value+o.Err)
	}
	slices.Sort(got)
	slices.Sort(values)
	if !slices.Equal(got, values) {
		bad = append(bad, fmt.Sprintf("I2: outcomes of %s: got %q, want %q", function, got, values))
	}
	return bad
}

// echo is a server that answers with what it got.
func echo(l *crash.Life) (http.Handler, func(context.Context) error) {
	return l.Node.Handler("echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, b)
	}), anybody), nil
}

func TestI1I2APutArrivesOnceWhereverAnyProcessDies(t *testing.T) {
	var server, client *crash.Process
	explore(t, &scenario{
		start: func(w *crash.World) {
			server = w.Start("server", echo)
			client = w.Start("client", func(l *crash.Life) (http.Handler, func(context.Context) error) {
				return nil, func(ctx context.Context) error {
					ctx = chttp.With(ctx, chttp.Policy{ID: "put-1"})
					_, err := l.Node.Put(ctx, "http://server/thing", "text/plain", strings.NewReader("hello"))
					return err
				}
			})
		},
		check: func(w *crash.World) []string {
			return append(once(server, "echo", "answered "), once(client, "chttp.send", "answered ")...)
		},
		least: 40,
	})
}
