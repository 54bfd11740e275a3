package export_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/internal/export"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

var update = flag.Bool("update", false, "write the golden file anew; only for a new Version")

const golden = "testdata/v1.ndjson"

// chunkOf returns the entries as one chunk.
func chunkOf(entries ...record.Entry) (b []byte) {
	for i := range entries {
		b = record.AppendEntry(b, &entries[i])
	}
	return b
}

// all are executions with something in every field, in the format of package record.
func all() []*export.Execution {
	failure := &record.Error{Text: `"no" <&>`, Is: []string{"EOF"}, Own: &record.Own{
		Op: "post", Name: "http://h/", ID: "m", Status: 500, Body: []byte("why"), Err: &record.Error{Text: "inner"},
	}}
	answer := &record.Response{Status: 201, Header: http.Header{"Content-Type": {"text/plain"}, "X-A": {"1", "2"}}, Body: []byte("plain\ntext")}
	one := chunkOf(
		record.Entry{Phase: record.Whole, Kind: record.Persist, Name: "nonce", Data: []byte(`{"n":12345678901234567890,"html":"<&>"}`)},
		record.Entry{Phase: record.Begin, Kind: record.Branch, Seq: 1, Name: "side", ID: "b"},
		record.Entry{
			Phase: record.Begin, Kind: record.Call, Scope: "/1:side", Name: "POST http://h/", Print: []byte{1, 0xab}, ID: "m",
			Sent: 1795348200123, Until: -5, Continues: true,
		},
	)
	five := chunkOf(
		record.Entry{Phase: record.End, Scope: "/1:side", Response: answer},
		record.Entry{Phase: record.Crash, Data: []byte("panic: oh")},
		record.Entry{Phase: record.Cancel, Data: []byte("null")},
		record.Entry{Phase: record.End, Seq: 1, Err: failure, Data: []byte("\x00\xff")},
		record.Entry{Phase: record.Whole, Kind: record.Send, Seq: 2, Name: "PUT http://h/", Data: []byte("\x01m")},
	)
	head := &record.Head{
		Input: []byte(`{"a":1}`), Label: map[string]string{"b": "2", "a": ""}, Method: "POST", URL: "http://h/p?q=1",
		Header: http.Header{"X-A": {"1", "2"}}, Body: []byte("{ \"not\": \"compact\" }"), Sent: 1795348200000, Until: 1795348300000, Destination: "d",
		Chosen: true, At: 1, Host: "h", Principal: "alice", PathValue: map[string]string{"id": "7"}, Minimal: true, Keyless: true,
	}
	tail := &record.Tail{Value: []byte("v"), Err: failure, Response: answer, Why: "why", Cause: "cause", Ended: 7}
	return []*export.Execution{
		{
			Record: store.Record{
				Key: store.Key{ID: "order-42", Scope: "bank/alice"}, Run: 1<<63 + 1, Version: 5, Function: "bank", State: store.Answered,
				Created: 1795348200000, Due: 1795348200001, Bound: 1795348200002, Certified: true, Print: []byte{0xde, 0xad}, Head: head.Append(nil), Oplog: one, Tail: tail.Append(nil),
			},
			Chunks: []store.Chunk{{Number: 1, Data: one}, {Number: 5, Data: five}},
		},
		{Record: store.Record{Key: store.Key{ID: "bare"}, Run: 1, Version: 1, Function: "f", State: store.Running}},
		{
			Record: store.Record{
				Key: store.Key{ID: "odd\xff", Scope: "\xff"}, Run: 2, Version: 9, Function: "f\xff", State: store.Parked, Created: 1 << 62,
				Head: []byte{1, 99, 1, 1}, Tail: []byte{77},
			},
			Chunks: []store.Chunk{
				{Number: 2, Data: []byte{9, 9, 9}},
				{Number: 3, Data: chunkOf(record.Entry{Phase: record.Whole, Kind: record.Persist, Name: "not text \xff", Data: []byte("1")})},
				{Number: 4, Data: chunkOf(record.Entry{Phase: record.Whole, Kind: 200, Name: "of a later version"})},
				{Number: 9, Data: []byte{1}},
			},
		},
	}
}

