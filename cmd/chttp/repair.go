package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// retryCommand lets what is parked, or what ended without success, be tried once more.
type retryCommand struct {
	ID        string `arg:"" help:"The id of what is parked, or of a message that ended rejected, undelivered or unknown."`
	DB        string `name:"db" default:"chttp.db" placeholder:"FILE" help:"The file of a node (${default}). Nothing else may use it."`
	MayDouble bool   `help:"Send a message again although it is unknown whether it had its effect."`
}

// Help is what follows the summary of the command.
func (*retryCommand) Help() string {
	return `What is parked goes on from where it stopped, when its process runs again. Mend what parked it first: chttp show ID says what.
A message that ended without success is stored once more, as a new message with a new id; its process delivers it when it runs again.

Examples:
  chttp retry order-42 --db bank.db
  chttp retry 01989e4b-… --may-double`
}

// Run retries.
func (r *retryCommand) Run(ctx context.Context, c *console) error {
	st, err := open(r.DB)
	if err != nil {
		return err
	}
	defer st.Close()
	list, err := st.List(ctx, store.Query{ID: r.ID})
	if err != nil {
		return err
	}
	for _, rec := range list {
		switch rec.State {
		case store.Parked:
			return unpark(ctx, c, st, rec)
		case store.Rejected, store.Undelivered, store.Unknown:
			return r.again(ctx, c, st, rec)
		}
	}
	if len(list) == 0 {
		return advise(fmt.Errorf("nothing in %s has the id %q", r.DB, r.ID), "chttp ls --db "+r.DB+" --state parked")
	}
	return advise(fmt.Errorf("%s is %s: there is nothing to retry", r.ID, list[0].State), "chttp show "+r.ID+" --db "+r.DB)
}

// unpark lets a parked execution go on.
func unpark(ctx context.Context, c *console, st *sqlitestore.Store, r *store.Record) error {
	now := time.Now()
	err := commit(ctx, st, &store.Batch{Now: now.UnixMilli(), Changes: []store.Change{{
		Key: r.Key, Run: r.Run, Version: r.Version + 1, State: store.Running, Due: now.UnixMilli(), Bound: r.Bound,
	}}})
	if err == nil {
		c.printf("%s goes on when its process runs again.\n", r.ID)
	}
	return err
}

// commit does b as the file's node.
func commit(ctx context.Context, st *sqlitestore.Store, b *store.Batch) error {
	id, err := st.Join(ctx, b.Now)
	if err != nil {
		return err
	}
	b.Token = id.Token
	report, err := st.Commit(ctx, b)
	if err != nil {
		return err
	}
	for _, r := range report.Results {
		if r.Status != store.Done {
			return errors.New("the record has changed meanwhile; nothing was done")
		}
	}
	return nil
}

// again stores a message once more, under a new id.
func (r *retryCommand) again(ctx context.Context, c *console, st *sqlitestore.Store, rec *store.Record) error {
	if rec.State == store.Unknown && !r.MayDouble {
		return advise(fmt.Errorf("it is unknown whether %s had its effect; to send it again may double that", r.ID),
			"chttp retry --may-double "+r.ID+" --db "+r.DB+"   once you know that it may")
	}
	h, err := record.ParseHead(rec.Head)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, h.Method, h.URL, bytes.NewReader(h.Body))
	if err != nil {
		return err
	}
	req.Header = h.Header
	if host := h.Header.Get("Host"); host != "" {
		req.Host = host
		req.Header.Del("Host")
	}
	node, err := chttp.New(st, nil)
	if err != nil {
		return err
	}
	id, err := node.Send(chttp.With(ctx, chttp.Policy{Destination: h.Destination, Labels: h.Label}), req)
	if err != nil {
		return err
	}
	if c.json {
		return c.document(map[string]string{"id": id, "of": rec.ID})
	}
	c.printf("%s is stored as the new message %s; its process delivers it when it runs again.\n", rec.ID, id)
	return nil
}

// resumeCommand ends the pause of a peer.
type resumeCommand struct {
	Peer string `arg:"" help:"The peer, as the log names it: http://127.0.0.1:8080."`
	DB   string `name:"db" default:"chttp.db" placeholder:"FILE" help:"The file of a node (${default}). Nothing else may use it."`
}

// Help is what follows the summary of the command.
func (*resumeCommand) Help() string {
	return `A peer whose store was restored from a copy may do again what it did after the copy was made, and a certified peer whose answers
no longer say so may do anything twice: so nothing more is sent to it. Once you know that it is well, this sends on.

Example:
  chttp resume https://bank.example --db shop.db`
}

// peerFact begins the names of what a node knows of its peers.
const peerFact = "peer "

// Run resumes.
func (r *resumeCommand) Run(ctx context.Context, c *console) error {
	st, err := open(r.DB)
	if err != nil {
		return err
	}
	defer st.Close()
	facts, err := st.Facts(ctx)
	if err != nil {
		return err
	}
	for _, f := range facts {
		if f.Name != peerFact+r.Peer {
			continue
		}
		var known map[string]any
		if err := json.Unmarshal(f.Value, &known); err != nil {
			return err
		}
		if known["paused"] == nil {
			return fmt.Errorf("%s is not paused", r.Peer)
		}
		delete(known, "paused")
		delete(known, "certified") // Its answers say so again, or it is plain now.
		value, err := json.Marshal(known)
		if err != nil {
			return err
		}
		err = commit(ctx, st, &store.Batch{Now: time.Now().UnixMilli(), Facts: []store.Fact{{Name: f.Name, Value: value}}})
		if err == nil {
			c.printf("%s is sent to again when the process runs.\n", r.Peer)
		}
		return err
	}
	return fmt.Errorf("%s knows nothing of a peer %s: name it as the log does, with its scheme", r.DB, r.Peer)
}
