// Package store is the contract between a node and its durable memory.
//
// A store keeps records, one an execution, and the chunks of their oplogs; the facts that the node has learned about its
// peers; and the floor. It knows nothing of HTTP or of functions: what a record means is the node's business, and Head, Oplog,
// Tail and facts are bytes to it. Package storetest holds this contract as tests; every driver must pass them.
//
// # What a store promises
//
//   - Commit is atomic, durable and ordered. When it returns nil, everything in the batch that was not refused survives the
//     death of the process and of the machine, and so does every batch committed before it. After a crash the store holds whole
//     batches, a prefix of those that were committed.
//
//   - The unit of conflict is one Change with its children: done, or refused as a whole, and the other changes of the batch go on.
//
//   - A Change names the record's Run and Version, and is done only when it is the next version of that very run. So a chunk once
//     written is never written again, an update never makes a record, and a run whose record was forgotten, replaced or claimed
//     cannot touch what is there now.
//
//   - Commit is idempotent: a Change that is already there, same run and version, is done again without effect and reported Done, and
//     so is a Forget whose record is gone. That is how a caller finds out what became of a batch whose Commit answered ErrUnknown: it
//     commits the same batch again before any other. A version of a run is only ever made by one change, so a record of the same run at
//     that version or a later one has it; a store compares no more than that.
//
//   - The floor never falls. A Change that inserts with At at or below the floor, as it stands inside that commit, is Stale, whatever
//     is stored there, unless it is already there itself.
//
//   - A finished record is deleted only by a sweep, in a commit in which the floor (Certified records) or the batch's clock (others) has
//     reached its Bound; an unfinished one only by Forget. A sweep passes over what the same batch changed, so that the batch finds it
//     there when it is committed again.
//
//   - Safety never rests on clocks. Times are the caller's and are only compared.
//
//   - What is read is what was committed. A record that the disk has changed, or that cannot be read, is an error that names it: Due and List
//     return a *DamagedError beside the records that are sound, Read and Chunks in place of what they were asked for. It is in nobody's way.
//     Where Commit has to read such a record, it is refused with one.
//
// A Store is safe for concurrent use. Reads see every batch whose Commit has returned. What a call returns is the caller's own. Keys,
// names and values are bytes that come back as they were, except that an empty Print, Head, Oplog, Tail or Chunk and none are one.
// Ids are not empty, times are not negative. A call whose ctx has ended before it began returns the ctx's error and does nothing.
package store

import (
	"context"
	"errors"
	"fmt"
)

// Errors of a store. Every other error of Commit means that certainly nothing of the batch was done.
var (
	// ErrUnknown: the batch may have been committed, or not. Commit the same batch again to find out.
	ErrUnknown = errors.New("it is unknown whether the batch was committed")
	// ErrFull: there is no room. Nothing was done; the same batch may succeed later.
	ErrFull = errors.New("store is full")
	// ErrFenced: a later Join has taken the caller's place. Nothing was done by this call, and nothing will be under this token.
	ErrFenced = errors.New("another process has taken over this node")
	// ErrClosed: the store was closed. Nothing was done.
	ErrClosed = errors.New("store is closed")
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("no such record")
	// ErrReadOnly: the store is open for reading only. Nothing was done.
	ErrReadOnly = errors.New("store is open for reading only")
)

// DamagedError names records that are not what was committed, or cannot be read. Nothing of them is returned.
type DamagedError struct {
	Keys []Key // at least one; of a damaged key, what is left of it
	Err  error // what is wrong with the first, and what to do
}

