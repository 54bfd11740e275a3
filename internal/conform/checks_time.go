package conform

import (
	"net/http"
	"time"
)

// timeChecks are about stamps. None of them waits, and none trusts the clock of this machine further than discovery's now.
var timeChecks = []check{
	{"S8", "an attempt from long ago is stale, also of a message that is done", needCertified, func(t *trial) {
		old := t.now() - seconds64(t.retention) + 2*3600 // far below any floor that keeps up, and not too long
		q := t.message().stamped(old, old, t.now()+3600)
		t.stale(q)
		known := t.message().stamped(old, 0, t.now()+3600)
		a := t.first(known)
		t.stale(known.stamped(old, old, known.stamps.until))
		t.kept(known, a)
	}},
	{"S8", "an attempt from beyond the skew is stale", needCertified, func(t *trial) {
		ahead := t.now() + seconds64(t.skew) + 60
		t.stale(t.message().stamped(t.now(), ahead, ahead+3600))
	}},
	{"S8", "an attempt after its until is stale", needCertified, func(t *trial) {
		now := t.now()
		t.stale(t.message().stamped(now-120, now, now-60))
	}},
	{"S8", "an attempt before its sent is stale", needCertified, func(t *trial) {
		now := t.now()
		t.stale(t.message().stamped(now+60, now, now+3600))
	}},
	{"S8", "a stale attempt did nothing: in time, the same id is new", needCertified, func(t *trial) {
		q := t.message()
		t.once(func() {
			t.stale(q.stamped(q.stamps.sent, t.now()+seconds64(t.skew)+60, q.stamps.until))
			t.first(q)
		})
	}},
	{"S8", "an attempt within linger and skew gets through", needCertified, func(t *trial) {
		if t.skew > 40*time.Second {
			t.first(t.message().stamped(t.now(), t.now()+seconds64(t.skew)-30, t.now()+3600))
		}
		if t.linger > 90*time.Second {
			late := t.now() - seconds64(t.linger) + 60
			t.first(t.message().stamped(late, late, t.now()+3600))
		}
		if t.skew <= 40*time.Second && t.linger <= 90*time.Second {
			t.obscure("linger and skew are too short to be told from the time that a request takes")
		}
	}},
	{"S8", "a late copy of a message that was forgotten is stale", needCertified | needShortLinger, func(t *trial) {
		q := t.message()
		a := t.first(q)
		q.stamps.at = a.sent.at
		t.acknowledgeByURL(a, q.stamps.at)
		t.later = func() {
			t.forgotten(a)
			t.stale(q)
		}
	}},
	{"S9", "until − sent beyond the retention is 400 too-long", needCertified, func(t *trial) {
		now := t.now()
		t.none(t.answered(t.message().stamped(now, now, now+seconds64(t.retention)+60)), http.StatusBadRequest, stateRefused, "too-long")
	}},
	{"S9", "the whole retention is not too long", needCertified, func(t *trial) {
		now := t.now()
		t.first(t.message().stamped(now, now, now+seconds64(t.retention)))
	}},
}

func seconds64(d time.Duration) int64 { return int64(d / time.Second) }

// stale sends an attempt that is out of its time.
func (t *trial) stale(q *request) {
	t.none(t.answered(q), http.StatusPreconditionFailed, stateNone, "stale-attempt")
}

// nodeChecks are about what survives a restart.
var nodeChecks = []check{
	{"S13", "a restart leaves the store what it was", needCertified | needRestart, func(t *trial) {
		before := t.first(t.message())
		t.later = func() {
			if after := t.first(t.message()); !t.over() && after.mark.store != before.mark.store {
				t.fail("the store was %q, and is %q", before.mark.store, after.mark.store)
			}
		}
	}},
}
