package sqlitestore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// BenchmarkCommit commits batches of messages as a node does and reports rows a second, a row being a record's whole story: its
// insert; its insert and update; its insert with the outcome, acknowledgement and deletion.
func BenchmarkCommit(b *testing.B) {
	for _, story := range []string{"insert", "insert+update", "insert+ack+sweep"} {
		for _, size := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/%d", story, size), func(b *testing.B) { benchmarkCommit(b, story, size) })
		}
	}
}

func benchmarkCommit(b *testing.B, story string, size int) {
	ctx := context.Background()
	s, err := sqlitestore.Open(filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	id, err := s.Join(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	head, print := make([]byte, 300), make([]byte, 32)
	n := 0
	next := func() []store.Change {
		changes := make([]store.Change, size)
		for i := range changes {
			n++
			changes[i] = store.Change{
				Key: store.Key{ID: fmt.Sprintf("01981a3e-%04x-7%03x-8000-%012x", n/30, rand.IntN(4096), n)}, Run: uint64(n), Version: 1, Function: "send",
				State: store.Running, Created: int64(n), Due: int64(n), Print: print, Head: head, Chunk: head[:40],
			}
			if story == "insert+ack+sweep" {
				changes[i].State, changes[i].Tail, changes[i].Certified = store.Answered, head[:200], true
			}
		}
		return changes
	}
	commit := func(batch store.Batch) {
		batch.Token = id.Token
		report, err := s.Commit(ctx, &batch)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range report.Results {
			if r.Status != store.Done {
				b.Fatal(r)
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var before []store.Change
	for range b.N {
		changes := next()
		batch := store.Batch{Changes: changes, Floor: int64(n - 4*size), Sweep: 2 * size}
		switch story {
		case "insert+update":
			for _, c := range before {
				batch.Changes = append(batch.Changes, store.Change{
					Key: c.Key, Run: c.Run, Version: 2, State: store.Answered, Bound: 1 << 50, DropHead: true, Tail: head[:200],
				})
			}
		case "insert+ack+sweep":
			for _, c := range before {
				batch.Acks = append(batch.Acks, store.Ack{Key: c.Key, At: c.Created})
			}
		default:
			batch.Floor, batch.Sweep = 0, 0
		}
		commit(batch)
		before = changes
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
}
