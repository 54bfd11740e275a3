package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/certifiedhttp/chttp/examples/escrow"
)

// result is what the demonstration found, for machines.
type result struct {
	OK         bool           `json:"ok"`
	Seed       uint64         `json:"seed"`
	Seconds    float64        `json:"seconds"`
	Kills      map[string]int `json:"kills"`
	Fallen     int            `json:"fallen"` // processes that ended by themselves
	Requests   int            `json:"requests"`
	Suppressed int            `json:"duplicates_suppressed"`
	Faults     map[string]int `json:"faults"`
	Asked      int64          `json:"asked"` // how often customers asked
	Dir        string         `json:"dir,omitempty"`
	Audit      *escrow.Report `json:"audit"`
}

// report prints the audit as one table, and fails if anything is wrong.
func (d *demo) report(r *escrow.Report, took time.Duration) error {
	kills, allKills := d.super.killed()
	t := d.proxy.traffic()
	ok := r.OK() && d.super.fallen() == 0
	var err error
	if !ok {
		err = &failure{errFailed, fmt.Sprintf("chttp demo --seed %d --keep", d.seed), exitFailed}
	}
	if d.console.json {
		res := result{
			OK: ok, Seed: d.seed, Seconds: took.Seconds(), Kills: kills, Fallen: d.super.fallen(), Requests: t.Requests, Suppressed: t.Replayed,
			Faults: map[string]int{}, Asked: d.attempts.Load(), Audit: r,
		}
		for f, n := range t.Faults {
			if fault(f) != faultNone {
				res.Faults[faultNames[f]] = n
			}
		}
		if d.keeps() {
			res.Dir = d.dir
		}
		return errors.Join(err, d.console.document(res))
	}
	d.printTable(r, t, kills, allKills, took)
	d.printEnd(r, ok)
	return err
}

func (d *demo) keeps() bool { return d.options.Keep || d.options.Dir != "" }

func (d *demo) printTable(r *escrow.Report, t traffic, kills map[string]int, allKills int, took time.Duration) {
	term := d.console.outTerm
	line := func(name, value, more string) {
		d.console.printf("  %-24s %9s   %s\n", name, value, term.paint(faint, more))
	}
	verdict := func(name string, bad int, more string) {
		value := fmt.Sprintf("%9s", count(bad))
		color := green
		if bad != 0 {
			color = red
		}
		d.console.printf("  %-24s %s   %s\n", name, term.paint(color, value), term.paint(faint, more))
	}
	balance := func(name string, chosen func(string) bool) {
		var before, after int64
		for _, s := range r.Assets {
			if chosen(s.Asset) {
				before, after = before+s.Before, after+s.After
			}
		}
		value, color := "conserved", green
		if !r.Conserved(chosen) {
			value, color = "CHANGED", red
		}
		d.console.printf("  %-24s %s   %s\n", name, term.paint(color, fmt.Sprintf("%9s", value)),
			term.paint(faint, fmt.Sprintf("%s before, %s after", count(before), count(after))))
	}
	d.console.printf("\n")
	rate := fmt.Sprintf("%s/s", count(int(float64(r.Purchases)/took.Seconds())))
	if !d.options.NoFaults {
		rate = "" // they are fed in only so fast
	}
	line("purchases", count(r.Purchases), rate)
	line("  done", count(r.Done), "")
	noMoney, noGoods := refusals(r)
	line("  refused", count(noMoney+noGoods), fmt.Sprintf("%s for lack of money, %s for lack of goods", count(noMoney), count(noGoods)))
	line("kill -9", count(allKills), fmt.Sprintf("bank %d, shop %d, escrow %d", kills[escrow.Bank], kills[escrow.Shop], kills[escrow.TheEscrow]))
	for f := dropRequest; f < faultKinds; f++ {
		more := ""
		if f == partyDown {
			more = "its process was dead"
		}
		line(faultNames[f], count(t.Faults[f]), more)
	}
	line("requests", count(t.Requests), "attempts, acknowledgements and all")
	line("duplicates suppressed", count(t.Replayed), "answered from the record")
	d.console.printf("\n")
	verdict("lost", r.Lost, "")
	verdict("doubled", r.Doubled, "")
	verdict("untrue answers", r.Untrue, "")
	verdict("unfinished", len(r.Unfinished), "")
	verdict("crashes of its own", d.super.fallen(), "")
	balance("money", func(asset string) bool { return asset == escrow.Coins })
	balance("goods", func(asset string) bool { return asset != escrow.Coins })
	if r.Unbalanced > 0 {
		verdict("accounts out of balance", r.Unbalanced, "")
	}
	line("time", fmt.Sprintf("%.1f s", took.Seconds()), "")
}

// refusals are how many purchases were refused for want of what.
func refusals(r *escrow.Report) (noMoney, noGoods int) {
	for why, n := range r.Refused {
		if why == "lack of "+escrow.Coins {
			noMoney += n
		} else {
			noGoods += n
		}
	}
	return noMoney, noGoods
}

func (d *demo) printEnd(r *escrow.Report, ok bool) {
	term := d.console.outTerm
	d.console.printf("\n")
	for _, f := range r.Findings {
		d.console.printf("  %s\n", f)
	}
	if ok {
		d.console.printf("%s\n", term.paint(green, "Right: each purchase happened once, or not at all."))
	} else {
		d.console.printf("%s\n", term.paint(red, "Wrong."))
	}
	if d.keeps() {
		d.console.printf("Look:  chttp ls --db %s\n", escrow.File(d.dir, escrow.TheEscrow))
	}
}
