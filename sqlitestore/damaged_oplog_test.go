package sqlitestore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/certifiedhttp/chttp/store"
)

// TestADamagedOplogIsNotRead flips a bit in a chunk, be it kept in its record or in a row of its own.
func TestADamagedOplogIsNotRead(t *testing.T) {
	for number := 1; number <= 2; number++ {
		t.Run(fmt.Sprint("chunk ", number), func(t *testing.T) {
			path := newPath(t)
			s := open(t, path)
			token := join(t, s).Token
			first := insert("a")
			first.Chunk = []byte("this is chunk 1")
			commit(t, s, token, first)
			commit(t, s, token, store.Change{Key: first.Key, Run: first.Run, Version: 2, State: store.Running, Chunk: []byte("this is chunk 2")})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			change(t, path, func(file []byte) {
				if n := flipAll(file, fmt.Appendf(nil, "this is chunk %d", number)); n == 0 {
					t.Fatal("no such chunk in the file")
				}
			})
			s = open(t, path)
			defer s.Close()
			if chunks, err := s.Chunks(ctx, first.Key); !errors.As(err, new(*store.DamagedError)) {
				t.Errorf("got %d chunks, %v, want the damage named", len(chunks), err)
			}
		})
	}
}
