package chttp

import (
	"context"
	"time"
)

// keepFloor raises the floor F (S8) and has forgotten what it allows, until ctx ends.
func (n *Node) keepFloor(ctx context.Context) {
	every := min(max(n.opt.Linger/20, time.Second), time.Minute)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		passed := time.Since(last) // monotonic
		last = time.Now()
		lag := n.floorLag(n.now())
		behind := lag > n.opt.Linger
		if behind && !told {
			n.opt.Logger.Info("chttp: the floor lags behind the clock and catches up at twice its pace; was the node down, or the clock changed?", "lag", lag)
		}
		told = behind
		n.sweep(ctx, n.nextFloor(lag, passed))
	}
}

// floorLag is how far F is behind now − linger.
func (n *Node) floorLag(now time.Time) time.Duration {
	return now.Add(-n.opt.Linger).Sub(time.UnixMilli(n.floor.Load()))
}

// nextFloor returns the F that follows, or 0. It rises by the monotonic time passed where it keeps up, and by twice that while it lags, so
// that a clock that jumps does not take F along.
func (n *Node) nextFloor(lag, passed time.Duration) int64 {
	step := min(lag, 2*passed)
	if step <= 0 {
		return 0
	}
	return n.floor.Load() + step.Milliseconds()
}

// sweep raises F to floor, if that is not 0, and deletes what may be deleted.
func (n *Node) sweep(ctx context.Context, floor int64) {
	for ctx.Err() == nil {
		g := n.journal.put(func(j *journal) {
			j.raise = max(j.raise, floor)
			j.sweep = sweepRows
		})
		if n.journal.wait(ctx, g) != nil || n.journal.lastSwept() < sweepRows {
			return
		}
	}
}

func (j *journal) lastSwept() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.swept
}

// stale tells whether an attempt with these stamps is out of bounds (S8). The insert is judged again, by the store.
func (n *Node) stale(s stamps, now time.Time) bool {
	return s.At*1000 <= n.floor.Load() || s.At > now.Add(skew).Unix() || s.At > s.Until || s.Sent > s.At
}
