package main

import "unsafe"

// What is stored of a message at the server.
const (
	recordNone = iota
	recordRunning
	recordStep // running, and a step or message of it recorded
	recordDone
	recordAcked // acknowledged, the outcome still there
	recordTomb  // acknowledged, the outcome dropped
)

// What the client's store says of a message.
const (
	phaseNew = iota
	phaseOpen
	phaseAnswered
	phaseUndelivered
	phaseUnknown
	phaseGone
)

// Answers that are on their way, as bits.
const (
	sayDone1 = 1 << iota
	sayDone2
	sayRunning
	sayNone
	sayGone
	sayStale
)

// What a server node holds in memory of a message.
const (
	runNone  = iota
	runNew   // a run not yet recorded
	runOwned // the recorded run, which is its own
	runLost  // a run whose record was claimed by another node, deleted or replaced
)

// request is one in the network; ack is 1 + the at named for the other message, 0 for none.
type request struct{ msg, at, sentAt, ack int8 }

// run is what one server node holds in memory of one message.
type run struct{ phase, value, at, waited, stepped int8 }

// message is one message at both ends. A state is compared byte by byte, so every field is one.
type message struct {
	// The client's, durable; largest and least as clientRules.at says.
	phase, outcome, until, left int8
	largest, least              int8 // at: used, and what the next may not be below
	lease                       int8 // the latest end of any

	// The client's, volatile.
	trying, tryAt, trySent int8 // the attempt under way
	got                    int8 // the outcome, not durable yet
	tried                  int8 // in this tick
	answers                uint8
	answeredAt             int8 // of the attempt that was answered

	paused  int8 // 1 + end of the lease of the client's second node, which pauses
	otherAt int8 // at of the attempt that the second node waits for, 0 for none
	acked   int8 // 1 + the at of a DELETE in the network

	// The server's, durable; bound is the acknowledgement's at.
	record, value, bound int8

	runs [2]run

	// Ghosts, which no rule looks at.
	accepted, inserts, outcomes, first, effect int8
}

// networkSize is the most requests that the network holds.
const networkSize = 5

// state is one state of everything.
type state struct {
	t, ahead        int8
	floor           int8
	looked          int8 // 1: time has passed since F was last looked at
	calm            int8
	carried, jumped int8
	seen            int8
	msgs            [2]message
	network         [networkSize]request
}

func (s *state) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)) }

// initial are the states in which all begins.
func (v *variant) initial() []state {
	if v.anyClock {
		return []state{{}}
	}
	var list []state
	for e := v.aheadLeast; e <= v.aheadMost; e++ {
		list = append(list, state{ahead: int8(e), floor: int8(-v.linger)})
	}
	return list
}

// close ends the attempt under way.
func (m *message) close() {
	m.trying, m.tryAt, m.trySent, m.answers = 0, 0, 0, 0
	m.runs[0].waited, m.runs[1].waited = 0, 0
}

// awaits tells whether the client still waits for the answer to r.
func (m *message) awaits(r request) bool {
	return m.trying == 1 && m.tryAt == r.at && m.trySent == r.sentAt
}

// unfinished tells whether the server's record is of a run that is not over.
func (m *message) unfinished() bool { return m.record == recordRunning || m.record == recordStep }

// lose marks the runs of the nodes but one as no longer the recorded one.
func (m *message) lose(but int) {
	for n := range m.runs {
		if n != but && m.runs[n].phase == runOwned {
			m.runs[n].phase = runLost
		}
	}
}

// finish notes an outcome of the server.
func (m *message) finish(value int8) {
	m.record, m.value, m.bound = recordDone, value, 0
	m.outcomes = min(2, m.outcomes+1)
	if m.first == 0 {
		m.first = value
	}
}

// doneBit is the answer done with a value.
func doneBit(value int8) uint8 {
	if value == 1 {
		return sayDone1
	}
	return sayDone2
}

// stored is the answer that the record makes.
func (m *message) stored() uint8 {
	switch m.record {
	case recordRunning, recordStep:
		return sayRunning
	case recordDone, recordAcked:
		return doneBit(m.value)
	case recordTomb:
		return sayGone
	}
	return sayNone
}

