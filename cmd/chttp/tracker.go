package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

const (
	// trackPage is how many records are read at once.
	trackPage = 500

	// trackOpen is how many unfinished messages are passed, to be looked at one by one from then on, before it waits for one of a page to
	// end before it passes that.
	trackOpen = 1000

	// trackFailed is how many messages that failed are told one by one.
	trackFailed = 20
)

// tracker knows what became of the messages of a batch. It learns it from the store, which alone is the truth, and reads each record a few
// times only: messages are mostly finished in the order in which they were stored, so it goes through them in that order, and
// looks again at those that it has passed unfinished.
type tracker struct {
	store  store.Store
	batch  *batch
	passed store.Key              // all records up to here were seen
	open   []chttp.ID             // of those, the unfinished
	ended  map[store.State]int    // how many ended how; Parked is an end here
	failed []lost                 // the first that ended badly
	status map[int]int            // HTTP statuses of the answered and rejected
	answer map[chttp.ID]*response // of a batch of one
}

// lost is a message that ended without a good answer.
type lost struct {
	ID     chttp.ID `json:"id"`
	Line   int      `json:"line,omitempty"`
	State  string   `json:"state"`
	Status int      `json:"status,omitempty"`
	Why    string   `json:"why,omitempty"`
}

// response is what a tail keeps of one.
type response = record.Response

func newTracker(st store.Store, b *batch) *tracker {
	return &tracker{
		store: st, batch: b, passed: store.Key{ID: b.prefix()},
		ended: map[store.State]int{}, status: map[int]int{}, answer: map[chttp.ID]*response{},
	}
}

// finished is how many messages have ended, one way or another.
func (t *tracker) finished() (n int) {
	for _, k := range t.ended {
		n += k
	}
	return n
}

// bad is how many ended without a good answer.
func (t *tracker) bad() int { return t.finished() - t.ended[store.Answered] }

// look brings the tracker up to date, as far as it can be had cheaply; called again and again it sees everything.
func (t *tracker) look(ctx context.Context) error {
	still := t.open[:0]
	for _, id := range t.open {
		r, err := t.store.Read(ctx, store.Key{ID: id})
		if errors.Is(err, store.ErrNotFound) { // retained for as long as an id is remembered, so only a failing clock gets here
			r, err = &store.Record{Key: store.Key{ID: id}, State: store.Acknowledged}, nil
		}
		if err != nil {
			return err
		}
		if !t.note(r) {
			still = append(still, id)
		}
	}
	t.open = still
	for {
		page, err := t.store.List(ctx, store.Query{After: t.passed, Limit: trackPage})
		if err != nil || !t.pass(page) {
			return err
		}
	}
}

// pass notes a page of records and tells whether it is worthwhile to read on.
func (t *tracker) pass(page []*store.Record) bool {
	passed, open := t.passed, t.open
	news := false
	for _, r := range page {
		if !strings.HasPrefix(r.ID, t.batch.prefix()) {
			return false
		}
		t.passed = r.Key
		switch {
		case r.Scope != "":
		case t.note(r):
			news = true
		default:
			t.open = append(t.open, r.ID)
		}
	}
	if !news && len(open) >= trackOpen {
		t.passed, t.open = passed, open // not now
	}
	return news && len(page) == trackPage
}

// note counts a record if it has ended.
func (t *tracker) note(r *store.Record) bool {
	state := r.State
	switch {
	case state == store.Acknowledged:
		state = store.Answered // and forgotten
	case !state.Finished() && state != store.Parked:
		return false
	}
	t.ended[state]++
	tail, err := record.ParseTail(r.Tail)
	if err != nil {
		tail = &record.Tail{Why: err.Error()}
	}
	if tail.Response != nil {
		t.status[tail.Response.Status]++
		if t.batch.count == 1 {
			t.answer[r.ID] = tail.Response
		}
	}
	if state != store.Answered && len(t.failed) < trackFailed {
		t.failed = append(t.failed, t.explain(r, tail))
	}
	return true
}

func (t *tracker) explain(r *store.Record, tail *record.Tail) lost {
	l := lost{ID: r.ID, Line: t.batch.line(r.ID), State: r.State.String(), Why: tail.Why}
	if tail.Err != nil {
		l.Why = tail.Err.Text
	}
	if tail.Response != nil {
		l.Status = tail.Response.Status
		if l.Why = printable(tail.Response.Body, 80); l.Why == "" {
			l.Why = http.StatusText(l.Status)
		}
	}
	return l
}

func (l lost) String() string {
	s := l.State
	if l.Status != 0 {
		s += fmt.Sprintf(" %d", l.Status)
	}
	if l.Why != "" {
		s += ": " + l.Why
	}
	return s
}
