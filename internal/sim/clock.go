package sim

import (
	"time"
)

// clock is the wall clock of a process's machine. It outlives the process.
type clock struct {
	p      *Process
	offset time.Duration // to the right time; guarded by the world's mu
}

// skewed bounds how far clocks are off that are within the skew: two that differ by twice that are still within it.
const skewed = 50 * time.Second

// farMost bounds how far clocks jump. A clock that jumps by less than a day forgets nothing too early.
const farMost = 5 * time.Hour

// now is the time by the clock; called with mu held.
func (c *clock) now() time.Time { return time.Now().Add(c.offset).Round(0) }

// run lets the clock jump until the world is calm.
func (c *clock) run() {
	w := c.p.w
	time.Sleep(time.Duration(c.p.index) * 100 * time.Microsecond)
	if w.has(Skew) {
		c.set(c.within(0), Skew)
	}
	for n := 1; ; n++ {
		if !w.wait(w.luck.span(10*time.Second, 20*time.Minute, "clock", c.p.name, n)) {
			return
		}
		switch far := w.has(Far) && w.luck.chance(0.5, "clock is far", c.p.name, n); {
		case far && w.luck.chance(0.4, "clock is behind", c.p.name, n):
			c.set(-w.luck.span(3*time.Minute, farMost, "clock jumps", c.p.name, n), Far)
		case far:
			c.set(w.luck.span(3*time.Minute, farMost, "clock jumps", c.p.name, n), Far)
		case w.has(Jump):
			c.set(c.within(n), Jump)
		case w.has(Far): // It is put right now and then.
			c.set(c.within(n), Far)
		}
	}
}

// within returns an offset within the skew.
func (c *clock) within(n int) time.Duration {
	return time.Duration(c.p.w.luck.draw("skew", c.p.name, n).Int64N(int64(2*skewed))) - skewed
}

func (c *clock) set(offset time.Duration, why Fault) {
	w := c.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm {
		return
	}
	c.offset = offset
	w.hit("fault: " + why.String())
	w.event("%s: its clock is off by %v", c.p.name, offset)
}

// calm puts the clock right, but for the skew that is its own; called with mu held.
func (c *clock) calm() {
	if c.offset != 0 {
		c.offset = c.within(0)
	}
}

// wait lets d pass; false when the world has become calm, or ended.
func (w *World) wait(d time.Duration) bool {
	select {
	case <-w.ctx.Done():
		return false
	case <-time.After(d):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm
}
