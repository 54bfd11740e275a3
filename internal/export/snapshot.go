package export

import (
	"context"
	"errors"

	"github.com/certifiedhttp/chttp/store"
)

// Take returns the execution of r as it was when r was read, although its process goes on; nil when its outcome has been acknowledged
// meanwhile, or it is no more: then its oplog is gone.
func Take(ctx context.Context, s store.Store, r *store.Record) (*Execution, error) {
	chunks, err := s.Chunks(ctx, r.Key)
	if err != nil {
		return nil, err
	}
	now, err := s.Read(ctx, r.Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case now.Run != r.Run || now.State == store.Acknowledged:
		return nil, nil
	}
	x := &Execution{Record: *r}
	for _, c := range chunks {
		if c.Number <= r.Version { // What came later is not r's.
			x.Chunks = append(x.Chunks, c)
		}
	}
	return x, nil
}
