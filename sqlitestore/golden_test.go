package sqlitestore_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// update makes the golden file of the newest schema version where there is none. A file that is there is never made again.
var update = flag.Bool("update", false, "make the golden file of a new schema version")

// goldens are one file of each schema version, oldest first. The same changes made them all.
var goldens = []string{"testdata/v1.db.gz", "testdata/v2.db.gz"}

// goldenChanges are those changes.
var goldenChanges = []store.Change{
	{
		Key: store.Key{Scope: "scope", ID: "answered"}, Run: 1<<63 + 1, Version: 1, Function: "bank", Created: 1000, Certified: true,
		Print: []byte{0, 1}, Head: []byte("request"), State: store.Running, Due: 1001, Bound: 2000, Chunk: []byte("chunk 1"),
		Children: []store.Child{{
			Key: store.Key{ID: "child"}, Run: 7, Function: "send", State: store.Waiting, Created: 1002, Due: 1003,
			Bound: 1004, Print: []byte("print"), Head: []byte("message"),
		}},
	},
	{
		Key: store.Key{Scope: "scope", ID: "answered"}, Run: 1<<63 + 1, Version: 2, State: store.Answered, Due: 1005, Bound: 1 << 40,
		Tail: []byte("response"), Chunk: []byte("chunk 2"),
	},
	{
		Key: store.Key{ID: "acked\x00\xff"}, Run: 3, Version: 1, Function: "bank", Created: 1006, Certified: true, Print: []byte("p"),
		State: store.Canceled, Bound: 1007, Tail: []byte("t"),
	},
	{
		Key: store.Key{ID: "parked"}, Run: 4, Version: 1, Function: "buy", State: store.Parked, Head: bytes.Repeat([]byte("long"), 5000),
		Tail: []byte("why"),
	},
}

func TestAFileOfEverySchemaVersionStaysReadable(t *testing.T) {
	newest := goldens[len(goldens)-1]
	if _, err := os.Stat(newest); *update && errors.Is(err, fs.ErrNotExist) {
		makeGolden(t, newest)
	}
	for _, golden := range goldens {
		t.Run(golden, func(t *testing.T) { readGolden(t, golden) })
	}
}

func readGolden(t *testing.T, golden string) {
	f, err := os.Open(golden)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	path := newPath(t)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	check(t, s)
	id := join(t, s)
	if id.Floor != 77 || id.Token.Incarnation != 3 {
		t.Errorf("got %+v", id)
	}
	records, err := s.List(ctx, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*store.Record{
		{
			Key: store.Key{ID: "acked\x00\xff"}, Run: 3, Version: 1, Function: "bank", State: store.Acknowledged, Created: 1006,
			Bound: 1 << 41, Certified: true, Print: []byte("p"),
		},
		{
			Key: store.Key{Scope: "scope", ID: "answered"}, Run: 1<<63 + 1, Version: 2, Function: "bank", State: store.Answered,
			Created: 1000, Due: 1005, Bound: 1 << 40, Certified: true, Print: []byte{0, 1}, Head: []byte("request"),
			Oplog: []byte("chunk 1"), Tail: []byte("response"),
		},
		{
			Key: store.Key{ID: "child"}, Run: 7, Version: 1, Function: "send", State: store.Waiting, Created: 1002, Due: 1003, Bound: 1004,
			Print: []byte("print"), Head: []byte("message"),
		},
		{
			Key: store.Key{ID: "parked"}, Run: 4, Version: 1, Function: "buy", State: store.Parked, Head: goldenChanges[3].Head,
			Tail: []byte("why"),
		},
	}
	if !reflect.DeepEqual(records, want) {
		t.Errorf("got %+v, want %+v", records, want)
	}
	chunks, err := s.Chunks(ctx, store.Key{Scope: "scope", ID: "answered"})
	if want := []store.Chunk{{Number: 1, Data: []byte("chunk 1")}, {Number: 2, Data: []byte("chunk 2")}}; err != nil || !reflect.DeepEqual(chunks, want) {
		t.Errorf("chunks %v, %v", chunks, err)
	}
	due, err := s.Due(ctx, store.Cursor{}, 10)
	if err != nil || !reflect.DeepEqual(due, want[2:3]) {
		t.Errorf("due %+v, %v", due, err)
	}
	facts, err := s.Facts(ctx)
	if want := []store.Fact{{Name: "fact", Value: []byte("value")}}; err != nil || !reflect.DeepEqual(facts, want) {
		t.Errorf("facts %v, %v", facts, err)
	}
	commit(t, s, id.Token, goldenChanges[1], insert("new"))
}

func makeGolden(t *testing.T, golden string) {
	path := newPath(t)
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	join(t, s)
	token := join(t, s).Token
	for _, c := range goldenChanges {
		commit(t, s, token, c)
	}
	_, err = s.Commit(ctx, &store.Batch{
		Token: token, Floor: 77, Acks: []store.Ack{{Key: goldenChanges[2].Key, At: 1 << 41}},
		Facts: []store.Fact{{Name: "fact", Value: []byte("value")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, z.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
