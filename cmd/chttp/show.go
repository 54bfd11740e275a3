package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

type showCommand struct {
	ID string `arg:"" help:"The id of a message, request or execution."`
	DB string `name:"db" default:"chttp.db" placeholder:"FILE" help:"The file of a node (${default}). It may be in use."`
}

// Help is what follows the summary of the command.
func (*showCommand) Help() string {
	return `Shows what it began with, each operation that it recorded, and what it ended with.

Examples:
  chttp show order-42
  chttp show --db bank.db order-42 --json`
}

// Run shows.
func (s *showCommand) Run(ctx context.Context, c *console) error {
	st, err := lookInto(s.DB)
	if err != nil {
		return err
	}
	defer st.Close()
	found := 0
	_, err = eachRecord(ctx, st, store.Query{ID: s.ID}, 0, func(r *store.Record) error {
		chunks, err := st.Chunks(ctx, r.Key)
		if err != nil {
			return err
		}
		found++
		d := describe(r, chunks)
		if c.json {
			return c.document(d)
		}
		if found > 1 {
			c.printf("\n")
		}
		d.print(c)
		return nil
	})
	if err == nil && found == 0 {
		err = advise(fmt.Errorf("nothing in %s has the id %q", s.DB, s.ID), "chttp ls --db "+s.DB)
	}
	return err
}

// content is bytes for people and machines: text where it is text.
type content struct {
	Bytes int             `json:"bytes"`
	JSON  json.RawMessage `json:"json,omitempty"`
	Text  string          `json:"text,omitempty"`
	Data  []byte          `json:"base64,omitempty"` // neither
}

func newContent(b []byte) *content {
	switch c := (&content{Bytes: len(b)}); {
	case len(b) == 0:
		return nil
	case utf8.Valid(b) && json.Valid(b):
		c.JSON = b
		return c
	case utf8.Valid(b):
		c.Text = string(b)
		return c
	default:
		c.Data = b
		return c
	}
}

func (c *content) bytes() []byte {
	switch {
	case c == nil:
		return nil
	case c.JSON != nil:
		return c.JSON
	case c.Data != nil:
		return c.Data
	}
	return []byte(c.Text)
}

// shortContent is how much of a content is shown, in characters.
const shortContent = 200

// short is the beginning of a content, in one line.
func (c *content) short(limit int) string {
	if c == nil {
		return ""
	}
	s := printable(c.bytes(), limit)
	if strings.HasSuffix(s, "…") {
		s += fmt.Sprintf(" (%s bytes)", count(c.Bytes))
	}
	return s
}

// request is a message as it was sent or received.
type request struct {
	Method      string      `json:"method"`
	URL         string      `json:"url"`
	Host        string      `json:"host,omitempty"`
	Header      http.Header `json:"header,omitempty"`
	Body        *content    `json:"body,omitempty"`
	Destination string      `json:"destination,omitempty"`
	Sent        *time.Time  `json:"sent,omitempty"`
	Until       *time.Time  `json:"until,omitempty"`
}

func newRequest(h *record.Head) *request {
	return &request{
		Method: h.Method, URL: h.URL, Host: h.Host, Header: h.Header, Body: newContent(h.Body), Destination: h.Destination,
		Sent: moment(h.Sent), Until: moment(h.Until),
	}
}

// answered is a response as it was recorded.
type answered struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   *content    `json:"body,omitempty"`
}

func newAnswered(r *record.Response) *answered {
	if r == nil {
		return nil
	}
	return &answered{r.Status, r.Header, newContent(r.Body)}
}

// entry is one entry of an oplog.
type entry struct {
	Scope    string    `json:"scope,omitempty"`
	Number   int       `json:"number"` // of the operation in its scope
	Phase    string    `json:"phase"`
	Kind     string    `json:"kind,omitempty"`
	Name     string    `json:"name,omitempty"`
	ID       string    `json:"id,omitempty"` // of its message
	Data     *content  `json:"data,omitempty"`
	Response *answered `json:"response,omitempty"`
	Error    string    `json:"error,omitempty"`
}

var phases = map[record.Phase]string{
	record.Begin: "begins", record.End: "ends", record.Whole: "whole", record.Crash: "crashed", record.Cancel: "canceled",
}

