package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certifiedhttp/chttp/examples/escrow"
)

type demoCommand struct {
	Purchases int     `default:"1000" placeholder:"N" help:"How many purchases (${default})."`
	Seed      *uint64 `help:"Repeat the purchases, kills and faults of an earlier run. Default: random."`
	NoFaults  bool    `help:"No kills and a perfect network: how fast it is."`
	Keep      bool    `help:"Keep the files, for chttp ls and sqlite3."`
	Dir       string  `placeholder:"DIR" help:"Where the files go, which are kept then. Default: a temporary directory."`
}

// Help is what follows the summary of the command.
func (*demoCommand) Help() string {
	return `Three processes with a file each, a bank, a shop and an escrow, swap money for goods: the code is in examples/escrow. Meanwhile
one of them is killed with SIGKILL every 300 ms, and the network between them drops requests, drops answers after the work was done, doubles,
delays, and breaks off in the middle. At the end the three files are audited.

Examples:
  chttp demo
  chttp demo --no-faults
  chttp demo --seed 7 --keep

Exit status: 0 nothing was lost and nothing done twice; 1 something was.`
}

const (
	// customers is how many purchases are asked for at once.
	customers = 64

	// minKills is how many kills a run has at least: purchases are fed in no faster than it takes to get there.
	minKills = 24

	// settleWithin is how long the parties may take, when everything is answered, to deliver what is still under way.
	settleWithin = 30 * time.Second

	// demoWithin is how long the whole run may take.
	demoWithin = 5 * time.Minute

	// showEvery is how often the live line changes.
	showEvery = 100 * time.Millisecond

	// tellEvery is how often progress is told where it cannot be shown.
	tellEvery = 2 * time.Second
)

// demo is one run.
type demo struct {
	options *demoCommand
	console *console
	seed    uint64
	dir     string
	secret  string
	market  *escrow.Market
	proxy   *proxy
	super   *supervisor
	url     string // of the escrow
	begin   time.Time

	answered atomic.Int64
	attempts atomic.Int64 // of the customers

	mu   sync.Mutex // guards told
	told map[string]escrow.Outcome
}

// Run runs the demonstration.
func (o *demoCommand) Run(ctx context.Context, c *console) error {
	if o.Purchases < 1 || o.Purchases > 1_000_000 {
		return usage(fmt.Errorf("--purchases is %d; from 1 to 1,000,000 are possible", o.Purchases), "chttp demo --help")
	}
	d := &demo{options: o, console: c, secret: rand.Text(), told: map[string]escrow.Outcome{}}
	if o.Seed != nil {
		d.seed = *o.Seed
	} else {
		d.seed = newSeed()
	}
	d.market = escrow.NewMarket(o.Purchases, d.seed)
	cleanUp, err := d.makeDir()
	if err != nil {
		return err
	}
	defer cleanUp()
	if !c.json {
		c.printf("%s purchases between a bank, a shop and an escrow: three processes, a file each. Seed %d.\n", count(o.Purchases), d.seed)
	}
	took, err := d.trade(ctx)
	if err != nil && ctx.Err() != nil {
		return &failure{fmt.Errorf("interrupted after %s of %s purchases", count(d.answered.Load()), count(o.Purchases)), "", exitInterrupted}
	}
	if err != nil {
		return advise(err, fmt.Sprintf("chttp demo --seed %d --keep   and look into the logs", d.seed))
	}
	report, err := escrow.Audit(ctx, d.dir, d.market.Orders, d.told)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return d.report(report, took)
}

// newSeed returns a random seed that is short enough to be typed.
func newSeed() uint64 {
	var b [4]byte
	rand.Read(b[:])
	return uint64(binary.LittleEndian.Uint32(b[:])) % 100_000
}

// makeDir makes the directory, and returns what removes it.
func (d *demo) makeDir() (cleanUp func(), err error) {
	keep := func() {}
	if d.options.Dir == "" {
		if d.dir, err = os.MkdirTemp("", "chttp-demo-"); err != nil || d.options.Keep {
			return keep, err
		}
		return func() { os.RemoveAll(d.dir) }, nil
	}
	if d.dir, err = filepath.Abs(d.options.Dir); err != nil {
		return nil, err
	}
	for _, party := range escrow.Parties {
		if _, err := os.Stat(escrow.File(d.dir, party)); err == nil {
			return nil, usage(fmt.Errorf("%s holds an earlier demonstration", d.dir), "chttp demo --dir OTHER, or remove it")
		}
	}
	return keep, os.MkdirAll(d.dir, 0o700)
}

