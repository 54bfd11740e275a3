package export

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// entry is record.Entry.
type entry struct {
	Chunk     int       `json:"chunk,omitempty"` // the number of the chunk that begins with it
	Phase     string    `json:"phase"`
	Scope     string    `json:"scope,omitempty"`
	Operation int       `json:"operation"` // its number in the scope
	Kind      string    `json:"kind,omitempty"`
	Name      string    `json:"name,omitempty"`
	Print     hexed     `json:"print,omitempty"`
	ID        string    `json:"id,omitempty"`
	Sent      moment    `json:"sent,omitempty"`
	Until     moment    `json:"until,omitempty"`
	Continues bool      `json:"continues,omitempty"`
	Data      *content  `json:"data,omitempty"`
	Error     *failure  `json:"error,omitempty"`
	Response  *response `json:"response,omitempty"`
}

// phases are the names of the phases.
var phases = []string{
	record.Begin: "begin", record.End: "end", record.Whole: "whole", record.Crash: "crash", record.Cancel: "cancel",
}

func newEntry(e *record.Entry) *entry {
	out := &entry{
		Phase: phases[e.Phase], Scope: e.Scope, Operation: e.Seq, Name: e.Name, Print: e.Print, ID: e.ID, Sent: moment(e.Sent), Until: moment(e.Until),
		Continues: e.Continues, Data: newContent(e.Data), Error: newFailure(e.Err), Response: newResponse(e.Response),
	}
	if e.Kind != 0 {
		out.Kind = e.Kind.String()
	}
	return out
}

func (e *entry) entry() (*record.Entry, error) {
	out := &record.Entry{
		Scope: e.Scope, Seq: e.Operation, Name: e.Name, Print: e.Print, ID: e.ID, Sent: int64(e.Sent), Until: int64(e.Until),
		Continues: e.Continues, Data: e.Data.bytes(), Err: e.Error.error(), Response: e.Response.response(),
	}
	out.Phase = record.Phase(max(0, slices.Index(phases, e.Phase)))
	for k := record.Persist; k <= record.Wait; k++ {
		if k.String() == e.Kind {
			out.Kind = k
		}
	}
	switch {
	case out.Phase == 0:
		return nil, fmt.Errorf("there is no phase %q", e.Phase)
	case out.Kind == 0 && e.Kind != "":
		return nil, fmt.Errorf("there is no kind %q", e.Kind)
	case out.Seq < 0:
		return nil, errors.New("the operation's number is negative")
	}
	return out, nil
}

// chunk is a piece of an oplog that its entries do not give back exactly.
type chunk struct {
	Number int    `json:"number"`
	Base64 []byte `json:"base64"`
}

// chunkLines returns the lines of a chunk: one for each entry, or one for all.
func chunkLines(c store.Chunk) []*line {
	entries, err := record.ParseEntries(c.Data)
	if err != nil || len(entries) == 0 {
		return []*line{{Chunk: &chunk{c.Number, c.Data}}}
	}
	lines := make([]*line, len(entries))
	again := &Execution{Record: store.Record{Version: c.Number}}
	for i := range entries {
		e := newEntry(&entries[i])
		if i == 0 {
			e.Chunk = c.Number
		}
		lines[i] = &line{Entry: e}
		written, err := lines[i].encode()
		read := new(line)
		if err != nil || decode(written, read) != nil || again.addEntry(read.Entry) != nil {
			return []*line{{Chunk: &chunk{c.Number, c.Data}}}
		}
	}
	if len(again.Chunks) != 1 || !bytes.Equal(again.Chunks[0].Data, c.Data) {
		return []*line{{Chunk: &chunk{c.Number, c.Data}}}
	}
	return lines
}

// addEntry takes an entry, into the chunk that it begins or the one before it.
func (x *Execution) addEntry(e *entry) error {
	r, err := e.entry()
	if err != nil {
		return err
	}
	if e.Chunk != 0 {
		return x.append(e.Chunk, record.AppendEntry(nil, r))
	}
	if len(x.Chunks) == 0 {
		return errors.New("the first entry does not say which chunk it begins")
	}
	last := &x.Chunks[len(x.Chunks)-1]
	last.Data = record.AppendEntry(last.Data, r)
	return nil
}
