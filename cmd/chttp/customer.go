package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/certifiedhttp/chttp/examples/escrow"
)

const (
	// askWithin is how long a customer waits for an answer before asking again.
	askWithin = 15 * time.Second

	// askAgain is how long a customer waits before asking again after no answer, or one that is none.
	askAgain = 50 * time.Millisecond
)

// customer is a plain HTTP client, as a browser or a script would be one: it knows nothing of Certified HTTP but the Idempotency-Key.
// Until it has an answer it asks again, with the same key; that is all it takes.
type customer struct {
	demo   *demo
	client *http.Client
}

func newCustomer(d *demo) *customer {
	return &customer{d, &http.Client{Transport: &http.Transport{}, Timeout: askWithin}}
}

func (c *customer) close() { c.client.CloseIdleConnections() }

// buy makes one purchase.
func (c *customer) buy(ctx context.Context, o escrow.Order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	for {
		out, answered, err := c.ask(ctx, o, body)
		if err != nil {
			return err
		}
		if answered {
			c.demo.note(out, o.Purchase)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(askAgain):
		}
	}
}

// ask asks once. An error says that asking again is of no use.
func (c *customer) ask(ctx context.Context, o escrow.Order, body []byte) (out escrow.Outcome, answered bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.demo.url+"/purchases", bytes.NewReader(body))
	if err != nil {
		return out, false, err
	}
	req.SetBasicAuth("customer", c.demo.secret)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%s-of-seed-%d", o.Purchase, c.demo.seed))
	c.demo.attempts.Add(1)
	resp, err := c.client.Do(req)
	if err != nil {
		return out, false, nil // no answer: ask again
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return out, false, nil
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		out, err = parseOutcome(answer)
		return out, err == nil, err
	case code == http.StatusConflict, code == http.StatusTooManyRequests, code >= 500 && !replayed(resp.Header):
		return out, false, nil // under way, or not now
	}
	return out, false, fmt.Errorf("%s: the escrow answered %s: %s", o.Purchase, resp.Status, printable(answer, 200))
}
