package memstore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
	"github.com/certifiedhttp/chttp/storetest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) store.Store { return memstore.New() },
		func(t *testing.T, s store.Store) store.Store { return s.(*memstore.Store).Crash() })
}

func TestADamagedRecordIsNamed(t *testing.T) {
	storetest.RunDamaged(t,
		func(t *testing.T) store.Store { return memstore.New() },
		func(t *testing.T, s store.Store, key store.Key) store.Store {
			s.(*memstore.Store).Damage(key, true)
			return s
		})
}

func TestCrashEndsTheOldStoreAndKeepsTheRest(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	before, err := s.Join(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	survivor := s.Crash()
	if _, err := s.Commit(ctx, &store.Batch{Token: before.Token}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the old store answers %v, want %v", err, store.ErrClosed)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close of the old store: %v", err)
	}
	after, err := survivor.Join(ctx, 9)
	if err != nil {
		t.Fatal(err)
	}
	if after.Store != before.Store || string(after.Secret) != string(before.Secret) || after.Floor != 5 {
		t.Errorf("got %v, want what %v had", after, before)
	}
}

func TestCallsBlockNoBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		id, err := s.Join(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		done := make(chan error)
		go func() {
			time.Sleep(time.Hour)
			_, err := s.Commit(t.Context(), &store.Batch{Token: id.Token})
			done <- err
		}()
		if err := <-done; err != nil || time.Since(begin) != time.Hour {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}
