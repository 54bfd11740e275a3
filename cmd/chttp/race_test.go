//go:build race

package main

// scriptLines is how many lines scripts send where many are wanted: $N. Under the race detector everything is many times slower.
const scriptLines = 2000
