package chttp

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/certifiedhttp/chttp/internal/record"
)

// Sentinels. errors.Is finds them in the errors of this package, as errors.As finds *Error, also after a replay.
var (
	ErrUnknownOutcome = errors.New("unknown outcome")         // it may have happened
	ErrNotDone        = errors.New("nothing was done")        // it certainly did not happen
	ErrNoExecution    = errors.New("not inside an execution") // the context belongs to none
	ErrNotRegistered  = errors.New("function not registered") // nobody can run it
	ErrReused         = errors.New("id used with another request or input")
	ErrCanceled       = errors.New("canceled")
	ErrParked         = errors.New("parked") // stopped for an operator; nothing is lost
	ErrNotFound       = errors.New("not found")
)

// Error is every error of ours about an operation. MayHaveHappened answers the question that a caller always has.
type Error struct {
	Op     string // what was being done: put, post, do, start, wait …
	Name   string // of the step, the function, or method and URL
	ID     ID     // of the message or execution, where there is one
	Status int    // of a response that is not 2xx (PostJSON only)
	Body   []byte // its first 4 KiB
	Err    error
}

// Error says what was being done, to what, and what went wrong.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("chttp: ")
	b.WriteString(e.Op)
	if e.Name != "" {
		fmt.Fprintf(&b, " %q", e.Name)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.ID != "" {
		fmt.Fprintf(&b, " (id %s)", e.ID)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// MayHaveHappened is false only where it is certain that there was no effect.
func (e *Error) MayHaveHappened() bool { return !errors.Is(e.Err, ErrNotDone) }

// notDone marks err as one before which nothing was done.
func notDone(err error) error {
	if errors.Is(err, ErrNotDone) {
		return err
	}
	return &marked{err, ErrNotDone}
}

// unknownOutcome marks err as one after which it is unknown what was done.
func unknownOutcome(err error) error { return &marked{err, ErrUnknownOutcome} }

// marked is an error that is also a sentinel.
type marked struct {
	err      error
	sentinel error
}

func (e *marked) Error() string   { return e.sentinel.Error() + ": " + e.err.Error() }
func (e *marked) Unwrap() []error { return []error{e.sentinel, e.err} }

// replayed is an error as the oplog brings it back: its text, and the sentinels that errors.Is finds in it.
type replayed struct {
	text string
	is   []error
}

func (e *replayed) Error() string   { return e.text }
func (e *replayed) Unwrap() []error { return e.is }

// ownSentinels are found after a replay whatever Options.Errors says.
var ownSentinels = []error{
	ErrUnknownOutcome, ErrNotDone, ErrNoExecution, ErrNotRegistered, ErrReused, ErrCanceled, ErrParked, ErrNotFound,
}

// defaultErrors are the sentinels of Options.Errors where it is nil.
var defaultErrors = []error{
	context.Canceled, context.DeadlineExceeded,
	io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, io.ErrNoProgress, io.ErrShortBuffer, io.ErrShortWrite,
	fs.ErrInvalid, fs.ErrPermission, fs.ErrExist, fs.ErrNotExist, fs.ErrClosed,
	sql.ErrNoRows, sql.ErrConnDone, sql.ErrTxDone,
}

// flatten writes err as the oplog keeps it.
func (n *Node) flatten(err error) *record.Error {
	if err == nil {
		return nil
	}
	e := &record.Error{Text: err.Error()}
	for _, list := range [][]error{ownSentinels, n.opt.Errors} {
		for _, s := range list {
			if errors.Is(err, s) {
				e.Is = append(e.Is, s.Error())
			}
		}
	}
	if own := (*Error)(nil); errors.As(err, &own) {
		e.Own = &record.Own{Op: own.Op, Name: own.Name, ID: own.ID, Status: own.Status, Body: own.Body, Err: n.flatten(own.Err)}
	}
	return e
}

// unflatten makes of e the error that every run sees.
func (n *Node) unflatten(e *record.Error) error {
	if e == nil {
		return nil
	}
	r := &replayed{text: e.Text}
	for _, text := range e.Is {
		for _, list := range [][]error{ownSentinels, n.opt.Errors} {
			for _, s := range list {
				if s.Error() == text {
					r.is = append(r.is, s)
				}
			}
		}
	}
	if o := e.Own; o != nil {
		own := &Error{Op: o.Op, Name: o.Name, ID: o.ID, Status: o.Status, Body: o.Body, Err: n.unflatten(o.Err)}
		if own.Error() == e.Text {
			return own
		}
		r.is = append(r.is, own)
	}
	return r
}
