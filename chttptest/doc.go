// Package chttptest helps tests of what is built on package chttp. Nothing in it opens a socket, and time may be that of a testing/synctest
// bubble.
//
// A Network is an in-memory network between real net/http clients and servers. It loses, doubles, delays and breaks requests and answers as
// real networks do, above all the answer after the work was done; what a request meets is drawn from a seed, or said by the test.
//
// Replay makes tests of what nodes have done: it runs today's code over executions that the command chttp export has recorded, and fails where
// the code goes another way.
package chttptest
