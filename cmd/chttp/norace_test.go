//go:build !race

package main

// scriptLines is how many lines scripts send where many are wanted: $N.
const scriptLines = 10_000