// Error is the text of Err, and how many there are besides.
func (e *DamagedError) Error() string {
	if more := len(e.Keys) - 1; more > 0 {
		return fmt.Sprintf("%v (and %d more)", e.Err, more)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *DamagedError) Unwrap() error { return e.Err }

// Key names a record: the id of an execution within its scope. The node's own functions and messages have the scope "".
type Key struct {
	Scope string
	ID    string
}

// State of a record. The zero State is not valid.
type State uint8

// The states. A record is unfinished until Answered and finished from there on.
const (
	Running      State = iota + 1 // unfinished
	Waiting                       // unfinished, nothing to do before Due
	Parked                        // unfinished, stopped for an operator; Due does not list it
	Answered                      // finished with an outcome
	Rejected                      // a sent message was answered 4xx or 5xx
	Undelivered                   // a sent message certainly had no effect
	Unknown                       // a sent message may have had its effect
	Canceled                      // finished by cancellation
	Acknowledged                  // the outcome was acknowledged and dropped; what is left keeps the id until Bound
)

var stateNames = [...]string{"", "running", "waiting", "parked", "answered", "rejected", "undelivered", "unknown", "canceled", "acknowledged"}

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// Finished tells whether the record has ended.
func (s State) Finished() bool { return s >= Answered }

// Record is one execution as stored. All times are Unix milliseconds.
type Record struct {
	Key
	Run       uint64 // tells this record from an earlier one of the same key; never 0
	Version   int    // how many changes made the record: 1 when inserted
	Function  string // what it is an execution of
	State     State
	Created   int64
	Due       int64  // unfinished: no sooner than this is there anything to do
	Bound     int64  // finished: deleted no sooner than this
	Certified bool   // the floor rules its deletion, not the clock
	Print     []byte // fingerprint of the request or input
	Head      []byte // what the execution began with
	Oplog     []byte // chunk number 1, kept in the record; nil once dropped
	Tail      []byte // what it ended with, or why it is parked
}

// Chunk is a piece of a record's oplog. Its number is the Version of the change that brought it; not every version brings one.
type Chunk struct {
	Number int
	Data   []byte
}

// Change is what one execution does in one batch.
type Change struct {
	Key     Key
	Run     uint64
	Version int // the version this change makes: 1 inserts the record, more updates it from Version-1

	// Forget deletes the unfinished record, with its chunks, instead of updating it. Nothing else in the change counts.
	Forget bool

	// Used when it inserts.
	Function  string
	Created   int64
	Certified bool
	Print     []byte
	Head      []byte
	At        int64 // when not 0: Stale unless it is above the floor

	// The record's new values, whether it inserts or updates.
	State    State
	Due      int64
	Bound    int64
	Tail     []byte
	DropHead bool // an update empties Head

	// Chunk is appended to the oplog; empty adds none.
	Chunk []byte

	// Children are records that begin with this change. A child whose key is taken by a record with an equal Print is left as it is
	// and counts as done; by a record with another Print, it makes the whole change a Conflict. What an earlier child of the same change
	// began, and the change's own record, take keys too.
	Children []Child
}

// Child is a record that another execution's change inserts. Its Version is 1.
type Child struct {
	Key      Key
	Run      uint64
	Function string
	State    State
	Created  int64
	Due      int64
	Bound    int64
	Print    []byte
	Head     []byte
}

// Ack drops the outcome of a finished record, if there is one: it becomes Acknowledged, its Head, Tail, oplog and chunks are
// emptied, and, when it is Certified, its Bound becomes At. Of a Certified record already Acknowledged only Bound is raised to At. An
// unfinished or missing record is left as it is.
type Ack struct {
	Key Key
	At  int64
}

// Fact is something small that the node wants to know again: of a peer, of a pause.
type Fact struct {
	Name  string
	Value []byte // nil deletes it; empty is a value
}

// Batch is what one Commit does, in the order of the fields. At most one of its Changes names a key, and no child
// names one that is forgotten. The caller does not change a batch afterwards.
type Batch struct {
	Token   Token
	Now     int64 // the caller's clock
	Floor   int64 // raises the floor to this if that is higher
	Changes []Change
	Acks    []Ack
	Facts   []Fact
	Sweep   int // deletes at most so many finished records whose Bound has been reached; which, is the store's choice
}

// Status is what became of a Change.
type Status uint8

// The statuses.
const (
	Done     Status = iota + 1
	Conflict        // refused: the record is another run's, at another version, finished, missing, or a child's key is taken
	Stale           // refused: an insert with At at or below the floor
)

// Result is what became of the change at the same index.
type Result struct {
	Status Status
	Key    Key     // with Conflict: whose key it was, the change's or a child's
	Stored *Record // with Conflict: what is stored there; nil if nothing is
}

// Report is what a Commit did.
type Report struct {
	Results []Result
	Swept   int   // records deleted by the sweep
	Floor   int64 // the floor now
}

// Token names a membership: a node and how many times it has joined.
type Token struct {
	Node        string
	Incarnation uint64
}

// Identity is what a node is given when it joins.
type Identity struct {
	Token  Token
	Store  string // public name of the store, renewed when it is restored from a copy; at least 4 URL-safe characters
	Secret []byte // 32 random bytes made with the store and never changed
	Floor  int64
}

// Cursor is a position in the order of Due. The zero Cursor is before everything.
type Cursor struct {
	Due int64
	Key Key
}

// Query selects records for people to look at. Zero fields select everything.
type Query struct {
	ID       string  // exactly this id, in whatever scope
	States   []State // any of these
	Function string
	After    Key // continue behind this key, in the order of (ID, Scope)
	Limit    int // Default: 100
}

// Store is a node's durable memory. See the package comment for what it promises.
type Store interface {
	// Join makes the caller the node, fencing whoever was it before. floor is used as the floor of a store that has none yet. A store that
	// is open for reading only changes nothing: it returns what it knows of the node, without a token, together with ErrReadOnly.
	Join(ctx context.Context, floor int64) (Identity, error)

	// Commit does b. It must not be abandoned half-way: a ctx that ends during the call has no influence on it.
	Commit(ctx context.Context, b *Batch) (*Report, error)

	// Read returns the record of key, or ErrNotFound.
	Read(ctx context.Context, key Key) (*Record, error)

	// Chunks returns the whole oplog of key in order, number 1 included if it is not empty. Of a missing record: none.
	Chunks(ctx context.Context, key Key) ([]Chunk, error)

	// Due returns the first limit records that are Running or Waiting behind the cursor, ordered by (Due, ID, Scope). Damaged ones do not
	// count: it goes on behind them, and returns what it found together with a *DamagedError.
	Due(ctx context.Context, after Cursor, limit int) ([]*Record, error)

	// List returns records for people, whole, ordered by (ID, Scope), and names damaged ones as Due does. Where q selects by what is damaged,
	// it may not find them.
	List(ctx context.Context, q Query) ([]*Record, error)

	// Facts returns all facts.
	Facts(ctx context.Context) ([]Fact, error)

	// Close frees what the store holds. Calls under way end first; later ones return ErrClosed.
	Close() error
}
