package sqlitestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

func TestAFullDiskRefusesTheBatchWholeAndLaterOnesGoOn(t *testing.T) {
	s := open(t, newPath(t))
	token := join(t, s).Token
	commit(t, s, token, insert("before"))
	sqlitestore.LimitPages(t, s, 3)
	big := &store.Batch{Token: token, Floor: 9, Facts: []store.Fact{{Name: "f", Value: []byte("v")}}}
	for i := range 20 {
		c := insert(fmt.Sprint(i))
		c.Head = bytes.Repeat([]byte("x"), 10_000)
		big.Changes = append(big.Changes, c)
	}
	for range 3 {
		if _, err := s.Commit(ctx, big); !errors.Is(err, store.ErrFull) {
			t.Fatalf("got %v, want %v", err, store.ErrFull)
		}
	}
	records, err := s.List(ctx, store.Query{})
	if err != nil || len(records) != 1 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if facts, err := s.Facts(ctx); err != nil || len(facts) != 0 {
		t.Errorf("facts %v, %v", facts, err)
	}
	check(t, s)
	report, err := s.Commit(ctx, &store.Batch{Token: token})
	if err != nil || report.Floor != 0 {
		t.Errorf("an empty batch: %+v, %v", report, err)
	}
	sqlitestore.LimitPages(t, s, 1000)
	commit(t, s, token, big.Changes...)
	check(t, s)
}

func TestACommitWhoseAnswerIsLostIsUnknownAndCanBeCommittedAgain(t *testing.T) {
	for _, after := range []bool{false, true} {
		path := newPath(t)
		s := open(t, path)
		token := join(t, s).Token
		a := insert("a")
		a.Children = []store.Child{{Key: store.Key{ID: "child"}, Run: 2, State: store.Waiting}}
		b := store.Change{Key: a.Key, Run: 1, Version: 2, State: store.Answered, Chunk: []byte("chunk 2")}
		for _, c := range []store.Change{a, b} {
			sqlitestore.LoseAnswer(s, after)
			if _, err := s.Commit(ctx, &store.Batch{Token: token, Changes: []store.Change{c}}); !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("got %v, want %v", err, store.ErrUnknown)
			}
			commit(t, s, token, c)
		}
		chunks, err := s.Chunks(ctx, a.Key)
		if err != nil || len(chunks) != 2 {
			t.Errorf("chunks %v, %v", chunks, err)
		}
		check(t, s)
		sqlitestore.LoseAnswer(s, after)
		if _, err := s.Join(ctx, 0); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("join: got %v, want %v", err, store.ErrUnknown)
		}
		join(t, s)
	}
}
