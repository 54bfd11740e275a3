package chttp

import (
	"math/rand/v2"
	"time"
)

// Back-off between attempts: full jitter under a doubling bound (C2).
const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = time.Minute
)

// crashPause is how many doublings the back-off after a crash is ahead: what made it crash, an outage perhaps, takes a while to mend.
const crashPause = 2

// backoff returns how long to wait after the failed attempt number n, counted from 0.
func backoff(n int) time.Duration {
	most := backoffMost
	if n < 10 {
		most = min(backoffFirst<<n, backoffMost)
	}
	return most/10 + rand.N(most)
}