// ackAt is the at that the client's acknowledgement names.
func (v *variant) ackAt(m *message) int8 {
	at := m.largest
	switch v.ack {
	case ackAnswered:
		at = m.answeredAt
	case ackSmaller:
		at = max(0, m.largest-1)
	}
	if v.cluster != noCluster && v.lease == leaseNamed {
		at = max(at, m.lease)
	}
	return min(at, m.until)
}

// deletable tells whether the server may forget the record (S8, S9).
func (v *variant) deletable(s *state, m *message) bool {
	switch m.record {
	case recordDone:
		if v.deleteByClock && (v.anyClock || s.t > m.until) {
			return true
		}
		return int(s.floor) >= int(m.until)-v.slack
	case recordAcked, recordTomb:
		return int(s.floor) >= int(m.bound)-v.slack
	}
	return false
}

// raised returns where a timed run may bring F now, when the server's clock reads now.
func (v *variant) raised(s *state, now int8) int8 {
	aim := now - int8(v.linger)
	if v.seenCap {
		aim = min(aim, s.seen)
	}
	if v.pace > 0 {
		aim = min(aim, s.floor+int8(v.pace)*s.looked)
	}
	return max(aim, s.floor)
}

// owed tells whether something is due, once the faults have stopped: then time does not pass.
func (v *variant) owed(s *state) bool {
	clock := s.t + s.ahead
	if v.raised(s, s.t) > s.floor {
		return true
	}
	for i := range v.messages {
		m := &s.msgs[i]
		switch {
		case m.phase == phaseOpen && (m.got != 0 || m.trying == 0 && (clock > m.until || m.tried == 0)),
			m.trying == 1 && int(s.t) >= int(m.trySent)+v.delay,
			m.phase == phaseAnswered && m.acked == 0 || m.acked != 0 && m.record == recordDone,
			m.runs[0].phase != runNone || m.runs[1].phase != runNone || m.unfinished() || v.deletable(s, m):
			return true
		}
	}
	return false
}

// properties, in the order of the table.
var properties = []string{"P1", "P1e", "P2", "P3", "P4", "P5", "P6", "P7"}

// violated returns the property that does not hold in s, or "".
func (v *variant) violated(s *state) string {
	for i := range v.messages {
		m := &s.msgs[i]
		if m.inserts >= 2 || m.outcomes >= 2 {
			return "P1"
		}
		if m.phase == phaseUndelivered && m.accepted > 0 {
			return "P6"
		}
	}
	if s.calm == 0 || int(s.t) != v.ticks || v.owed(s) {
		return ""
	}
	for i := range v.messages {
		m := &s.msgs[i]
		if m.phase == phaseOpen {
			return "P5"
		}
		if m.record != recordNone || m.runs[0].phase != runNone || m.runs[1].phase != runNone {
			return "P7"
		}
	}
	return ""
}

// canon makes states equal that differ in nothing that matters: it drops requests that nobody can take any more, and sorts the rest.
func (v *variant) canon(s *state) {
	k := 0
	for i := range int(s.carried) {
		r := s.network[i]
		open := s.msgs[r.msg].awaits(r)
		if !open && v.floorOnArrival() && r.at <= s.floor {
			continue
		}
		if !open && v.delay == 0 {
			r.sentAt = 0
		}
		known := false
		for j := range k {
			known = known || s.network[j] == r
		}
		if !known {
			s.network[k] = r
			k++
		}
	}
	clear(s.network[k:])
	if s.looked == 1 && (v.jump == 0 || s.jumped == 1) && v.raised(s, s.t) == s.floor {
		s.looked = 0 // There is nothing to raise, and the next tick says so anew.
	}
	s.carried = int8(k)
	for i := 1; i < k; i++ {
		for j := i; j > 0 && less(s.network[j], s.network[j-1]); j-- {
			s.network[j], s.network[j-1] = s.network[j-1], s.network[j]
		}
	}
}

func less(a, b request) bool {
	switch {
	case a.msg != b.msg:
		return a.msg < b.msg
	case a.at != b.at:
		return a.at < b.at
	case a.sentAt != b.sentAt:
		return a.sentAt < b.sentAt
	}
	return a.ack < b.ack
}
