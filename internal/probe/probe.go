// Package probe is how this project's own test helpers look into a node, and disturb it. A store that is given to a node may
// also be a Clock or a Watcher; those of programs are neither, and cost nothing.
package probe

import (
	"context"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Clock is the wall clock of the node that has the store: what it writes down and compares with what others wrote. How long something
// takes is not its business.
type Clock interface {
	Now() time.Time
}

// Moment is a place in the life of an operation.
type Moment int

// The moments, in their order.
const (
	Enter Moment = iota // the function asks for the operation; that it is the recorded one is not yet said
	Note                // an entry is about to be recorded, and may be changed
	Noted               // it is recorded, and not durable
)

// Sight is what a Watcher is shown of an operation.
type Sight struct {
	Moment
	Function string // of the execution
	ID       string // of the execution
	Realm    string // the scope of that id: "" or a handler's and its caller's
	Scope    string
	Seq      int
	Kind     record.Kind
	Name     string
	Print    []byte
	Message  string          // a call's id
	Recorded bool            // with Enter: an earlier run recorded its result, which is what the function is given
	Stray    bool            // with Enter: the goroutine is not one that the node started for the run
	Line     string          // with Enter: file and line in the user's code
	Context  context.Context // with Enter: what the function passed
	Content  []byte          // with Enter: what Print is of, a request or an input, where there is one
	Entry    *record.Entry   // with Note and Noted
	Flush    func() bool     // waits until everything so far is durable
}

// Watcher is shown every operation of every execution, on the goroutine that does it. It may end that goroutine.
type Watcher interface {
	Watch(*Sight)
}

// Content is the key under which an operation's context carries what its fingerprint is of, where there is a Watcher.
type Content struct{}

// Registrar is told of each execution that a node makes, and may change its run and the time at which it was made, from which the ids of
// its messages are derived: so they can be the same in a world that is played again.
type Registrar interface {
	Born(realm, id string, run uint64, created int64) (uint64, int64)
}
