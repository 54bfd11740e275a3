package sim_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/internal/sim"
)

// TestASeedRepeatsItself measures how far: how much of a world's log is in every run of it.
func TestASeedRepeatsItself(t *testing.T) {
	t.Parallel()
	for faults, least := range map[string]int{"none": 80, "all": 25} {
		c, err := sim.ParseConfig("seed=7 scale=1 faults=" + faults)
		if err != nil {
			t.Fatal(err)
		}
		runs := max(5, *times)
		var logs [][]string
		for range runs {
			logs = append(logs, untimed(play(t, c).Log))
		}
		same := 0
		for _, log := range logs[1:] {
			if slices.Equal(log, logs[0]) {
				same++
			}
		}
		common := 100 * shared(logs) / len(logs[0])
		t.Logf("faults=%s: %d%% of the lines are in all of %d runs; %d more runs are like the first to the line", faults, common, runs, same)
		if common < least {
			t.Errorf("faults=%s: %d%% of the lines are in all runs, want %d%%", faults, common, least)
		}
	}
}

// untimed returns a log without times, which the back-off of nodes makes differ.
func untimed(log []string) []string {
	list := make([]string, len(log))
	for i, line := range log {
		_, list[i], _ = strings.Cut(strings.TrimSpace(line), "  ")
	}
	return list
}

// shared counts the lines of the first log that are in all logs, as often as they are.
func shared(logs [][]string) (n int) {
	least := count(logs[0])
	for _, log := range logs[1:] {
		these := count(log)
		for line := range least {
			least[line] = min(least[line], these[line])
		}
	}
	for _, k := range least {
		n += k
	}
	return n
}

func count(log []string) map[string]int {
	m := make(map[string]int)
	for _, line := range log {
		m[line]++
	}
	return m
}