// trade starts everything, makes all purchases, and stops everything. The files are complete when it returns.
func (d *demo) trade(ctx context.Context) (time.Duration, error) {
	d.proxy = newProxy(d.seed, badNetwork)
	defer d.proxy.close()
	d.super = newSupervisor(d.dir, d.proxy)
	if err := d.configure(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, demoWithin)
	defer cancel()
	running, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	errs := make([]error, len(escrow.Parties))
	for i, party := range escrow.Parties {
		wg.Go(func() {
			errs[i] = d.super.keep(running, party)
			stop(errs[i])
		})
	}
	err := d.super.awaitAll(running)
	d.begin = time.Now()
	if err == nil {
		err = d.whileShowing(running, func() error { return d.buyAll(running) })
	}
	took := time.Since(d.begin)
	if err == nil {
		err = d.whileShowing(running, func() error { return d.settle(running) })
	}
	stop(nil)
	wg.Wait()
	return took, cmp.Or(errors.Join(errs...), err)
}

// configure gives each party its file, its addresses and what it begins with.
func (d *demo) configure() error {
	peers := map[string]string{}
	for _, party := range escrow.Parties {
		url, err := d.proxy.listen(party)
		if err != nil {
			return err
		}
		peers[party] = url
	}
	d.url = peers[escrow.TheEscrow]
	for _, party := range escrow.Parties {
		p := &escrow.Party{Name: party, File: escrow.File(d.dir, party), Peers: peers, Secret: d.secret, Opening: d.market.Opening[party]}
		if err := d.super.configure(p); err != nil {
			return err
		}
	}
	return nil
}

// buyAll makes all purchases, under kills and faults.
func (d *demo) buyAll(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var killing, buying sync.WaitGroup
	defer killing.Wait()
	if !d.options.NoFaults {
		d.proxy.faulty.Store(true)
		defer d.proxy.faulty.Store(false)
		killing.Go(func() { d.super.killNowAndThen(ctx, d.seed) })
	}
	orders := make(chan escrow.Order)
	for range customers {
		c := newCustomer(d)
		buying.Go(func() {
			defer c.close()
			for o := range orders {
				if err := c.buy(ctx, o); err != nil {
					stop(err)
				}
			}
		})
	}
	for i, o := range d.market.Orders {
		if !d.pace(ctx, i) {
			break
		}
		orders <- o
	}
	close(orders)
	buying.Wait()
	err := context.Cause(ctx)
	stop(nil)
	return err
}

// pace waits until the i-th purchase may begin, and tells whether it may: under faults they are spread over the time that it takes
// to kill so often.
func (d *demo) pace(ctx context.Context, i int) bool {
	for !d.options.NoFaults {
		_, kills := d.super.killed()
		part := float64(kills) + min(1, time.Since(d.begin).Seconds()-float64(kills)*killEvery.Seconds())
		if kills >= minKills || float64(i) < part*float64(len(d.market.Orders))/minKills {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return ctx.Err() == nil
}

// settle waits until the parties have nothing under way any more: receipts may still be.
func (d *demo) settle(ctx context.Context) error {
	overdue := time.After(settleWithin)
	for {
		var open []string
		for _, party := range escrow.Parties {
			lines, err := escrow.Unfinished(ctx, escrow.File(d.dir, party), 1)
			if err != nil {
				return err
			}
			open = append(open, lines...)
		}
		if len(open) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-overdue:
			return nil // the audit will tell what is unfinished
		case <-time.After(showEvery):
		}
	}
}

// whileShowing shows how far it is while do runs.
func (d *demo) whileShowing(ctx context.Context, do func() error) error {
	line := newLiveLine(d.console.err, d.console.errTerm, tellEvery)
	defer line.clear()
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if !d.console.json && ctx.Err() == nil {
				line.show(d.progress())
			}
		}
	}
}

func (d *demo) progress() string {
	n, all := int(d.answered.Load()), len(d.market.Orders)
	_, kills := d.super.killed()
	t := d.proxy.traffic()
	s := fmt.Sprintf("%6s of %s purchases  %3d kills  %5s faults  %6s requests  %4.1f s",
		count(n), count(all), kills, count(t.faults()), count(t.Requests), time.Since(d.begin).Seconds())
	if d.console.errTerm.live {
		s = bar(n, all) + " " + s
	}
	return s
}

// note keeps what a customer was told.
func (d *demo) note(o escrow.Outcome, purchase string) {
	d.mu.Lock()
	d.told[purchase] = o
	d.mu.Unlock()
	d.answered.Add(1)
}

// parseOutcome reads the escrow's answer.
func parseOutcome(b []byte) (escrow.Outcome, error) {
	var o escrow.Outcome
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(&o)
	return o, err
}
