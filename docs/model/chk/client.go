package main

// client adds what the client can do about its message i.
func (s *step) client(i int) {
	m := &s.from.msgs[i]
	clock := s.from.t + s.from.ahead
	if m.phase == phaseNew && s.from.t <= 0 && (i == 0 || s.from.msgs[0].phase != phaseNew) {
		s.create(i, int(clock))
	}
	if m.phase == phaseOpen && m.trying == 0 && m.got == 0 && (s.anyClock || clock <= m.until) && (!s.calm() || m.tried == 0) {
		s.attempts(i, clock)
	}
	if m.trying == 1 {
		s.answers(i)
	}
	if m.got != 0 && m.phase == phaseOpen {
		next := *s.from
		x := &next.msgs[i]
		x.phase, x.outcome, x.got = phaseAnswered, m.got, 0
		s.to(next, label{op: opRecord, a: int8(i), b: m.got}, failing("P2", x.outcome != x.first))
	}
	if m.acked == 0 && (m.phase == phaseAnswered || s.ackEarly && m.got != 0) {
		next := *s.from
		next.msgs[i].acked = 1 + s.ackAt(m)
		s.to(next, label{op: opAcknowledge, a: int8(i), b: s.ackAt(m)}, "")
	}
	if m.phase == phaseOpen && (s.anyClock || clock > m.until) && m.trying == 0 && m.got == 0 {
		next := *s.from
		x := &next.msgs[i]
		x.phase = phaseUnknown
		op := opUnknown
		if m.left == 0 {
			x.phase, op = phaseUndelivered, opUndelivered
		}
		s.to(next, label{op: op, a: int8(i)}, failing("P5", s.calm()))
	}
	if s.cluster != noCluster {
		s.other(i)
	}
}

// failing is property where it does not hold.
func failing(property string, fails bool) string {
	if fails {
		return property
	}
	return ""
}

// create makes message i durable.
func (s *step) create(i, clock int) {
	least, most := clock+s.term, clock+s.term
	if s.anyClock {
		least, most = s.untilLeast, s.stamps
	}
	for until := least; until <= most; until++ {
		next := *s.from
		next.msgs[i].phase, next.msgs[i].until = phaseOpen, int8(until)
		s.to(next, label{op: opCreate, a: int8(i), b: int8(until)}, "")
	}
}

// attempts sends message i, stamped with whatever the clock may say.
func (s *step) attempts(i int, clock int8) {
	m := &s.from.msgs[i]
	least := m.least
	if s.lowers {
		least = 0
	}
	if s.cluster != noCluster && s.lease == leaseAwaited {
		least = max(least, m.lease)
	}
	from, to := max(1, least), m.until
	if !s.anyClock {
		from = max(clock, least)
		to = from
	}
	for at := from; at <= to; at++ {
		next := *s.from
		if s.calm() && int(next.carried) >= s.slots {
			copy(next.network[:], next.network[1:])
			next.carried--
		}
		if int(next.carried) >= s.slots {
			continue
		}
		l := label{op: opSend, a: int8(i), b: at, c: m.until}
		r := request{msg: int8(i), at: at, sentAt: s.from.t}
		if s.messages == 2 && s.from.msgs[1-i].phase == phaseAnswered {
			l.op, l.d = opSendAcking, s.ackAt(&s.from.msgs[1-i])
			r.ack = 1 + l.d
		}
		x := &next.msgs[i]
		x.trying, x.tryAt, x.trySent = 1, at, s.from.t
		x.largest, x.least = max(x.largest, at), at
		if s.mark != markNone {
			x.left = 1
		}
		if s.calm() {
			x.tried = 1
		}
		next.network[next.carried] = r
		next.carried++
		s.to(next, l, "")
	}
}

// answers ends the attempt of message i under way: by time, or with an answer that is there.
func (s *step) answers(i int) {
	m := &s.from.msgs[i]
	if !s.calm() {
		next := *s.from
		next.msgs[i].close()
		next.msgs[i].left = 1
		s.to(next, label{op: opTimeout, a: int8(i)}, "")
	}
	for bit := uint8(1); bit <= sayStale; bit <<= 1 {
		if m.answers&bit == 0 {
			continue
		}
		next := *s.from
		x := &next.msgs[i]
		x.close()
		l, bad := label{a: int8(i)}, ""
		switch bit {
		case sayDone1, sayDone2:
			l.op, l.b = opDone, int8(bit)
			x.got, x.left = l.b, 1
			if s.ack == ackAnswered {
				x.answeredAt = m.tryAt
			}
			bad = failing("P4", x.outcomes == 0 && !s.doneEarly)
		case sayRunning:
			l.op, x.left = opRunning, 1
			bad = failing("P4", x.accepted == 0)
		case sayNone:
			l.op = opNone
		case sayStale:
			l.op = opStale
		case sayGone:
			l.op = opGone
			if x.phase == phaseOpen {
				x.phase, bad = phaseGone, "P3"
			}
		}
		s.to(next, l, bad)
	}
}

// other adds what the client's second node can do about message i: claim it and pause, wake and send.
func (s *step) other(i int) {
	m := &s.from.msgs[i]
	if m.phase == phaseOpen && m.paused == 0 {
		for end := int8(1); end <= m.until; end++ {
			next := *s.from
			x := &next.msgs[i]
			x.paused, x.lease = end+1, max(x.lease, end)
			if s.mark != markUnclaim {
				x.left = 1
			}
			s.to(next, label{op: opOtherClaim, a: int8(i), b: end}, "")
		}
	}
	if m.paused == 0 || int(s.from.carried) >= s.slots {
		return
	}
	most := m.paused - 1
	if s.cluster == ownClock {
		most = m.until
	}
	for at := int8(1); at <= most; at++ {
		next := *s.from
		x := &next.msgs[i]
		x.paused, x.otherAt, x.left = 0, at, 1
		next.network[next.carried] = request{msg: int8(i), at: at, sentAt: s.from.t}
		next.carried++
		s.to(next, label{op: opOtherSend, a: int8(i), b: at}, "")
	}
}

// crashOfClient loses what the client had in memory only.
func (s *step) crashOfClient() {
	next := *s.from
	for i := range next.msgs {
		x := &next.msgs[i]
		x.close()
		x.got = 0
		if x.phase != phaseOpen {
			continue
		}
		x.left = 1 // C6: an attempt is presumed to have left.
		if s.mark == markCrash {
			x.left = 0
		}
		switch s.at {
		case atPresumed: // A5
			x.largest, x.least = x.until, 0
		case atForgotten:
			x.largest, x.least = 0, 0
		}
	}
	s.to(next, label{op: opCrashClient}, "")
}
