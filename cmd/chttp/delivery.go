package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

const (
	// storeAtOnce is how many messages are stored in one go.
	storeAtOnce = 500

	// lookEvery is how often the store is asked how far it is, lookPart which part of the time that may take at the most.
	lookEvery = 100 * time.Millisecond
	lookPart  = 10

	// plainEvery is how often progress is told where it cannot be shown.
	plainEvery = 5 * time.Second
)

// delivery is one run of send: it stores the batch while the node delivers it, and watches until all of it has ended.
type delivery struct {
	sender  *sendCommand
	order   *order
	batch   *batch
	store   *sqlitestore.Store
	node    *chttp.Node
	console *console
	tracker *tracker
	begin   time.Time

	mu     sync.Mutex // guards stored
	stored int
}

func (d *delivery) run(ctx context.Context) error {
	working, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.node.Run(working); err != nil {
			stop(err)
		}
	})
	wg.Go(func() {
		if err := d.storeAll(working); err != nil {
			stop(err)
		}
	})
	err := d.watch(working)
	stop(nil)
	wg.Wait()
	switch {
	case err == nil:
		return d.report()
	case ctx.Err() != nil:
		return d.interrupted()
	}
	return err
}

// storeAll stores the batch, in the order of its lines.
func (d *delivery) storeAll(ctx context.Context) error {
	labels := map[string]string{batchLabel: d.batch.name}
	if len(d.order.credentials) > 0 {
		labels[secretLabel] = "yes"
	}
	ctx = chttp.With(ctx, chttp.Policy{Until: d.sender.Until, Labels: labels})
	var chunk []*http.Request
	flush := func() error {
		err := d.storeChunk(ctx, chunk)
		chunk = chunk[:0]
		return err
	}
	err := d.batch.each(func(line int, body []byte) error {
		req, err := d.order.request(ctx, d.batch, line, body)
		if err != nil {
			return err
		}
		if chunk = append(chunk, req); len(chunk) < storeAtOnce {
			return nil
		}
		return flush()
	})
	if err == nil && len(chunk) > 0 {
		err = flush()
	}
	return err
}

// storeChunk stores messages. Of those that an earlier run has stored, it makes sure that they are the same: a message that
// is there already is not sent again.
func (d *delivery) storeChunk(ctx context.Context, reqs []*http.Request) error {
	fresh := make([]*http.Request, 0, len(reqs))
	for _, req := range reqs {
		id := req.Header.Get("Idempotency-Key")
		_, err := d.store.Read(ctx, store.Key{ID: id})
		if err == nil {
			_, err = d.node.Send(ctx, req)
		} else if errors.Is(err, store.ErrNotFound) {
			fresh, err = append(fresh, req), nil
		}
		if err != nil {
			return d.explain(ctx, err, id)
		}
	}
	if len(fresh) > 0 {
		if _, err := d.node.SendAll(ctx, fresh...); err != nil {
			return d.explain(ctx, err, fresh[0].Header.Get("Idempotency-Key"))
		}
	}
	d.mu.Lock()
	d.stored += len(reqs)
	d.mu.Unlock()
	return nil
}

func (d *delivery) explain(ctx context.Context, err error, id chttp.ID) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, chttp.ErrReused):
		return advise(fmt.Errorf("line %d was sent before in batch %s, and said something else then", d.batch.line(id), d.batch.name),
			"chttp send --batch OTHER …")
	case errors.Is(err, store.ErrFull):
		return advise(fmt.Errorf("the disk of %s is full; what was stored is safe", d.sender.DB), "the same command again, when there is room")
	}
	return fmt.Errorf("store messages from line %d: %w", d.batch.line(id), err)
}

// watch looks on until all messages have ended.
func (d *delivery) watch(ctx context.Context) error {
	line := newLiveLine(d.console.err, d.console.errTerm, plainEvery)
	defer line.clear()
	for {
		asked := time.Now()
		if err := d.tracker.look(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		// Of a named batch, an earlier command may have sent more lines than there are now.
		if d.storedAll() && d.tracker.finished() >= d.batch.count {
			return nil
		}
		if !d.console.json {
			line.show(d.progress())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(max(lookEvery, lookPart*time.Since(asked))):
		}
	}
}

func (d *delivery) storedSoFar() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored
}

