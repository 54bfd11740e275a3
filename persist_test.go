package chttp_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/certifiedhttp/chttp"
)

// half loses a part of itself on its way through JSON.
type half struct {
	Kept map[string]int
	lost int
}

// I7: what a run is given must not depend on whether it drew the value or a run before it did.
func TestPersistGivesTheFirstRunWhatAReplayIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, nil, func(ctx context.Context, _ string) (string, error) {
			v := chttp.Persist(ctx, "half", func() half { return half{Kept: map[string]int{"a": 1}, lost: 2} })
			if v.lost != 0 {
				t.Errorf("the first run is given %+v, with a field that no replay will have", v)
			}
			return "", nil
		})
		h.start("one")
		if _, err := h.outcome("one"); err != nil {
			t.Fatal(err)
		}
	})
}
