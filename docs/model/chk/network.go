package main

// deliver adds what can come of the network's request r: it is delivered again and again, to any node.
func (s *step) deliver(r request) {
	if int(s.from.t) < int(r.sentAt)+s.delay {
		return
	}
	if r.ack > 0 {
		s.acknowledged(1-int(r.msg), r.ack-1)
	}
	for n := range s.nodes {
		s.arrive(r, n)
	}
}

// arrive adds what node n can do with a copy of r.
func (s *step) arrive(r request, n int) {
	open := s.from.msgs[r.msg].awaits(r)
	low := !s.noArrivalCheck && r.at <= s.from.floor
	early := !s.anyClock && int(r.at) > int(s.from.t)+s.skew
	l := label{a: r.msg, b: int8(n), c: r.at}
	if (low || early || s.anyClock) && open { // Where now may be anything, at > now + skew is always possible.
		next := *s.from
		next.msgs[r.msg].answers |= sayStale
		l.op = opArriveStale
		s.to(next, l, "")
	}
	if early || low && !s.oldFloor {
		return
	}
	was := *s.from // as it is once the copy has passed S8
	if s.seenCap {
		was.seen = max(was.seen, r.at)
	}
	m := &was.msgs[r.msg]
	if m.runs[n].phase != runNone {
		s.join(r, n, was, open)
		return
	}
	if m.otherAt == r.at && m.otherAt != 0 && (m.record == recordDone || m.record == recordAcked || m.record == recordTomb) {
		s.answerOther(r, was)
	}
	reply := func(op operation) {
		if open {
			next := was
			next.msgs[r.msg].answers |= m.stored()
			l.op = op
			s.to(next, l, "")
		}
	}
	switch m.record {
	case recordNone:
		s.start(opArriveNew, r, n, was, open)
	case recordRunning, recordStep:
		reply(opArriveRunning)
	case recordDone, recordAcked:
		reply(opArriveReplay)
	case recordTomb:
		reply(opArriveGone)
	}
	if s.blind && m.record != recordNone {
		s.start(opArriveBlind, r, n, was, open)
	}
}

// start lets the handler start, with whatever it will answer.
func (s *step) start(op operation, r request, n int, was state, open bool) {
	for value := 1; value <= s.values; value++ {
		next := was
		next.msgs[r.msg].runs[n] = run{phase: runNew, value: int8(value), at: r.at}
		if open {
			next.msgs[r.msg].runs[n].waited = 1
		}
		s.to(next, label{op, r.msg, int8(n), r.at, int8(value)}, "")
	}
}

// join lets a copy wait for the run that is under way.
func (s *step) join(r request, n int, was state, open bool) {
	x := &was.msgs[r.msg].runs[n]
	newer := x.phase == runNew && !s.keepsFirstAt && r.at > x.at
	if !open && !newer {
		return
	}
	if open {
		x.waited = 1
	}
	if newer {
		x.at = r.at // S8: judged by the largest of the copies that wait.
	}
	s.to(was, label{op: opArriveJoin, a: r.msg, b: int8(n), c: r.at}, "")
}

// answerOther answers the attempt of the client's second node.
func (s *step) answerOther(r request, next state) {
	x := &next.msgs[r.msg]
	x.otherAt = 0
	op, bad := opOtherDone, ""
	switch {
	case x.record == recordTomb:
		op, bad = opOtherGone, failing("P3", x.phase == phaseOpen)
	case x.phase == phaseOpen:
		x.close()
		x.phase, x.outcome, x.got, x.largest = phaseAnswered, x.value, 0, max(x.largest, r.at)
	}
	if op == opOtherDone && (x.value != x.first || x.phase == phaseAnswered && x.outcome != x.value) {
		bad = "P2"
	}
	s.to(next, label{op: op, a: r.msg, b: x.value}, bad)
}

// acknowledged adds the arrival of an acknowledgement of message i that names at (A2).
func (s *step) acknowledged(i int, at int8) {
	if s.from.msgs[i].record != recordDone {
		return
	}
	next := *s.from
	x := &next.msgs[i]
	x.record, x.bound = recordAcked, at
	s.to(next, label{op: opAck, a: int8(i), b: at}, "")
	x.record, x.value = recordTomb, 0
	s.to(next, label{op: opAckDropping, a: int8(i), b: at}, "")
}
