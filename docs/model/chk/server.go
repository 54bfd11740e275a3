package main

// server adds what the server can do about message i.
func (s *step) server(i int) {
	m := &s.from.msgs[i]
	for n := range s.nodes {
		switch m.runs[n].phase {
		case runNone:
			if m.unfinished() {
				s.claim(i, n)
			}
		case runNew:
			s.unrecorded(i, n)
		default:
			s.recorded(i, n)
		}
	}
	if m.acked > 0 {
		s.acknowledged(i, m.acked-1)
	}
	if m.record == recordAcked {
		next := *s.from
		next.msgs[i].record, next.msgs[i].value = recordTomb, 0
		s.to(next, label{op: opDrop, a: int8(i)}, "")
	}
	if s.deletable(s.from, m) {
		next := *s.from
		x := &next.msgs[i]
		x.record, x.value, x.bound = recordNone, 0, 0
		s.to(next, label{op: opForget, a: int8(i), b: s.from.floor}, "")
	}
}

// claim lets node n go on with the recorded run: it restarts, or claims what another node may still believe its own (S11).
func (s *step) claim(i, n int) {
	next := *s.from
	x := &next.msgs[i]
	x.lose(n)
	x.runs[n] = run{phase: runOwned, value: x.value}
	if x.record == recordStep {
		x.runs[n].stepped = 1
	}
	s.to(next, label{op: opClaim, a: int8(i), b: int8(n)}, "")
}

// over ends the run of message i at node n with an answer, for whoever waits.
func (s *step) over(next *state, i, n int, answer uint8) {
	x := &next.msgs[i]
	if s.from.msgs[i].runs[n].waited == 1 {
		x.answers |= answer
	}
	x.runs[n] = run{}
}

// instead ends a run that is not the recorded one: its answer is what is stored.
func (s *step) instead(op operation, i, n int) {
	next := *s.from
	s.over(&next, i, n, s.from.msgs[i].stored())
	s.to(next, label{op: op, a: int8(i), b: int8(n)}, "")
}

// say answers who waits for the run without ending it.
func (s *step) say(op operation, i, n int, answer uint8) {
	next := *s.from
	next.msgs[i].answers |= answer
	next.msgs[i].runs[n].waited = 0
	s.to(next, label{op: op, a: int8(i), b: int8(n), c: next.msgs[i].runs[n].value}, "")
}

// unrecorded adds what can become of a run that is in memory only.
func (s *step) unrecorded(i, n int) {
	m := &s.from.msgs[i]
	r := m.runs[n]
	l := label{a: int8(i), b: int8(n), c: r.value}
	if s.doneEarly && r.waited == 1 {
		s.say(opSayDone, i, n, doneBit(r.value))
	}
	if s.runningEarly && r.waited == 1 {
		s.say(opSayRunning, i, n, sayRunning)
	}
	if s.effectEarly {
		next := *s.from
		next.msgs[i].effect = r.value
		l.op = opEffect
		s.to(next, l, failing("P1e", m.effect != 0 && m.effect != r.value))
	}
	switch {
	case !s.noCommitCheck && r.at <= s.from.floor: // S8, in the commit
		next := *s.from
		s.over(&next, i, n, sayStale)
		s.to(next, label{opLate, int8(i), int8(n), r.at, s.from.floor}, "")
	case m.record != recordNone && !s.noConflict:
		s.instead(opAdopt, i, n)
	default:
		s.insert(i, n)
	}
	if s.notNow && !s.calm() {
		next := *s.from
		s.over(&next, i, n, sayNone)
		l.op = opNotNow
		s.to(next, l, "")
	}
}

// insert commits the beginning of a run, or the whole of it in one go.
func (s *step) insert(i, n int) {
	r := s.from.msgs[i].runs[n]
	next := *s.from
	x := &next.msgs[i]
	x.inserts, x.accepted = min(2, x.inserts+1), 1
	x.lose(n)
	x.value, x.bound = r.value, 0
	l := label{opAccept, int8(i), int8(n), r.value, x.inserts}

	direct := next
	x.record = recordRunning
	x.runs[n] = run{phase: runOwned, value: r.value, waited: r.waited}
	s.to(next, l, "")

	direct.msgs[i].finish(r.value)
	s.over(&direct, i, n, doneBit(r.value))
	l.op = opDirect
	s.to(direct, l, "")
}

// recorded adds what can become of a run that is recorded, or was.
func (s *step) recorded(i, n int) {
	m := &s.from.msgs[i]
	r := m.runs[n]
	if r.stepped == 1 && m.effect != r.value {
		bad := failing("P1e", m.effect != 0)
		if m.accepted == 0 {
			bad = "P4"
		}
		next := *s.from
		next.msgs[i].effect = r.value
		s.to(next, label{op: opEffect, a: int8(i), b: int8(n), c: r.value}, bad)
	}
	if r.phase == runLost {
		s.lost(i, n)
		return
	}
	s.finish(opFinish, i, n)
	if m.record == recordRunning {
		s.begin(i, n)
	}
	if s.notNow && !s.calm() && (m.record == recordRunning || s.forgetsSteps) { // S7
		next := *s.from
		x := &next.msgs[i]
		if m.record == recordRunning {
			x.inserts--
		}
		x.lose(n)
		x.record, x.value = recordNone, 0
		s.over(&next, i, n, sayNone)
		s.to(next, label{op: opForgetRun, a: int8(i), b: int8(n)}, "")
	}
	if r.waited == 1 && !s.calm() {
		s.say(opSayRunning, i, n, sayRunning)
	}
}

// lost adds what can become of a run whose record is another's or gone.
func (s *step) lost(i, n int) {
	m := &s.from.msgs[i]
	switch {
	case s.upsert:
		s.finish(opUpsert, i, n)
	case s.anyRun && m.unfinished():
		s.finish(opForeign, i, n)
		if m.record == recordRunning {
			s.begin(i, n)
		}
	default:
		s.instead(opDiscard, i, n)
	}
}

// finish commits the outcome of a run, whichever it is.
func (s *step) finish(op operation, i, n int) {
	for value := int8(1); int(value) <= s.values; value++ {
		next := *s.from
		x := &next.msgs[i]
		x.lose(n)
		x.finish(value)
		s.over(&next, i, n, doneBit(value))
		s.to(next, label{op: op, a: int8(i), b: int8(n), c: value}, "")
	}
}

// begin commits the beginning of a step.
func (s *step) begin(i, n int) {
	next := *s.from
	next.msgs[i].record, next.msgs[i].runs[n].stepped = recordStep, 1
	s.to(next, label{op: opStep, a: int8(i), b: int8(n)}, "")
}

// crashOfServer loses what node n had in memory only.
func (s *step) crashOfServer(n int) {
	next := *s.from
	for i := range next.msgs {
		next.msgs[i].runs[n] = run{}
	}
	if s.floorVolatile {
		next.floor = 0
	}
	s.to(next, label{op: opCrashServer, b: int8(n), c: next.floor}, "")
}
