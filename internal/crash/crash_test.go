package crash_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	// unheard says that even undisturbed a server keeps an outcome that nobody acknowledges, until its until.
	unheard bool
}

// forgetting is when everything that was acknowledged is forgotten, and abandonment when everything is.
const (
	forgetting  = crash.Linger + 2*time.Minute
	abandonment = crash.Until + crash.Linger + 2*time.Minute
)

// play plays the scenario in a bubble with deaths as planned and returns where processes could die, and which death did not come.
func play(t *testing.T, s *scenario, plan ...crash.Point) (points, missed []crash.Point) {
	t.Helper()
	var problems []string
	synctest.Test(t, func(t *testing.T) {
		w := crash.NewWorld(plan...)
		s.start(w)
		w.Settle(30 * time.Minute)
		points = w.Points()
		problems = s.check(w)
		if len(plan) == 0 && !s.unheard {
			time.Sleep(forgetting) // I9
		} else {
			time.Sleep(abandonment)
		}
		w.Settle(30 * time.Minute)
		missed = w.Missed()
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
	return points, missed
}

// explore plays the scenario undisturbed, then with every death, then with pairs of them, then in storms. It ends with the first that
// goes wrong.
func explore(t *testing.T, s *scenario) {
	t.Helper()
	points, _ := play(t, s)
	if len(points) < s.least {
		t.Errorf("%d crash points, want %d or more", len(points), s.least)
	}
	var rare []crash.Point
	for _, p := range points {
		if t.Failed() {
			return
		}
		if !reach(t, s, p) {
			rare = append(rare, p)
		}
	}
	if len(rare) > len(points)/10 {
		t.Errorf("of %d deaths these did not come about: %v", len(points), rare)
	}
	seed := uint64(time.Now().UnixNano())
	pairs, both := playPairs(t, s, points, rand.New(rand.NewPCG(seed, 0)))
	for i := range uint64(storms) {
		if t.Failed() {
			t.Logf("storm with seed %d", seed+i-1)
			break
		}
		playStorm(t, s, points, seed+i)
	}
	t.Logf("%d crash points, %d of them rare; %d pairs, of which %d came about; %d storms; seed %d", len(points), len(rare), pairs, both, storms, seed)
}

// reach plays the scenario until the death happens: what goes on at the same time does not always go on in the same order. It is false
// for one that only a rare order has.
func reach(t *testing.T, s *scenario, p crash.Point) bool {
	t.Helper()
	for range 20 {
		if _, missed := play(t, s, p); len(missed) == 0 || t.Failed() {
			return true
		}
	}
	return false
}

// storms is how many worlds are played in which commits and requests take their time, with up to three deaths.
const storms = 40

func playStorm(t *testing.T, s *scenario, points []crash.Point, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var plan []crash.Point
	for range r.IntN(4) {
		plan = append(plan, points[r.IntN(len(points))])
	}
	stormy := *s
	stormy.unheard = true
	stormy.start = func(w *crash.World) {
		w.Weather(seed)
		s.start(w)
	}
	play(t, &stormy, plan...)
}

// maxPairs is how many pairs of deaths are played; of more, a sample.
const maxPairs = 100

// playPairs plays the scenario with pairs of deaths. The second may not come about: the first can save a request.
func playPairs(t *testing.T, s *scenario, points []crash.Point, r *rand.Rand) (n, both int) {
	t.Helper()
	all := len(points) * (len(points) - 1) / 2
	for i, p := range points {
		for _, q := range points[i+1:] {
			if r.IntN(all) < maxPairs && !t.Failed() {
				n++
				if _, missed := play(t, s, p, q); len(missed) == 0 {
					both++
				}
			}
		}
	}
	if both < n/2 && !t.Failed() {
		t.Errorf("of %d pairs of deaths only %d came about", n, both)
	}
	return n, both
}