func (d *delivery) storedAll() bool { return d.storedSoFar() == d.batch.count }

// progress is how far it is, in a line.
func (d *delivery) progress() string {
	stored, all, ended, bad := d.storedSoFar(), d.batch.count, d.tracker.finished(), d.tracker.bad()
	var b strings.Builder
	if d.console.errTerm.live {
		b.WriteString(bar(ended, all) + " ")
	}
	fmt.Fprintf(&b, "%3d%%  %s of %s answered", ended*100/all, count(d.tracker.ended[store.Answered]), count(all))
	if bad > 0 {
		fmt.Fprintf(&b, ", %s", d.console.errTerm.paint(red, count(bad)+" failed"))
	}
	if stored < all {
		fmt.Fprintf(&b, ", %s stored", count(stored))
	}
	fmt.Fprintf(&b, ", %s waiting", count(max(stored-ended, 0)))
	passed := time.Since(d.begin)
	if rate := float64(ended) / passed.Seconds(); rate >= 1 {
		left := time.Duration(float64(all-ended) / rate * float64(time.Second))
		fmt.Fprintf(&b, ", %s/s, %s left", count(int(rate)), age(left))
	}
	return b.String()
}

// interrupted says what is so far, and how to go on.
func (d *delivery) interrupted() error {
	fmt.Fprintf(d.console.err, "chttp: interrupted; %s of %s answered so far, and what is stored in %s stays there.\n",
		count(d.tracker.ended[store.Answered]), messages(d.batch.count), d.sender.DB)
	return &failure{errFailed, "the same command again: it goes on where it was, and sends nothing twice", exitInterrupted}
}

// summary is the result for machines.
type summary struct {
	Batch    string         `json:"batch"`
	Messages int            `json:"messages"`
	Ended    map[string]int `json:"ended"`    // by state
	Statuses map[int]int    `json:"statuses"` // of HTTP
	Failed   []lost         `json:"failed,omitempty"`
	Seconds  float64        `json:"seconds"`
}

// report says how it ended.
func (d *delivery) report() error {
	t, took := d.tracker, time.Since(d.begin)
	var err error
	if t.bad() > 0 {
		err = errFailed
	}
	if d.console.json {
		s := summary{Batch: d.batch.name, Messages: d.batch.count, Ended: map[string]int{}, Statuses: t.status, Failed: t.failed, Seconds: took.Seconds()}
		for state, n := range t.ended {
			s.Ended[state.String()] = n
		}
		return errors.Join(err, d.console.document(s))
	}
	if d.batch.count == 1 {
		d.reportOne()
		return err
	}
	d.console.printf("%s: %s answered", messages(d.batch.count), count(t.ended[store.Answered]))
	for _, state := range []store.State{store.Rejected, store.Undelivered, store.Unknown, store.Parked, store.Canceled} {
		if n := t.ended[state]; n > 0 {
			d.console.printf(", %s", d.console.outTerm.paint(red, count(n)+" "+state.String()))
		}
	}
	d.console.printf(", in %s (%s/s)\n", age(took), count(int(float64(t.finished())/took.Seconds())))
	for _, l := range t.failed {
		d.console.printf("  line %d  %s\n", l.Line, l)
	}
	if n := t.bad() - len(t.failed); n > 0 {
		d.console.printf("  … and %s more: chttp ls --db %s --state rejected\n", count(n), d.sender.DB)
	}
	return err
}

func (d *delivery) reportOne() {
	id := d.batch.id(1)
	for _, l := range d.tracker.failed {
		d.console.printf("%s\n", l)
	}
	if r := d.tracker.answer[id]; r != nil && d.tracker.bad() == 0 {
		d.console.printf("answered %d  %s\n", r.Status, printable(r.Body, 200))
	} else if d.tracker.bad() == 0 {
		d.console.printf("answered\n")
	}
	d.console.printf("See:   chttp show --db %s %s\n", d.sender.DB, id)
}
