package chttptest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

// proofs counts the proofs of each test, so that a process of Options.Process finds the one that it was started for.
var proofs struct {
	sync.Mutex
	of map[string]int
}

// count returns the how many-th proof of its test this is.
func count(t TB) int {
	name := t.Name()
	t.Cleanup(func() { // It may run once more, with -test.count.
		proofs.Lock()
		defer proofs.Unlock()
		delete(proofs.of, name)
	})
	proofs.Lock()
	defer proofs.Unlock()
	if proofs.of == nil {
		proofs.of = make(map[string]int)
	}
	proofs.of[name]++
	return proofs.of[name]
}

// child is what a process of Options.Process knows of its job.
type child struct {
	job    *job
	events []event
}

// child returns the job of this process, or nil if it has none. It is not mine when another proof is to do it.
func (p *proof) child() (j *job, mine bool) {
	name := os.Getenv(jobVariable)
	if name == "" {
		return nil, true
	}
	j = new(job)
	if err := readFile(name, j); err != nil {
		p.t.Fatalf("chttptest: read the job of this process: %v", err)
	}
	return j, j.Test == p.t.Name() && j.Number == p.number
}

// do does one life of a trial, and ends the process.
func (p *proof) do(j *job) {
	p.world = j.World.load()
	tr := p.newTrial(j.Name, loadPlan(j.Next)...)
	tr.died = loadPlan(j.Died)
	tr.process = true
	tr.child = &child{job: j}
	err := bubble(p.test, p.opt.Patience, func() { tr.late.Store(true) }, tr.play)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err != nil {
		tr.findings = append(tr.findings, &finding{what: foundEndless, text: err.Error()})
	}
	if len(tr.findings) == 0 {
		if f := tr.compareEnd(); f != nil {
			tr.findings = append(tr.findings, f)
		}
	}
	tr.exit(false)
}

// exit ends the process, as a crash does: nothing is put in order. Called with mu held.
func (tr *trial) exit(died bool) {
	d := &deed{Events: tr.child.events, Died: died, Ended: time.Now()}
	if n := len(tr.lives); n > 0 {
		d.Trail = saveTrail(tr.lives[n-1].trail)
	}
	if len(tr.findings) > 0 {
		d.Found, d.Died = saveFinding(tr.findings[0]), false
	}
	if err := writeFile(tr.child.job.Result, d); err != nil {
		fmt.Fprintln(os.Stderr, "chttptest: write the result:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// restore brings back what earlier processes have stored.
func (tr *trial) restore() error {
	s := tr.memory
	var id store.Identity
	for _, e := range tr.child.job.Events {
		if e.Batch == nil {
			var err error
			if id, err = s.Join(context.Background(), e.Floor); err != nil {
				return err
			}
			continue
		}
		b := *e.Batch
		b.Token = id.Token
		r, err := s.Commit(context.Background(), &b)
		if err != nil {
			return err
		}
		tr.committed(&b, r)
	}
	return nil
}

// keep notes what the store has done, for the next process; called with mu held.
func (tr *trial) keep(e event) {
	if tr.child == nil {
		return
	}
	if e.Batch != nil {
		b := *e.Batch
		b.Changes = slices.Clone(b.Changes)
		e.Batch = &b
	}
	tr.child.events = append(tr.child.events, e)
}