func newEntry(e *record.Entry) entry {
	out := entry{
		Scope: e.Scope, Number: e.Seq, Phase: phases[e.Phase], Name: e.Name, ID: e.ID, Data: newContent(e.Data), Response: newAnswered(e.Response),
	}
	if e.Kind != 0 {
		out.Kind = e.Kind.String()
	}
	if e.Err != nil {
		out.Error = e.Err.Text
	}
	return out
}

// named gives the entries that end an operation its kind and name, which only its beginning bears.
func named(oplog []entry) []entry {
	type place struct {
		scope  string
		number int
	}
	begun := map[place]entry{}
	all := slices.Clone(oplog)
	for i, e := range all {
		at := place{e.Scope, e.Number}
		if e.Kind != "" {
			begun[at] = e
		} else if e.Phase == phases[record.End] {
			all[i].Kind, all[i].Name = begun[at].Kind, begun[at].Name
		}
	}
	return all
}

// row is an entry as show prints it.
func (e *entry) row() []string {
	var result []string
	if e.Response != nil {
		result = append(result, fmt.Sprintf("%d %s", e.Response.Status, e.Response.Body.short(shortContent/2)))
	}
	if e.Data != nil {
		result = append(result, e.Data.short(shortContent/2))
	}
	if e.Error != "" {
		result = append(result, "error: "+printable([]byte(e.Error), shortContent/2))
	}
	if e.ID != "" {
		result = append(result, "message "+printable([]byte(e.ID), shortContent))
	}
	return []string{
		"  " + cmp.Or(printable([]byte(e.Scope), 40), "."), fmt.Sprint(e.Number), e.Kind, printable([]byte(e.Name), 50), e.Phase,
		strings.Join(result, "  "),
	}
}

// print prints all that is known.
func (d *description) print(c *console) {
	var head [][]string
	add := func(name, value string) {
		if value != "" {
			head = append(head, []string{name, printable([]byte(value), 10*shortContent)})
		}
	}
	add("id", d.ID)
	add("function", d.Function)
	add("state", d.State)
	add("why", d.Why)
	add("damaged", d.Damaged)
	add("principal", d.Principal)
	add("scope", d.Scope)
	for _, k := range sortedKeys(d.Labels) {
		add("label "+printable([]byte(k), shortContent), d.Labels[k])
	}
	add("created", d.clock(&d.Created))
	add("due", d.clock(d.Due))
	add("ended", d.clock(d.Ended))
	add("kept until", d.clock(d.Bound))
	add("input", d.Input.short(shortContent))
	table(c.out, head)
	if r := d.Request; r != nil {
		c.printf("\n%s\n", c.outTerm.paint(bold, "request"))
		c.printf("  %s\n", printable([]byte(r.Method+" "+r.URL), 10*shortContent))
		printMessage(c, r.Header, r.Body)
		if r.Sent != nil && r.Until != nil {
			c.printf("  sent first %s, for the last time before %s\n", d.clock(r.Sent), d.clock(r.Until))
		}
	}
	if len(d.Oplog) > 0 {
		rows := [][]string{{"  SCOPE", "NO", "KIND", "NAME", "PHASE", "RESULT"}}
		for _, e := range named(d.Oplog) {
			rows = append(rows, e.row())
		}
		c.printf("\n%s\n", c.outTerm.paint(bold, "oplog"))
		table(c.out, rows)
	}
	if d.Response != nil || d.Value != nil || d.Error != "" {
		c.printf("\n%s\n", c.outTerm.paint(bold, "outcome"))
	}
	if r := d.Response; r != nil {
		c.printf("  %d %s\n", r.Status, http.StatusText(r.Status))
		printMessage(c, r.Header, r.Body)
	}
	if d.Value != nil {
		c.printf("  value  %s\n", d.Value.short(shortContent))
	}
	if d.Error != "" {
		c.printf("  error  %s\n", printable([]byte(d.Error), shortContent))
	}
}

// clock writes a time and how long ago it is, or how far.
func (d *description) clock(t *time.Time) string {
	if t == nil {
		return ""
	}
	ago := time.Since(*t)
	if ago < 0 {
		return t.Format(time.DateTime) + " UTC, " + age(ago)
	}
	return t.Format(time.DateTime) + " UTC, " + age(ago) + " ago"
}

func printMessage(c *console, h http.Header, body *content) {
	for _, k := range sortedKeys(h) {
		for _, v := range h[k] {
			c.printf("  %s\n", printable([]byte(k+": "+v), shortContent))
		}
	}
	if body != nil {
		c.printf("  %s\n", c.outTerm.paint(faint, body.short(shortContent)))
	}
}
