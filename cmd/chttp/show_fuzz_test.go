package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// FuzzShow shows a record of any bytes to people and to machines: to people nothing but lines of text, whatever others have put into it, and
// to machines JSON.
func FuzzShow(f *testing.F) {
	const escape = "\x1b]0;owned\a\x9b31m\u009b\r\n\t\x7f"
	head := &record.Head{
		Input: []byte(escape), Label: map[string]string{"label" + escape: escape}, Method: "POST" + escape, URL: "/" + escape, Body: []byte(escape),
		Header: http.Header{"X-A" + escape: {escape}}, Sent: 1, Until: 1 << 62, Principal: "ann" + escape, Host: escape,
	}
	tail := &record.Tail{
		Value: []byte(`{"a":1}`), Err: &record.Error{Text: escape}, Why: escape, Ended: -1 << 62,
		Response: &record.Response{Status: 200, Header: http.Header{"X": {escape}}, Body: []byte("\xff")},
	}
	var chunk []byte
	for _, e := range []*record.Entry{
		{Phase: record.Whole, Kind: record.Persist, Scope: escape, Name: escape, Data: []byte(escape)},
		{Phase: record.Begin, Kind: 77, Seq: 1, ID: escape},
		{Phase: record.End, Seq: 1, Err: &record.Error{Text: escape}},
		{Phase: record.Crash, Data: []byte("\xff")},
	} {
		chunk = record.AppendEntry(chunk, e)
	}
	f.Add("order-42", "app/ann", "app", byte(store.Answered), int64(1), head.Append(nil), chunk, tail.Append(nil))
	f.Add(escape, escape, escape, byte(store.Parked), int64(1)<<62, []byte{9}, chunk[:len(chunk)-1], []byte{1, 3, 2})
	f.Add("", "", "chttp.send", byte(0), int64(0), []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, id, scope, function string, state byte, at int64, head, chunk, tail []byte) {
		r := &store.Record{
			Key: store.Key{Scope: scope, ID: id}, Function: function, State: store.State(state), Created: at, Due: at, Bound: at, Version: 1,
			Head: head, Oplog: chunk, Tail: tail,
		}
		d := describe(r, []store.Chunk{{Number: 1, Data: chunk}})
		var out bytes.Buffer
		c := &console{out: &out}
		d.print(c)
		table(c.out, [][]string{row(r)})
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSuffix(line, "\n"); !utf8.ValidString(line) || strings.ContainsFunc(line, steers) {
				t.Errorf("show steers the terminal: %q", line)
			}
		}
		out.Reset()
		if err := c.document(d); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(out.Bytes()) || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Errorf("--json shows %q", out.Bytes())
		}
	})
}
