package record_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/internal/record"
)

var update = flag.Bool("update", false, "write the golden copies anew; only for a new Version")

func fullHead() *record.Head {
	return &record.Head{
		Input: []byte(`{"a":1}`), Label: map[string]string{"b": "2", "a": ""}, Method: "POST", URL: "http://h/p?q=1",
		Header: http.Header{"X-A": {"1", "2"}, "Content-Type": {"text/plain"}}, Body: []byte("body\x00\xff"),
		Sent: 1795348200000, Until: -5, Destination: "d", Chosen: true, At: 1, Host: "h", Principal: "alice",
		PathValue: map[string]string{"id": "7"}, Minimal: true, Keyless: true,
	}
}

func fullTail() *record.Tail {
	return &record.Tail{
		Value: []byte("v"), Err: &record.Error{Text: "t", Is: []string{"EOF", ""}}, Why: "why", Cause: "cause", Ended: 7,
		Response: &record.Response{Status: 201, Header: http.Header{"Location": {"/x"}}, Body: []byte("b")},
	}
}

func fullEntries() []record.Entry {
	return []record.Entry{
		{Phase: record.Whole, Kind: record.Persist, Name: "nonce", Data: []byte("7")},
		{Phase: record.Begin, Kind: record.Call, Scope: "/0:b", Seq: 3, Name: "POST http://h/", Print: []byte{1, 2}, ID: "i", Sent: 1, Until: 2, Continues: true},
		{Phase: record.End, Scope: "/0:b", Seq: 3, Response: &record.Response{Status: 200, Header: http.Header{}}, Err: &record.Error{Text: "e"}},
		{Phase: record.Crash, Data: []byte("panic")},
		{Phase: record.Cancel},
	}
}

func chunkOf(entries []record.Entry) (b []byte) {
	for i := range entries {
		b = record.AppendEntry(b, &entries[i])
	}
	return b
}

func TestWhatIsWrittenIsReadBackEqual(t *testing.T) {
	for _, want := range []*record.Head{fullHead(), {}} {
		got, err := record.ParseHead(want.Append(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("head: got %+v, %v, want %+v", got, err, want)
		}
	}
	wantTail := fullTail()
	wantTail.Err.Is = wantTail.Err.Is[:1] // An empty text names no sentinel.
	for _, want := range []*record.Tail{wantTail, {}} {
		got, err := record.ParseTail(want.Append(nil))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("tail: got %+v, %v, want %+v", got, err, want)
		}
	}
	want := fullEntries()
	got, err := record.ParseEntries(chunkOf(want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("entries: got %+v, %v, want %+v", got, err, want)
	}
}

func TestTheSameHeadIsWrittenTheSameWay(t *testing.T) {
	want := fullHead().Append(nil)
	for range 50 {
		if got := fullHead().Append(nil); !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	}
}

func TestChunksJoinToOneThatHoldsTheEntriesOfBoth(t *testing.T) {
	all := fullEntries()
	a, b := chunkOf(all[:2]), chunkOf(all[2:])
	keep := bytes.Clone(a)
	got, err := record.ParseEntries(record.Join(a, b))
	if err != nil || !reflect.DeepEqual(got, all) {
		t.Errorf("got %+v, %v, want %+v", got, err, all)
	}
	if !bytes.Equal(a, keep) {
		t.Error("joining changed a chunk that may be on its way to the store")
	}
	if got := record.Join(nil, b); !bytes.Equal(got, b) {
		t.Errorf("got %x, want %x", got, b)
	}
}

func TestAnEntryCutShortIsAnErrorAndWhatIsBeforeItIsRead(t *testing.T) {
	b := chunkOf(fullEntries())
	for n := 1; n < len(b); n++ {
		got, err := record.ParseEntries(b[:n])
		if err == nil && len(chunkOf(got)) != n && n > 1 {
			t.Fatalf("%d of %d bytes: read %d entries without an error", n, len(b), len(got))
		}
		if err != nil && !errors.Is(err, record.ErrFormat) {
			t.Fatalf("%d bytes: %v is not ErrFormat", n, err)
		}
	}
}

func TestALaterVersionIsRefused(t *testing.T) {
	later := []byte{record.Version + 1, 1, 1, 'x'}
	_, head := record.ParseHead(later)
	_, tail := record.ParseTail(later)
	_, entries := record.ParseEntries(later)
	for _, err := range []error{head, tail, entries} {
		if !errors.Is(err, record.ErrFormat) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("got %v, want ErrFormat that names the version", err)
		}
	}
}

// TestGoldenCopiesOfVersion1AreRead keeps what is on disks readable.
func TestGoldenCopiesOfVersion1AreRead(t *testing.T) {
	for name, b := range map[string][]byte{"head": fullHead().Append(nil), "tail": fullTail().Append(nil), "chunk": chunkOf(fullEntries())} {
		path := filepath.Join("testdata", "v1", name+".hex")
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, b) {
			t.Errorf("%s is written otherwise than version 1 was:\n got %x\nwant %x", name, b, golden)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fullHead().Append(nil))
	f.Add(fullTail().Append(nil))
	f.Add(chunkOf(fullEntries()))
	f.Add([]byte{1, 13, 2, 1, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := record.ParseHead(b); err == nil {
			again, err := record.ParseHead(h.Append(nil))
			if err != nil || !bytes.Equal(again.Append(nil), h.Append(nil)) {
				t.Errorf("head %+v comes back as %+v, %v", h, again, err)
			}
		}
		if tail, err := record.ParseTail(b); err == nil {
			if _, err := record.ParseTail(tail.Append(nil)); err != nil {
				t.Error(err)
			}
		}
		if entries, err := record.ParseEntries(b); err == nil && len(entries) > 0 {
			if _, err := record.ParseEntries(chunkOf(entries)); err != nil {
				t.Error(err)
			}
		}
	})
}
