package main

// anyClocks is the protocol where every reading of every clock is arbitrary: one message, one node.
func anyClocks(name string) variant {
	return variant{
		name: name, messages: 1, nodes: 1, values: 2, slots: 3, anyClock: true, stamps: 3, untilLeast: 2,
		crashClient: true, crashServer: true, notNow: true, serverRules: serverRules{blind: true},
	}
}

// withinSkew is the protocol with clocks within skew, to see P5 and P7.
func withinSkew(name string) variant {
	v := anyClocks(name)
	v.anyClock = false
	v.linger, v.skew, v.aheadLeast, v.aheadMost, v.steps = 2, 1, -1, 1, true
	v.term, v.margin, v.calms, v.pace = 3, 1, true, 2
	return v
}

// rows are all variants, in the order of the table.
func rows() []variant {
	list := append(sound(), brokenServers()...)
	list = append(list, brokenClients()...)
	list = append(list, brokenClocks()...)
	for i := range list {
		v := &list[i]
		v.ticks = max(v.ticks, v.aheadMost+v.term+v.linger+1)
	}
	return list
}

// with changes v.
func (v variant) with(change func(*variant)) variant {
	change(&v)
	return v
}

// breaking is with, for a change that must break properties.
func (v variant) breaking(properties string, change func(*variant)) variant {
	v.want = properties
	return v.with(change)
}

// Bounds that several rows share.
func twoNodes(v *variant)    { v.nodes, v.slots, v.values = 2, 2, 1 }
func moreStamps(v *variant)  { v.stamps, v.untilLeast = 4, 3 }
func twoMessages(v *variant) { v.messages, v.slots, v.values, v.stamps, v.untilLeast = 2, 2, 1, 2, 2 }

// aheadOnce is a server whose clock is far ahead at one look at F.
func aheadOnce(v *variant) { v.jump, v.steps, v.values = 6, false, 1 }

// twoClients is a cluster of two nodes at the client, with the rules of at and of acknowledgements given.
func twoClients(v *variant, cluster, lease int) {
	v.cluster, v.lease, v.untilLeast, v.values = cluster, lease, 3, 1
}

func sound() []variant {
	return []variant{
		anyClocks("A1 1 message, 1 node, `at` after a crash presumed `until`").with(moreStamps),
		anyClocks("A2 as A1, `at` durable before sending").with(func(v *variant) { moreStamps(v); v.at = atDurable }),
		anyClocks("A2b as A1, stamps 1..5, 5 requests in the network").with(func(v *variant) { v.stamps, v.untilLeast, v.slots = 5, 4, 5 }),
		anyClocks("A3 1 message, 2 nodes on one store").with(func(v *variant) { v.nodes = 2 }),
		anyClocks("A4 as A3, arrival check reads an old F").with(func(v *variant) { twoNodes(v); v.oldFloor, v.slots = true, 3 }),
		anyClocks("A5 2 messages, piggy-backed acks, `until` 2").with(twoMessages),
		anyClocks("A5b as A5, `until` 3, no 503").with(func(v *variant) { twoMessages(v); v.stamps, v.untilLeast, v.notNow = 3, 3, false }),
		anyClocks("A6 client cluster, `at` <= lease's end, ack no earlier than any lease's end").with(func(v *variant) {
			twoClients(v, underLease, leaseNamed)
			v.stamps, v.values = 4, 2
		}),
		anyClocks("A6b as A6, 2 server nodes").with(func(v *variant) { twoClients(v, underLease, leaseNamed); v.nodes = 2 }),
		anyClocks("A7 as A1, C8 lowers `at`, ack names the largest").with(func(v *variant) { v.lowers, v.at = true, atDurable }),

		withinSkew("T1 clocks within skew, client's clock steps, 1 message, 1 node").with(func(v *variant) { v.values = 1 }),
		withinSkew("T2 clocks within skew, 1 message, 2 nodes").with(func(v *variant) { twoNodes(v); v.steps, v.margin, v.notNow = false, 2, false }),
		withinSkew("T3 clocks within skew, 2 messages, piggy-backed acks").with(func(v *variant) {
			v.messages, v.slots, v.values, v.notNow, v.steps, v.linger, v.term, v.aheadLeast = 2, 2, 1, false, false, 1, 1, 1
		}),
		withinSkew("T4 as T1, every copy takes 1 tick").with(func(v *variant) {
			v.delay, v.margin, v.linger, v.values, v.notNow, v.aheadLeast = 1, 2, 3, 1, false, 0
		}),
		withinSkew("T5 as T1, server's clock once 6 ahead while it raises F").with(aheadOnce),
	}
}

