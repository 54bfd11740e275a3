package sqlitestore

import (
	"context"
	"errors"
	"sync"

	"github.com/certifiedhttp/chttp/store"
)

// reader is one connection that reads. In WAL mode it sees the last commit before each of its statements and waits for nobody.
type reader struct {
	*conn
	read, chunks, due, facts, node *stmt
}

func newReader(path, mode string) (*reader, error) {
	c, err := connect(path, mode, "query_only = ON", "temp_store = MEMORY")
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	for _, p := range []struct {
		st  **stmt
		sql string
	}{
		{&r.read, "SELECT " + columns + " FROM chttp_record WHERE id = ? AND scope = ?"},
		{&r.chunks, `SELECT 1, blobs & 0xffffffff, oplog FROM chttp_record WHERE id = ?1 AND scope = ?2 AND oplog IS NOT NULL
			UNION ALL SELECT n, sum, data FROM chttp_chunk WHERE id = ?1 AND scope = ?2 ORDER BY 1`},
		{&r.due, `SELECT due, id, scope FROM chttp_record INDEXED BY chttp_due WHERE state <= 2 AND (due, id, scope) > (?, ?, ?)
			ORDER BY due, id, scope`},
		{&r.facts, "SELECT name, sum, value FROM chttp_fact"},
		{&r.node, nodeSQL},
	} {
		if *p.st, err = c.keep(p.sql); err != nil {
			c.Close()
			return nil, err
		}
	}
	return r, nil
}

// readers is a pool of read connections. They are opened when there is no idle one, and the one used last is used next: it has
// pages in its cache.
type readers struct {
	slots chan struct{} // one for each in use

	mu   sync.Mutex // guards idle
	idle []*reader
}

func (p *readers) take() *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	r := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return r
}

func (p *readers) put(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, r)
}

// close waits for the readers in use and closes all. Nobody may take one any more.
func (p *readers) close() error {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	var errs []error
	for _, r := range p.idle {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// withReader lends do an idle read connection.
func (s *Store) withReader(ctx context.Context, do func(r *reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closed:
		return store.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case s.readers.slots <- struct{}{}:
	}
	defer func() { <-s.readers.slots }()
	select {
	case <-s.closed: // select chooses at random when Close has begun
		return store.ErrClosed
	default:
	}
	r := s.readers.take()
	if r == nil {
		var err error
		if r, err = newReader(s.path, s.mode); err != nil {
			return err
		}
	}
	defer s.readers.put(r)
	return do(r)
}
