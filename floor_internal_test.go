package chttp

import (
	"testing"
	"time"
)

func TestS8TheFloorFollowsTheMonotonicTimeAndNoJumpOfTheClock(t *testing.T) {
	const floor = 1_000_000_000
	for _, c := range []struct {
		name              string
		lag, passed, want time.Duration // want: how far it rises; 0: not at all
	}{
		{"it keeps up", 30 * time.Second, 30 * time.Second, 30 * time.Second},
		{"the clock went back", -time.Hour, 30 * time.Second, 0},
		{"the clock stands where the floor is", 0, 30 * time.Second, 0},
		{"it lags a little", 40 * time.Second, 30 * time.Second, 40 * time.Second},
		{"the clock went forward by a year", 365 * 24 * time.Hour, 30 * time.Second, time.Minute},
		{"no time has passed", time.Hour, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := new(Node)
			n.floor.Store(floor)
			want := int64(0)
			if c.want > 0 {
				want = floor + c.want.Milliseconds()
			}
			if got := n.nextFloor(c.lag, c.passed); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}