// write returns the file of the executions.
func write(t testing.TB, list ...*export.Execution) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := export.NewWriter(&b)
	for _, x := range list {
		if err == nil {
			err = w.Write(x)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns the executions of a file, and why there are no more.
func read(file []byte) (list []*export.Execution, err error) {
	r, err := export.NewReader(bytes.NewReader(file))
	for err == nil {
		var x *export.Execution
		if x, err = r.Next(); err == nil {
			list = append(list, x)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return list, err
}

func TestWhatIsWrittenIsReadBackEqual(t *testing.T) {
	got, err := read(write(t, all()...))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range all() {
		if i >= len(got) || !reflect.DeepEqual(got[i], want) {
			t.Errorf("execution %d: got %+v, want %+v", i, got, want)
		}
	}
	if got, err := read(write(t)); err != nil || len(got) != 0 {
		t.Errorf("an empty file: %v, %v", got, err)
	}
}

// TestGoldenFileOfVersion1IsRead keeps what lies in others' repositories readable.
func TestGoldenFileOfVersion1IsRead(t *testing.T) {
	file := write(t, all()...)
	if *update {
		if err := os.WriteFile(golden, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, file) {
		t.Errorf("version 1 is written otherwise than it was:\n got %s\nwant %s", file, kept)
	}
	if got, err := read(kept); err != nil || !reflect.DeepEqual(got, all()) {
		t.Errorf("got %+v, %v", got, err)
	}
	crlf := bytes.ReplaceAll(kept, []byte("\n"), []byte("\r\n")) // as git may check it out
	if got, err := read(crlf); err != nil || !reflect.DeepEqual(got, all()) {
		t.Errorf("with CRLF: got %+v, %v", got, err)
	}
}

func TestPeopleCanReadIt(t *testing.T) {
	for _, want := range []string{
		`{"format":"chttp-export","version":1}`,
		`{"execution":{"id":"order-42","scope":"bank/alice","function":"bank","state":"answered",`,
		`"created":"2026-11-22T11:50:00.000Z"`,
		`{"entry":{"chunk":1,"phase":"whole","operation":0,"kind":"persist","name":"nonce","data":{"json":{"n":12345678901234567890,"html":"<&>"}}}}`,
		`"body":{"text":"plain\ntext"}`, `"print":"01ab"`, `{"text":"\"no\" <&>"`, `{"end":{"executions":3}}`,
	} {
		if !bytes.Contains(write(t, all()...), []byte(want)) {
			t.Errorf("got no %s in\n%s", want, write(t, all()...))
		}
	}
}

func TestAFileThatWasCutShortIsKnownForOne(t *testing.T) {
	file := write(t, all()...)
	for n := range len(file) {
		got, err := read(file[:n])
		if err == nil {
			t.Fatalf("the first %d of %d bytes: got %d executions and no error", n, len(file), len(got))
		}
		if n > 40 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("the first %d bytes: got %v, want %v", n, err, io.ErrUnexpectedEOF)
		}
	}
	lines := bytes.SplitAfter(file, []byte("\n"))
	for i := range lines[:len(lines)-1] {
		if bytes.HasPrefix(lines[i], []byte(`{"execution"`)) || i == len(lines)-2 || i == 0 {
			if _, err := read(slices.Concat(slices.Concat(lines[:i]...), slices.Concat(lines[i+1:]...))); err == nil {
				t.Errorf("without line %d: no error", i+1)
			}
		}
	}
}

func TestSomethingElseIsRefusedWithItsLine(t *testing.T) {
	const first, run = `{"format":"chttp-export","version":1}` + "\n", `{"execution":{"id":"a","function":"f","state":"running","run":1,"version":3}}` + "\n"
	for file, want := range map[string]string{
		"":                      "its first line",
		"SQLite format 3\x00\n": "its first line",
		"{}\n":                  "its first line",
		`{"format":"chttp-export","version":2}` + "\n":             "version 2, and this program reads versions up to 1; use a newer one",
		`{"format":"chttp-export"}` + "\n":                         "version 0",
		first + "{\n":                                              "line 2",
		first + "{} {}\n":                                          "line 2",
		first + `{"surprise":1}` + "\n":                            `line 2: not an export that this version can read: json: unknown field "surprise"`,
		first + `{"entry":{"phase":"begin","operation":0}}` + "\n": "an execution is to begin here",
		first + `{"execution":{"id":"a","function":"f","state":"lost","run":1,"version":1}}` + "\n":                     `no state "lost"`,
		first + `{"execution":{"id":"","function":"f","state":"running","run":1,"version":1}}` + "\n":                   "no id",
		first + run + `{"entry":{"phase":"begin","operation":0}}` + "\n":                                                "line 3: not an export that this version can read: the first entry does not say",
		first + run + `{"entry":{"chunk":1,"phase":"start","operation":0}}` + "\n":                                      `no phase "start"`,
		first + run + `{"entry":{"chunk":1,"phase":"begin","operation":-1}}` + "\n":                                     "negative",
		first + run + `{"entry":{"chunk":1,"phase":"begin","operation":0,"kind":"magic"}}` + "\n":                       `no kind "magic"`,
		first + run + `{"chunk":{"number":4,"base64":"AQ=="}}` + "\n":                                                   "version 3 of the record",
		first + run + `{"chunk":{"number":2,"base64":""}}` + "\n":                                                       "empty",
		first + run + `{"chunk":{"number":2,"base64":"AQ=="}}` + "\n" + `{"chunk":{"number":2,"base64":"AQ=="}}` + "\n": "line 4",
		first + run + `{"tail":{"why":"x"}}` + "\n" + `{"tail":{"why":"x"}}` + "\n":                                     "behind the execution's tail",
		first + run + "{}\n":                       "no part of an execution",
		first + `{"end":{"executions":1}}` + "\n":  "there are 0 executions, and there were to be 1",
		first + `{"end":{"executions":0}}` + "\nx": "something follows",
		first + `{"execution":{"id":"a","function":"f","state":"running","run":1,"version":1,"created":"today"}}` + "\n": "a time is as in",
	} {
		_, err := read([]byte(file))
		if !errors.Is(err, export.ErrFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %q", file, err, want)
		}
	}
}

// takeFrom inserts changes and takes the execution of the record as it was after the first n of them.
func takeFrom(t *testing.T, n int, changes []store.Change, then func(st *memstore.Store, token store.Token)) *export.Execution {
	t.Helper()
	st := memstore.New()
	id, err := st.Join(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var r *store.Record
	for i, c := range changes {
		if i == n {
			if r, err = st.Read(t.Context(), c.Key); err != nil {
				t.Fatal(err)
			}
		}
		c.Key, c.Run, c.Version = store.Key{ID: "a"}, 1, i+1
		if report, err := st.Commit(t.Context(), &store.Batch{Token: id.Token, Changes: []store.Change{c}}); err != nil || report.Results[0].Status != store.Done {
			t.Fatal(report, err)
		}
	}
	if r == nil {
		if r, err = st.Read(t.Context(), store.Key{ID: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if then != nil {
		then(st, id.Token)
	}
	x, err := export.Take(t.Context(), st, r)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestAnExecutionIsTakenAsItWasThoughItGoesOn(t *testing.T) {
	key := store.Key{ID: "a"}
	changes := []store.Change{
		{Key: key, State: store.Running, Chunk: []byte("1"), Head: []byte("head")},
		{Key: key, State: store.Waiting, Chunk: []byte("2")},
		{Key: key, State: store.Answered, Chunk: []byte("3"), Tail: []byte("tail"), Bound: 5},
	}
	x := takeFrom(t, 2, changes, nil)
	if want := []store.Chunk{{Number: 1, Data: []byte("1")}, {Number: 2, Data: []byte("2")}}; !reflect.DeepEqual(x.Chunks, want) || x.Version != 2 || x.State != store.Waiting {
		t.Errorf("got %+v, want it as it was at version 2", x)
	}
	x = takeFrom(t, 3, changes, nil)
	if len(x.Chunks) != 3 || string(x.Tail) != "tail" || string(x.Head) != "head" {
		t.Errorf("got %+v, want it whole", x)
	}
	commit := func(b store.Batch) func(*memstore.Store, store.Token) {
		return func(st *memstore.Store, token store.Token) {
			b.Token = token
			if _, err := st.Commit(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, b := range map[string]store.Batch{
		"acknowledged": {Acks: []store.Ack{{Key: key}}},
		"swept":        {Sweep: 9, Now: 9},
	} {
		if x := takeFrom(t, 3, changes, commit(b)); x != nil {
			t.Errorf("%s: got %+v, want nothing: its oplog is gone", name, x)
		}
	}
	again := store.Batch{Sweep: 9, Now: 9}
	if x := takeFrom(t, 3, changes, func(st *memstore.Store, token store.Token) {
		commit(again)(st, token)
		commit(store.Batch{Changes: []store.Change{{Key: key, Run: 2, Version: 1, State: store.Running, Chunk: []byte("other")}}})(st, token)
	}); x != nil {
		t.Errorf("got %+v, want nothing: the id is another execution's", x)
	}
}

// FuzzReader reads what is given, and lines of it as those of one execution in a file that is whole otherwise.
func FuzzReader(f *testing.F) {
	const first = `{"format":"chttp-export","version":1}` + "\n"
	const one = `{"execution":{"id":"a","function":"f","state":"running","run":1,"version":9}}` + "\n"
	for line := range bytes.Lines(write(f, all()...)) {
		f.Add(bytes.TrimSuffix(line, []byte("\n")))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		for _, file := range []string{string(lines), first + one + string(lines) + "\n" + `{"end":{"executions":1}}` + "\n"} {
			list, err := read([]byte(file))
			if err != nil {
				continue
			}
			again, err := read(write(t, list...))
			if err != nil || !reflect.DeepEqual(again, list) {
				t.Errorf("%s\ngot %+v, %v, want %+v", file, again, err, list)
			}
		}
	})
}

func FuzzWriter(f *testing.F) {
	for _, x := range all() {
		for _, c := range append(x.Chunks, store.Chunk{}) {
			f.Add(x.ID, x.Head, x.Tail, c.Data, x.Created)
		}
	}
	f.Fuzz(func(t *testing.T, id string, head, tail, chunk []byte, ms int64) {
		x := &export.Execution{Record: store.Record{
			Key: store.Key{ID: "a" + id, Scope: id}, Run: 1, Version: 2, Function: id, State: store.Running, Created: ms, Print: head, Head: head, Tail: tail,
		}}
		for _, b := range []*[]byte{&x.Print, &x.Head, &x.Tail} {
			if len(*b) == 0 {
				*b = nil
			}
		}
		if len(chunk) > 0 {
			x.Chunks, x.Oplog = []store.Chunk{{Number: 1, Data: chunk}, {Number: 2, Data: chunk}}, chunk
		}
		got, err := read(write(t, x))
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], x) {
			t.Errorf("got %+v, %v, want %+v", got, err, x)
		}
	})
}

func TestTheCorpusIsThere(t *testing.T) {
	for _, target := range []string{"FuzzReader", "FuzzWriter"} {
		if all, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*")); err != nil || len(all) < 3 {
			t.Errorf("%s has %d files: %v", target, len(all), err)
		}
	}
}