func brokenServers() []variant {
	return []variant{
		anyClocks("N1 F not durable across a server crash").breaking("P1", func(v *variant) { v.floorVolatile = true }),
		anyClocks("N2 F checked on arrival only, old look-up").breaking("P1", func(v *variant) { v.noCommitCheck = true }),
		anyClocks("N2b F checked on arrival only, true look-up, 2 nodes (slow start)").breaking("P1", func(v *variant) {
			twoNodes(v)
			v.noCommitCheck, v.blind = true, false
		}),
		anyClocks("N2c F checked in the commit only (arrival check is an economy)").with(func(v *variant) {
			v.noArrivalCheck, v.untilLeast, v.values, v.notNow = true, 3, 1, false
		}),
		anyClocks("N4 record deleted although F < its `at` (by 1)").breaking("P1", func(v *variant) { v.slack = 1 }),
		anyClocks("N6 upsert in place of the update of a running record, 2 nodes").breaking("P1", func(v *variant) { twoNodes(v); v.upsert = true }),
		anyClocks("N6b update matches the id, not the run, 2 nodes, 503 voids").breaking("P1e", func(v *variant) {
			twoNodes(v)
			v.anyRun, v.values, v.untilLeast = true, 2, 3
		}),
		anyClocks("N7 unacknowledged deleted when `until` is past now but not past F").breaking("P1", func(v *variant) { v.deleteByClock = true }),
		anyClocks("N8 `running` said before the acceptance is durable").breaking("P4", func(v *variant) { v.runningEarly = true }),
		anyClocks("N8b `done` said before the commit").breaking("P2", func(v *variant) { v.doneEarly = true }),
		anyClocks("N8c effect before the commit").breaking("P1e", func(v *variant) { v.effectEarly = true }),
		anyClocks("N12 insert without conflict check").breaking("P1", func(v *variant) { v.noConflict = true }),
		anyClocks("N13 S7 forgets a run that recorded a step").breaking("P1", func(v *variant) { v.forgetsSteps = true }),
	}
}

func brokenClients() []variant {
	return []variant{
		anyClocks("N3 ack names a smaller `at` than used").breaking("P1", func(v *variant) { v.ack = ackSmaller }),
		anyClocks("N3b ack names the largest of this incarnation, `at` forgotten in a crash").breaking("P1", func(v *variant) { v.at = atForgotten }),
		anyClocks("N5 C8 lowers `at`, ack names the answered attempt's").breaking("P1", func(v *variant) {
			v.lowers, v.ack, v.at, v.crashClient = true, ackAnswered, atDurable, false
		}),
		anyClocks("N5b as N5, C8 never lowers, no crash (largest = last)").with(func(v *variant) { v.ack, v.at, v.crashClient = ackAnswered, atDurable, false }),
		anyClocks("N9 cluster: paused node stamps by its own clock").breaking("P1", func(v *variant) { twoClients(v, ownClock, leaseNamed) }),
		anyClocks("N9b cluster: `at` <= lease's end, ack names only what this node used").breaking("P1", func(v *variant) { twoClients(v, underLease, leaseIgnored) }),
		anyClocks("N9c as N9b, own `at` never before the end of the lease taken over").breaking("P1", func(v *variant) { twoClients(v, underLease, leaseAwaited) }),
		anyClocks("N9d cluster: another node's claim is no mark").breaking("P6", func(v *variant) { twoClients(v, underLease, leaseNamed); v.mark = markUnclaim }),
		anyClocks("N10 acknowledges before its outcome is durable").breaking("P1 P3", func(v *variant) { v.ackEarly = true }),
		anyClocks("N11 `none` clears the mark").breaking("P6", func(v *variant) { v.mark = markNone }),
		anyClocks("N11b mark lost in a crash").breaking("P6", func(v *variant) { v.mark = markCrash }),
	}
}

func brokenClocks() []variant {
	once := func(v *variant) { aheadOnce(v); v.pace = 0 }
	return []variant{
		withinSkew("N14 as T5, F goes to the clock at once").breaking("P5", once),
		withinSkew("N14b as N14, but no further than the largest `at` seen (price: an idle server keeps its last records)").breaking("P7", func(v *variant) {
			once(v)
			v.seenCap = true
		}),
		withinSkew("N15 a run keeps the `at` of the copy that began it, whoever joins it").breaking("P5", func(v *variant) {
			v.keepsFirstAt, v.steps, v.values = true, false, 1
		}),
		withinSkew("N16 F rises by the time passed and never makes up for downtime").breaking("P7", func(v *variant) { v.pace, v.steps, v.values = 1, false, 1 }),
	}
}
