package main

import "fmt"

// sweep compares P5 with the inequality that the protocol gives for it (S8), over a grid of lingers up to most, skews, offsets and delays;
// false where they differ.
func sweep(most int) bool {
	n, differ := 0, 0
	for linger := 0; linger <= most; linger++ {
		for skew := 0; skew <= 2; skew++ {
			for ahead := -2; ahead <= 2; ahead++ {
				for delay := 0; delay <= 2; delay++ {
					v := variant{
						messages: 1, nodes: 1, values: 1, slots: 2, linger: linger, skew: skew, delay: delay, aheadLeast: ahead, aheadMost: ahead,
						term: 5, margin: delay + 1, ticks: 5 + ahead + linger + 2, calms: true, serverRules: serverRules{pace: 2},
					}
					holds := v.check(20_000_000, "P5").broken["P5"] == nil
					if want := linger > delay-ahead && skew >= ahead-delay; holds != want {
						differ++
						fmt.Printf("DIFFERS: linger=%d skew=%d ahead=%d delay=%d: holds=%v, expected %v\n", linger, skew, ahead, delay, holds, want)
					}
					n++
				}
			}
		}
	}
	fmt.Printf("P5 holds <=> linger > d-e and skew >= e-d: %d points, %d differ\n", n, differ)
	return differ == 0
}
