package conform

import "net/http"

// plainChecks are about a client that sends nothing but Idempotency-Key. They are all that is asked of a plain server.
var plainChecks = []check{
	{"§6", "the same key gets the same answer", 0, func(t *trial) {
		t.once(func() {
			q := t.message().plain()
			a := t.first(q)
			b := t.replay(q, a)
			if !t.over() && t.certified && b.header.Get(headerReplayed) != "true" {
				t.fail("a replay without %s: true: %s", headerReplayed, b)
			}
		})
	}},
	{"§6", "the same key with other content is 422", 0, func(t *trial) {
		q := t.message().plain()
		a := t.first(q)
		t.plainNone(t.answered(q.altered()), http.StatusUnprocessableEntity, "key-reused")
		t.replay(q, a)
	}},
	{"§6", "while the first runs, a copy is 409, or waits for its answer", needSlow | needDistinct, func(t *trial) {
		t.once(func() {
			q := t.to(t.opt.Slow).plain()
			t.meanwhile(q, func() {
				a := t.answered(q)
				if !t.over() && a.status != http.StatusConflict {
					t.sameOutcome(a, t.outcome(q))
				}
			})
		})
	}},
	{"§6", "twenty copies at once run the handler once", needDistinct, func(t *trial) {
		t.atOnce(20, []string{t.slowest()}, (*request).plain)
	}},
	{"§6", "without a key a request runs, or is 400 key-missing", 0, func(t *trial) {
		q := t.message().plain()
		q.key = nil
		a := t.answered(q)
		switch {
		case t.over() || a.status < http.StatusBadRequest:
		case a.status != http.StatusBadRequest || t.certified && a.problem.Code != "key-missing":
			t.fail("got %s, want an outcome, or 400 key-missing", a)
		}
	}},
	{"§6", "after a restart the same key gets the same answer", needRestart, func(t *trial) {
		q := t.message().plain()
		a := t.first(q)
		t.later = func() { t.replay(q, a) }
	}},
}
