package main

// variant is one model: its bounds, the faults that may happen, and the rules in force. What is zero under "broken rules" is as the
// protocol has it.
type variant struct {
	name string
	want string // the properties that must fail, in the order of properties; "" where the rules are the protocol's

	// Bounds.
	messages, nodes, values int // values is how many different ones a handler can answer
	slots                   int // requests that the network holds

	// anyClock: every reading of every clock gives any value of 1..stamps (ahead, behind, stepping back, another on each node), so
	// there is no time in the state at all, and until is any value of untilLeast..stamps.
	anyClock           bool
	stamps, untilLeast int

	// Otherwise time is discrete: the server's clock is t, the client's is t+e for some e of aheadLeast..aheadMost.
	linger, skew, delay   int
	aheadLeast, aheadMost int
	term                  int  // from a message's beginning to its until
	margin                int  // until is at least so far away when the faults stop
	ticks                 int  // the last t
	steps                 bool // e changes while there are faults
	jump                  int  // the server's clock is once so far ahead while it looks at F
	calms                 bool // the faults stop at some time, so that P5 and P7 can be asked

	// Faults.
	crashClient, crashServer, notNow bool

	serverRules
	clientRules
}

// serverRules are the rules of the server as a variant has them.
type serverRules struct {
	blind bool // the look-up may be old or missing: a run may start whatever is stored
	pace  int  // F rises by at most so many ticks for each that has passed (S8); 0: to the clock at once

	// Broken rules.
	noArrivalCheck bool // S8: F is not checked on arrival
	noCommitCheck  bool // S8: nor in the commit that inserts
	oldFloor       bool // the arrival check reads an old F, a cache on another node
	floorVolatile  bool // F falls when the server crashes
	slack          int  // records are deleted while F is so much below their bound
	deleteByClock  bool // unacknowledged records are deleted once until is past now, whatever F
	upsert         bool
	anyRun         bool // an update matches the id, not the run
	noConflict     bool // an insert is not compared with what is stored
	runningEarly   bool
	doneEarly      bool
	effectEarly    bool
	keepsFirstAt   bool // a run keeps the at of the copy that began it, whoever joins
	seenCap        bool // F is raised no further than the largest at that passed S8
	forgetsSteps   bool // S7 forgets a run although a step was recorded
}

// What the client still knows of the largest at it used, after a crash.
const (
	atPresumed  = iota // it presumes until
	atDurable          // all: at is durable before it is sent
	atForgotten        // nothing
)

// What an acknowledgement names.
const (
	ackLargest  = iota // the largest at used
	ackAnswered        // that of the attempt that was answered
	ackSmaller         // one less than the largest
)

// What becomes of the mark that a byte may have left (C6).
const (
	markStrict  = iota
	markNone    // none clears it
	markCrash   // it is lost in a crash
	markUnclaim // another node's claim is no mark
)

// What the second node of the client does, if there is one.
const (
	noCluster  = iota
	ownClock   // it stamps by its own clock
	underLease // its at is no later than the end of its lease
)

// What a cluster's acknowledgement names.
const (
	leaseNamed   = iota // a time no earlier than the end of any lease
	leaseIgnored        // the largest at that this node used
	leaseAwaited        // the largest at that this node used, which is no earlier than the end of the lease that it took over
)

// clientRules are the rules of the client as a variant has them.
type clientRules struct {
	at       int  // over a crash
	ack      int  // what an acknowledgement names
	lowers   bool // C8 may lower at
	ackEarly bool // it acknowledges before the outcome is durable
	mark     int
	cluster  int
	lease    int
}

// floorOnArrival tells whether a copy at or below F can never be taken: then it need not be kept in the network.
func (v *variant) floorOnArrival() bool {
	return !v.noArrivalCheck && !v.floorVolatile && !v.oldFloor
}
