package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// luck is what a seed decides: something for everything that has a name and a number. It is the same whatever was decided before, so a
// world repeats itself as far as its names do: the third attempt of a message meets the same fault, whichever goroutine came first.
type luck uint64

// draw returns the source of what is decided about number n of name.
func (k luck) draw(what, name string, n int) *rand.Rand {
	const prime = 1099511628211
	h := uint64(14695981039346656037) ^ uint64(k)
	for _, s := range [...]string{what, "\x00", name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	return rand.New(rand.NewPCG(h, uint64(k)<<20^uint64(n)))
}

// chance is true with probability p.
func (k luck) chance(p float64, what, name string, n int) bool {
	return p > 0 && k.draw(what, name, n).Float64() < p
}

// pick returns a number below most.
func (k luck) pick(most int, what, name string, n int) int { return k.draw(what, name, n).IntN(most) }

// span returns a time from least to most, short ones as likely as long ones.
func (k luck) span(least, most time.Duration, what, name string, n int) time.Duration {
	return spread(k.draw(what, name, n), least, most)
}

func spread(r *rand.Rand, least, most time.Duration) time.Duration {
	x := math.Exp(math.Log(float64(least)) + r.Float64()*math.Log(float64(most)/float64(least)))
	return time.Duration(x).Round(time.Millisecond)
}
