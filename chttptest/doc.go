// Package chttptest helps tests of what is built on package chttp. Nothing in it opens a socket, and time may be that of a testing/synctest
// bubble.
//
// Resumes proves that a resumable function has everything that it needs to go on after a crash, and ResumesHandler that a handler has: they let
// its process die at every place where it can, and compare. Context is for plain unit tests of code that makes operations.
//
// A Network is an in-memory network between real net/http clients and servers. It loses, doubles, delays and breaks requests and answers as
// real networks do, above all the answer after the work was done; what a request meets is drawn from a seed, or said by the test.
//
// Replay makes tests of what nodes have done: it runs today's code over executions that the command chttp export has recorded, and fails where
// the code goes another way.
//
// # What Resumes does
//
// A function is run once, undisturbed, against the peers that the test gives, and what it did is kept: its operations, what the world answered,
// its outcome. It is run again without a crash, at the same time, later, and slower; then with a death at every moment of every operation and of
// every request, and then with two. Each of these runs is given the values that the first one recorded, so that only the function itself can be the
// cause when an operation, a request, an id, a deadline, an effect or the outcome is another. A few more runs then tell apart what is likely the
// cause: a clock, a random number, the order of a map, a race, a variable that outlives a run, or one that is lost. Some mistakes need no difference
// to be found: operations on goroutines of the function's own, values that the codec changes, transactions and locks that are held across an
// operation. A run that does not end fails the test and says where it hangs.
//
// A failure shows where the process died, the operations of both runs beside each other, what differs, what is likely the cause, what mends it, and what
// to set Options.Only to, to see just this again.
//
// A function of ten operations is run some 170 times, in a quarter of a second; under the race detector in one.
//
// # What it needs, and what it cannot see
//
//   - What a crash does not destroy is made in Options.Setup, before every run: fakes of databases, what peers' handlers remember. What it
//     does destroy is made in Options.Fresh, at the beginning of every life: caches, connections, the variable that holds the node. What has
//     channels, timers or goroutines of its own, such as a sql.DB, is made there and not outside: bubbles do not share them.
//   - Lives of one process share its memory, and a function that dies in one runs its deferred calls. Options.Process lets processes really die:
//     it finds what only shows when variables are lost, or when the environment is another.
//   - The function must not wait for real connections that stay open, or for goroutines outside of the bubble.
//   - A test may call t.Parallel, but tests that run beside must not change what the function reads.
//   - It runs one execution at a time. What executions of one process do to each other it does not see, but for locks.
//   - One input takes one way through a function. Give Resumes an input, and peers, for each way that counts.
package chttptest
