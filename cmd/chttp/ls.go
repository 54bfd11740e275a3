package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

type lsCommand struct {
	DB       string `name:"db" default:"chttp.db" placeholder:"FILE" help:"The file of a node (${default}). It may be in use."`
	State    string `placeholder:"STATE" help:"Only what is: running, waiting, parked, answered, rejected, undelivered, unknown, canceled, acknowledged."`
	Function string `placeholder:"NAME" help:"Only executions of this function, handler, or chttp.send."`
	Limit    int    `default:"50" help:"At most so many (${default}); 0 for all."`
}

// Help is what follows the summary of the command.
func (*lsCommand) Help() string {
	return `Everything is an execution: a message that was sent, a request that was received, a function that was started.

Examples:
  chttp ls                          what chttp send has sent
  chttp ls --db bank.db --state parked
  chttp ls --db bank.db --limit 0 --json | jq .state | sort | uniq -c`
}

// listPage is how many records are read at once.
const listPage = 200

// Run lists.
func (l *lsCommand) Run(ctx context.Context, c *console) error {
	q := store.Query{Function: l.Function}
	if l.State != "" {
		state, err := parseState(l.State)
		if err != nil {
			return usage(err, "chttp ls --help")
		}
		q.States = []store.State{state}
	}
	if l.Limit < 0 {
		return usage(fmt.Errorf("--limit is negative"), "chttp ls --help")
	}
	st, err := lookInto(l.DB)
	if err != nil {
		return err
	}
	defer st.Close()
	rows := [][]string{{"ID", "FUNCTION", "STATE", "AGE", "STATUS", "WHAT"}}
	more, err := eachRecord(ctx, st, q, l.Limit, func(r *store.Record) error {
		if c.json {
			return c.document(describe(r, nil))
		}
		rows = append(rows, row(r))
		return nil
	})
	switch {
	case err != nil || c.json:
		return err
	case len(rows) == 1:
		c.printf("Nothing in %s%s.\n", l.DB, l.filter())
		return nil
	}
	table(c.out, rows)
	if more {
		c.printf("… and more: --limit %d, or 0 for all\n", l.Limit*10)
	}
	return nil
}

func (l *lsCommand) filter() string {
	if l.State == "" && l.Function == "" {
		return ""
	}
	return " is like that"
}

func parseState(s string) (store.State, error) {
	for state := store.Running; state <= store.Acknowledged; state++ {
		if state.String() == s {
			return state, nil
		}
	}
	return 0, fmt.Errorf("there is no state %q", s)
}

// eachRecord calls f with the first limit records that q selects, all if it is 0, and tells whether there are more.
func eachRecord(ctx context.Context, st store.Store, q store.Query, limit int, f func(*store.Record) error) (more bool, err error) {
	q.Limit = listPage
	for n := 0; ; {
		page, err := st.List(ctx, q)
		if err != nil {
			return false, err
		}
		for _, r := range page {
			if n++; limit > 0 && n > limit {
				return true, nil
			}
			if err := f(r); err != nil {
				return false, err
			}
		}
		if len(page) < listPage {
			return false, nil
		}
		q.After = page[len(page)-1].Key
	}
}

// row is a record as ls prints it.
func row(r *store.Record) []string {
	d := describe(r, nil)
	status := ""
	if d.Response != nil {
		status = fmt.Sprint(d.Response.Status)
	}
	return []string{printable([]byte(r.ID), 60), printable([]byte(r.Function), 30), d.State, age(time.Since(d.Created)), status, d.what()}
}

// description is a record in words, for people and for machines.
type description struct {
	ID        string            `json:"id"`
	Scope     string            `json:"scope,omitempty"`
	Function  string            `json:"function"`
	State     string            `json:"state"`
	Created   time.Time         `json:"created"`
	Due       *time.Time        `json:"due,omitempty"`
	Bound     *time.Time        `json:"kept_until,omitempty"`
	Ended     *time.Time        `json:"ended,omitempty"`
	Version   int               `json:"version"`
	Certified bool              `json:"certified,omitempty"`
	Principal string            `json:"principal,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Input     *content          `json:"input,omitempty"`
	Request   *request          `json:"request,omitempty"`
	Oplog     []entry           `json:"oplog,omitempty"`
	Value     *content          `json:"value,omitempty"`
	Response  *answered         `json:"response,omitempty"`
	Error     string            `json:"error,omitempty"`
	Why       string            `json:"why,omitempty"`
	Damaged   string            `json:"damaged,omitempty"` // what of the record cannot be read
}

// describe describes a record and its oplog.
func describe(r *store.Record, chunks []store.Chunk) *description {
	d := &description{
		ID: r.ID, Scope: r.Scope, Function: r.Function, State: r.State.String(), Created: timeOf(r.Created),
		Version: r.Version, Certified: r.Certified,
	}
	if r.State.Finished() {
		d.Bound = moment(r.Bound)
	} else {
		d.Due = moment(r.Due)
	}
	head, err := record.ParseHead(r.Head)
	d.damage("head", err)
	if head != nil {
		d.Principal, d.Labels = head.Principal, head.Label
		d.Input = newContent(head.Input)
		if head.Method != "" {
			d.Request = newRequest(head)
		}
	}
	tail, err := record.ParseTail(r.Tail)
	d.damage("tail", err)
	if tail != nil {
		d.Ended, d.Why = moment(tail.Ended), tail.Why
		d.Value = newContent(tail.Value)
		d.Response = newAnswered(tail.Response)
		if tail.Err != nil {
			d.Error = tail.Err.Text
		}
	}
	for _, c := range chunks {
		entries, err := record.ParseEntries(c.Data)
		d.damage(fmt.Sprintf("oplog chunk %d", c.Number), err)
		for i := range entries {
			d.Oplog = append(d.Oplog, newEntry(&entries[i]))
		}
	}
	return d
}

func (d *description) damage(part string, err error) {
	if err != nil && d.Damaged == "" {
		d.Damaged = part + ": " + err.Error()
	}
}

// what is what it is about, in a few words.
func (d *description) what() string {
	switch {
	case d.Damaged != "":
		return "(damaged: " + printable([]byte(d.Damaged), shortContent) + ")"
	case d.Request != nil:
		return printable([]byte(d.Request.Method+" "+d.Request.URL), 70)
	case d.Input != nil:
		return strings.TrimSpace(d.Input.short(50))
	}
	return ""
}

func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := timeOf(ms)
	return &t
}

// lastMilli is the end of the year 9999: no later time is written in four digits, as JSON wants it.
const lastMilli = 253402300799999

// timeOf returns the time of Unix milliseconds, as near as it can be shown.
func timeOf(ms int64) time.Time { return time.UnixMilli(min(max(ms, 0), lastMilli)).UTC() }

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
