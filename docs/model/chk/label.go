package main

import (
	"fmt"
	"strings"
)

// label names a transition, for traces: a is the message, or a number that stands alone, b the server node or a number.
type label struct {
	op         operation
	a, b, c, d int8
}

// operation is what a transition does.
type operation uint8

const (
	opCreate operation = iota
	opSend
	opSendAcking
	opTimeout
	opDone
	opRecord
	opRunning
	opNone
	opStale
	opGone
	opAcknowledge
	opCrashClient
	opUnknown
	opUndelivered
	opArriveStale
	opArriveJoin
	opArriveNew
	opArriveBlind
	opArriveRunning
	opArriveReplay
	opArriveGone
	opAccept
	opDirect
	opNotNow
	opAdopt
	opLate
	opStep
	opEffect
	opFinish
	opForgetRun
	opSayRunning
	opSayDone
	opClaim
	opDiscard
	opCrashServer
	opAck
	opAckDropping
	opDrop
	opForget
	opFloor
	opTick
	opClock
	opCalm
	opOtherClaim
	opOtherSend
	opUpsert
	opForeign
	opOtherDone
	opOtherGone
	operations // how many there are
)

// texts say what a transition is. The arguments are: 1 the message, 2 b, 3 c, 4 d, 5 the server node, 6 a.
var texts = [operations]string{
	opCreate:        "client: m%[1]d durable, until=%[2]d",
	opSend:          "client: sends attempt of m%[1]d, at=%[2]d until=%[3]d",
	opSendAcking:    "client: sends attempt of m%[1]d, at=%[2]d until=%[3]d + Certified-Ack of the other, at=%[4]d",
	opTimeout:       "client: attempt of m%[1]d times out / connection lost",
	opDone:          "client: receives done(value %[2]d) for m%[1]d, in memory only",
	opRecord:        "client: outcome %[2]d of m%[1]d durable (answered)",
	opRunning:       "client: receives running for m%[1]d",
	opNone:          "client: receives none for m%[1]d",
	opStale:         "client: receives 412 stale-attempt for m%[1]d",
	opGone:          "client: receives 410 gone for m%[1]d",
	opAcknowledge:   "client: sends DELETE (ack) for m%[1]d, at=%[2]d",
	opCrashClient:   "client: CRASH and restart",
	opUnknown:       "client: until has passed: m%[1]d ends UNKNOWN",
	opUndelivered:   "client: until has passed: m%[1]d ends UNDELIVERED",
	opArriveStale:   "network->node%[5]d: copy of m%[1]d at=%[3]d: 412 stale-attempt",
	opArriveJoin:    "network->node%[5]d: copy of m%[1]d at=%[3]d: in progress, joins",
	opArriveNew:     "network->node%[5]d: copy of m%[1]d at=%[3]d: passes S8, not in the store: handler starts, value %[4]d",
	opArriveBlind:   "network->node%[5]d: copy of m%[1]d at=%[3]d: passes S8, look-up old or missing: handler starts, value %[4]d",
	opArriveRunning: "network->node%[5]d: copy of m%[1]d at=%[3]d: recorded as running: 202 running",
	opArriveReplay:  "network->node%[5]d: copy of m%[1]d at=%[3]d: replays the recorded outcome",
	opArriveGone:    "network->node%[5]d: copy of m%[1]d at=%[3]d: 410 gone",
	opAccept:        "node%[5]d: commits ACCEPT of m%[1]d (value %[3]d) - execution no. %[4]d of this id",
	opDirect:        "node%[5]d: commits OUTCOME of m%[1]d (value %[3]d) in one go - execution no. %[4]d of this id; response leaves",
	opNotNow:        "node%[5]d: handler of m%[1]d answers 503 -> none, nothing recorded",
	opAdopt:         "node%[5]d: insert of m%[1]d conflicts; answers what is stored",
	opLate:          "node%[5]d: insert of m%[1]d refused by the floor (at=%[3]d <= F=%[4]d): 412",
	opStep:          "node%[5]d: commits STEP of m%[1]d",
	opEffect:        "node%[5]d: EFFECT of m%[1]d leaves (value %[3]d)",
	opFinish:        "node%[5]d: commits OUTCOME of m%[1]d (value %[3]d), update of its running record; response leaves",
	opForgetRun:     "node%[5]d: handler of m%[1]d answers 503 -> none, running record without steps forgotten",
	opSayRunning:    "node%[5]d: answers 202 running for m%[1]d",
	opSayDone:       "node%[5]d: answers done(value %[3]d) for m%[1]d BEFORE the commit",
	opClaim:         "node%[5]d: claims the recorded run of m%[1]d and resumes it",
	opDiscard:       "node%[5]d: its run of m%[1]d is another's or gone: discarded",
	opCrashServer:   "node%[5]d: CRASH and restart (F=%[3]d)",
	opAck:           "network->server: acknowledgement of m%[1]d, at=%[2]d; outcome still there",
	opAckDropping:   "network->server: acknowledgement of m%[1]d, at=%[2]d; outcome dropped",
	opDrop:          "server: outcome of m%[1]d dropped",
	opForget:        "server: record of m%[1]d DELETED (F=%[2]d)",
	opFloor:         "server: floor F raised to %[6]d",
	opTick:          "-- time is now %[6]d --",
	opClock:         "client: its clock jumps to server%+[6]d",
	opCalm:          "== faults stop ==",
	opOtherClaim:    "client node B: claims m%[1]d, lease ends %[2]d; pauses before sending",
	opOtherSend:     "client node B: wakes and sends an attempt of m%[1]d, at=%[2]d",
	opUpsert:        "node%[5]d: writes OUTCOME of m%[1]d (value %[3]d) by UPSERT",
	opForeign:       "node%[5]d: writes OUTCOME of m%[1]d (value %[3]d) into a record that is ANOTHER run's",
	opOtherDone:     "client node B: receives done(value %[2]d) for m%[1]d; the client's store says answered or takes it",
	opOtherGone:     "client node B: receives 410 gone for m%[1]d",
}

// String returns the text with its numbers.
func (l label) String() string {
	text := texts[l.op]
	if !strings.Contains(text, "%") {
		return text
	}
	return fmt.Sprintf(text, l.a+1, l.b, l.c, l.d, l.b+1, l.a)
}
