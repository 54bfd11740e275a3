package sim_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/certifiedhttp/chttp/internal/sim"
)

var (
	world = flag.String("sim.world", "", "play this world alone, and print its log")
	long  = flag.Duration("sim.time", simTime(), "how long TestWorlds plays new worlds; also SIMTIME of the environment")
	first = flag.Uint64("sim.seed", 1, "the first seed of TestWorlds; make soak takes others")
	small = flag.Duration("sim.shrink", time.Minute, "how long a smaller world is looked for in which the same goes wrong; 0: not at all, and none is kept")
	times = flag.Int("sim.times", 1, "how often -sim.world is played")
)

// simTime is how long new worlds are played: about as long as continuous integration has for them.
func simTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("SIMTIME")); err == nil {
		return d
	}
	return 40 * time.Second
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stuck is how long one world may take by the clock on the wall.
const stuck = 3 * time.Minute

// play plays a world in a bubble of its own.
func play(t *testing.T, c sim.Config) (r *sim.Result) {
	t.Helper()
	watchdog := time.AfterFunc(stuck, func() {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "this world does not end: %s\n%s\n", c, buf[:runtime.Stack(buf, true)])
		panic("a world does not end")
	})
	defer watchdog.Stop()
	synctest.Test(t, func(*testing.T) { r = sim.NewWorld(c).Play() })
	r.Broken = append(r.Broken, unordered(r)...)
	return r
}

// seeds is where worlds are kept in which something once went wrong.
const seeds = "testdata/seeds"

// TestKeptSeeds plays the worlds in which something once went wrong. They are not exactly the same each time, so each is played some times.
func TestKeptSeeds(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(seeds, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no kept seeds: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			c, err := sim.ParseConfig(line)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for range 3 {
				if r := play(t, c); len(r.Broken) > 0 {
					t.Fatalf("%s: %v", file, r.Broken)
				}
			}
		}
	}
}

// leastWorlds is how many worlds TestWorlds plays at least, and mostTime how much longer than it has to it goes on for things that were not
// reached.
const (
	leastWorlds = 30
	mostTime    = 4
)

// TestWorlds plays new worlds for as long as there is time, and until everything was reached that is to be. I1 to I10 hold in all of them.
func TestWorlds(t *testing.T) {
	t.Parallel()
	if *world != "" {
		t.Skip("one world is asked for")
	}
	t.Logf("seeds from %d", *first)
	s := &score{begin: time.Now(), next: *first, counts: map[string]int{}}
	t.Run("players", func(t *testing.T) {
		for i := range min(runtime.GOMAXPROCS(0), 4) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed := range s.seeds {
					c := sim.Draw(seed)
					r := play(t, c)
					s.add(r)
					if len(r.Broken) > 0 {
						s.stop()
						report(t, r)
						return
					}
				}
			})
		}
	})
	t.Logf("%d worlds in %v; reached last was %s", s.played, time.Since(s.begin).Round(time.Second), s.last)
	if list := sim.Missing(s.counts); len(list) > 0 && !t.Failed() {
		t.Errorf("never reached in %d worlds:\n  %s", s.played, strings.Join(list, "\n  "))
	}
}

// score is what several players have played.
type score struct {
	begin time.Time

	mu     sync.Mutex // guards what follows
	next   uint64
	played int
	over   bool
	counts map[string]int
	last   string // what was reached last
}

// seeds yields seeds as long as worlds are to be played.
func (s *score) seeds(yield func(uint64) bool) {
	for {
		s.mu.Lock()
		seed := s.next
		s.next++
		passed := time.Since(s.begin)
		enough := passed > *long && s.played >= leastWorlds && (len(sim.Missing(s.counts)) == 0 || passed > mostTime**long)
		over := s.over || enough
		s.mu.Unlock()
		if over || !yield(seed) {
			return
		}
	}
}

func (s *score) add(r *sim.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.played++
	for _, what := range sim.Missing(s.counts) {
		if r.Counts[what] > 0 {
			s.last = fmt.Sprintf("%q in world %d", what, s.played)
		}
	}
	for what, n := range r.Counts {
		s.counts[what] += n
	}
}

func (s *score) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// shrinkTries is how often a smaller world is played before it is said to go well.
const shrinkTries = 4

// report says what went wrong, how to see it again, in which smaller world as well, and keeps that one.
func report(t *testing.T, r *sim.Result) {
	t.Helper()
	t.Errorf("%s\nagain: %s", r.Broken[0], command(r.Config))
	if *small == 0 {
		return
	}
	smallest := r
	end := time.Now().Add(*small)
	c := sim.Shrink(r.Config, r.Broken[0].Rule, func(c sim.Config) string {
		for range shrinkTries {
			if s := play(t, c); len(s.Broken) > 0 {
				smallest = s
				return s.Broken[0].Rule
			}
		}
		return ""
	}, func() bool { return time.Now().Before(end) })
	if c != smallest.Config {
		smallest = r
	}
	file := filepath.Join(seeds, fmt.Sprintf("%s-%d.txt", strings.ToLower(smallest.Broken[0].Rule), c.Seed))
	if err := os.WriteFile(file, fmt.Appendf(nil, "# %s\n%s\n", strings.ReplaceAll(smallest.Broken[0].String(), "\n", "\n# "), c), 0o644); err != nil {
		t.Log(err)
	}
	t.Errorf("the smallest world in which it goes wrong, kept in %s:\n%s\n%s\nits schedule, up to there:\n%s",
		file, command(c), smallest.Broken[0], strings.Join(schedule(smallest), "\n"))
}

// command plays a world again.
func command(c sim.Config) string {
	return fmt.Sprintf("go test ./internal/sim -run 'TestWorld$' -sim.times 20 -sim.world '%s'", c)
}

// maxSchedule is how many lines of a log are printed.
const maxSchedule = 400

// schedule is a world's log until the first thing went wrong.
func schedule(r *sim.Result) []string {
	list := r.Log
	if i := slices.IndexFunc(list, func(l string) bool { return strings.Contains(l, "VIOLATION") }); i >= 0 {
		list = list[:i+1]
	}
	return list[max(0, len(list)-maxSchedule):]
}

// TestWorld plays the world that -sim.world asks for.
func TestWorld(t *testing.T) {
	if *world == "" {
		return
	}
	c, err := sim.ParseConfig(*world)
	if err != nil {
		t.Fatal(err)
	}
	for i := range *times {
		r := play(t, c)
		if len(r.Broken) > 0 || *times == 1 {
			t.Logf("log of run %d:\n%s", i+1, strings.Join(r.Log, "\n"))
		}
		if len(r.Broken) > 0 {
			t.Fatalf("run %d: %v", i+1, r.Broken)
		}
	}
}
