// Package torture ends real processes in every way that a machine knows, and keeps outside of them the record of what they promised.
//
// Two programs run, which are this package's test binary started again: a certified server and a client, each a node on an SQLite file,
// talking over loopback TCP. The server's orders have an effect with a witness that never dies: the test itself, which also writes down what
// the client's Put and Start returned and what anybody was answered. Under each process is a drive (package drive), on which the n-th sync or
// write kills, fails or finds no room, and which loses what was not synced when the power goes.
//
// When the faults are over, everything that was promised must be there (I1), with one effect (I2) and one answer (I3), nothing may be
// unfinished (I8), and what ended without an outcome is listed (I10). A fault that was never reached fails the test.
//
// The short form runs with the tests; TORTURE=10m lets TestMishaps go on for so long.
package torture
