//go:build linux && (amd64 || arm64)

package torture

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/internal/torture/drive"
)

// mishaps is what can happen to a world.
var mishaps = []struct {
	name   string
	befall func(w *world, p *process)
}{
	{"a kill", func(w *world, p *process) { w.kill(p) }},
	{"a power cut", func(w *world, p *process) { w.soon(p.losePower(), "a death") }},
	{"a power cut of both", func(w *world, _ *process) {
		w.server.await()
		w.client.await()
		a, b := w.server.losePower(), w.client.losePower()
		w.soon(a, "the server's death")
		w.soon(b, "the client's death")
	}},
	{"a kill at a sync", func(w *world, p *process) {
		w.dies(p, drive.Fault{Op: drive.Sync, First: 1 + w.rnd.IntN(20)})
	}},
	{"a kill in a write", func(w *world, p *process) {
		w.dies(p, drive.Fault{Op: drive.Write, First: 1 + w.rnd.IntN(50), Half: true})
	}},
	{"a kill while it stops", func(w *world, p *process) {
		w.dies(p, drive.Fault{Op: drive.Write, Suffix: ".db", First: 1 + w.rnd.IntN(5), Half: true})
	}},
	{"a clean stop", func(w *world, p *process) { w.soon(p.quit(), "the end of the "+p.name) }},
	{"syncs that fail", func(w *world, p *process) {
		w.errs(p, drive.Fault{Op: drive.Sync, First: 1 + w.rnd.IntN(10), Times: 1 + w.rnd.IntN(20), Errno: syscall.EIO})
	}},
	{"writes that fail", func(w *world, p *process) {
		w.errs(p, drive.Fault{Op: drive.Write, First: 1 + w.rnd.IntN(20), Times: 1 + w.rnd.IntN(20), Errno: syscall.EIO, Half: w.rnd.IntN(2) == 0})
	}},
	{"reads that fail", func(w *world, p *process) {
		w.errs(p, drive.Fault{Op: drive.Read, Times: 1 + w.rnd.IntN(5), Errno: syscall.EIO})
	}},
	{"a full disk", func(w *world, p *process) {
		w.errs(p, drive.Fault{Op: drive.Write, First: 1 + w.rnd.IntN(20), Errno: syscall.ENOSPC, Half: w.rnd.IntN(2) == 0})
	}},
	{"a pause", func(w *world, p *process) {
		p.signal(syscall.SIGSTOP)
		<-time.After(1500 * time.Millisecond)
		p.signal(syscall.SIGCONT)
	}},
}

// dies arms a fault that kills, and waits for the death.
func (w *world) dies(p *process, f drive.Fault) {
	w.t.Helper()
	dead := p.died()
	hit := p.drive.Arm(f)
	if f.Suffix == ".db" { // which is written when the store is closed, and seldom else
		p.quit()
	}
	w.reached(p, f, hit)
	p.drive.Lift()
	w.soon(dead, "the death of the "+p.name)
}

// errs arms a fault that is an error, waits until it has happened, and lifts it a little later.
func (w *world) errs(p *process, f drive.Fault) {
	w.t.Helper()
	w.befall(p, f)
	<-time.After(time.Duration(w.rnd.IntN(300)) * time.Millisecond)
	p.drive.Lift()
}

// TestMishaps lets everything happen to one world, one after the other in some order; for as long as the variable TORTURE says, to one
// world after the other.
func TestMishaps(t *testing.T) {
	t.Parallel()
	long, err := time.ParseDuration(os.Getenv("TORTURE"))
	if err != nil && os.Getenv("TORTURE") != "" {
		t.Fatal(err)
	}
	end := time.Now().Add(long)
	for {
		w := newWorld(t)
		for _, i := range w.rnd.Perm(len(mishaps)) {
			p := w.anyone()
			w.goesOn(p)
			t.Logf("%s: the %s", mishaps[i].name, p.name)
			mishaps[i].befall(w, p)
		}
		w.ends()
		w.server.stop()
		w.client.stop()
		if t.Failed() || time.Now().After(end) {
			return
		}
	}
}
