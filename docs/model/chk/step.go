package main

// step collects the successors of one state.
type step struct {
	*variant
	from *state
	emit func(next state, l label, bad string)
}

// successors calls emit with everything that can come next, and with the property that this violates, if it does.
func (v *variant) successors(from *state, emit func(next state, l label, bad string)) {
	s := &step{variant: v, from: from, emit: emit}
	for i := range v.messages {
		s.client(i)
	}
	if v.crashClient && !s.calm() {
		s.crashOfClient()
	}
	for i := range int(from.carried) {
		s.deliver(from.network[i])
	}
	for i := range v.messages {
		s.server(i)
	}
	s.raise()
	if v.crashServer && !s.calm() {
		for n := range v.nodes {
			s.crashOfServer(n)
		}
	}
	if !v.anyClock {
		s.time()
	}
}

// calm tells whether the faults have stopped.
func (s *step) calm() bool { return s.from.calm == 1 }

// to adds a successor. It violates bad, or what its own look shows.
func (s *step) to(next state, l label, bad string) {
	if bad == "" {
		bad = s.violated(&next)
	}
	s.canon(&next)
	s.emit(next, l, bad)
}

// raise adds the rises of F.
func (s *step) raise() {
	if s.anyClock {
		for f := s.from.floor + 1; int(f) <= s.stamps; f++ {
			next := *s.from
			next.floor = f
			s.to(next, label{op: opFloor, a: f}, "")
		}
		return
	}
	if f := s.raised(s.from, s.from.t); f > s.from.floor {
		next := *s.from
		next.floor, next.looked = f, 0
		s.to(next, label{op: opFloor, a: f}, "")
	}
	if s.jump > 0 && s.from.jumped == 0 && !s.calm() {
		next := *s.from
		next.floor, next.looked, next.jumped = s.raised(s.from, s.from.t+int8(s.jump)), 0, 1
		s.to(next, label{op: opFloor, a: next.floor}, "")
	}
}

// time adds what clocks do, and the end of the faults.
func (s *step) time() {
	if s.steps && !s.calm() {
		for e := s.aheadLeast; e <= s.aheadMost; e++ {
			if e != int(s.from.ahead) {
				next := *s.from
				next.ahead = int8(e)
				s.to(next, label{op: opClock, a: int8(e)}, "")
			}
		}
	}
	if int(s.from.t) < s.ticks && !(s.calm() && s.owed(s.from)) {
		next := *s.from
		next.t++
		next.msgs[0].tried, next.msgs[1].tried = 0, 0
		if s.pace > 0 {
			next.looked = 1
		}
		s.to(next, label{op: opTick, a: next.t}, "")
	}
	if s.calms && !s.calm() && s.mayCalm() {
		next := *s.from
		next.calm = 1
		for i := range next.msgs {
			next.msgs[i].close()
		}
		s.to(next, label{op: opCalm}, "")
	}
}

// mayCalm tells whether the faults may stop now: every message has begun, until is not too near, and F has the time to catch up.
func (s *step) mayCalm() bool {
	if s.pace > 0 && 2*(s.ticks-int(s.from.t)) < s.aheadMost+s.term+s.linger {
		return false
	}
	for i := range s.messages {
		m := &s.from.msgs[i]
		if m.phase == phaseNew || m.phase == phaseOpen && int(s.from.t+s.from.ahead)+s.margin > int(m.until) {
			return false
		}
	}
	return true
}
