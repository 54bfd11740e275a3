//go:build linux && (amd64 || arm64)

package torture

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/internal/torture/drive"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

func TestKillsAtRandomMoments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 8 {
		p := w.anyone()
		w.goesOn(p)
		<-time.After(time.Duration(w.rnd.IntN(300)) * time.Millisecond)
		w.kill(p)
	}
	w.ends()
	w.neverFell()
}

// TestKillsAtTheNthCall kills before a sync, before a write or in the middle of one, at a commit and when the store is closed and writes its
// log back.
func TestKillsAtTheNthCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	torn := 0
	for _, p := range []*process{w.server, w.client} {
		for _, f := range []drive.Fault{
			{Op: drive.Sync, Suffix: "-wal", First: 1 + w.rnd.IntN(3)},
			{Op: drive.Sync, Suffix: "-wal", First: 4 + w.rnd.IntN(30)},
			{Op: drive.Write, Suffix: "-wal", First: 1 + w.rnd.IntN(10)},
			{Op: drive.Write, Suffix: "-wal", First: 11 + w.rnd.IntN(90), Half: true},
			{Op: drive.Write, Suffix: ".db", First: 1 + w.rnd.IntN(5), Half: true},
			{Op: drive.Sync, Suffix: ".db"},
			{Op: drive.Read, First: 1 + w.rnd.IntN(5)},
		} {
			p.await()
			w.dies(p, f)
		}
		torn += p.torn
	}
	w.ends()
	w.neverFell()
	if torn == 0 {
		t.Error("no power cut came between a write and its sync")
	}
}

// TestKillsWhileTheStoreIsMade kills at each sync and at some of the writes with which a file begins.
func TestKillsWhileTheStoreIsMade(t *testing.T) {
	t.Parallel()
	for _, op := range []drive.Op{drive.Sync, drive.Write} {
		kills := 0
		for n := 1; ; n += 1 + 3*int(op%drive.Sync) {
			rnd := rand.New(rand.NewPCG(uint64(n), uint64(op)))
			p := newProcess(t, "client", rnd)
			p.drive.Arm(drive.Fault{Op: op, First: n})
			p.keep()
			p.await()
			reached := p.drive.Lift() > 0
			p.stop()
			s, err := sqlitestore.Open(p.path)
			if err != nil {
				t.Fatalf("%s %d: %v", op, n, err)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("%s %d: %v", op, n, err)
			}
			s.Close()
			if !reached {
				break
			}
			kills++
		}
		t.Logf("%d kills at a %s", kills, op)
		if kills < 5 {
			t.Errorf("%d kills at a %s, want more", kills, op)
		}
	}
}

// TestIOErrorsAreSurvivedHonestly lets syncs, writes and reads fail for a while, and takes the power away afterwards: what a sync could not
// write is lost then, so nobody may have been told of it.
func TestIOErrorsAreSurvivedHonestly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []*process{w.server, w.client} {
		for _, f := range []drive.Fault{
			{Op: drive.Sync, Suffix: "-wal", First: 1 + w.rnd.IntN(10), Times: 1, Errno: syscall.EIO},
			{Op: drive.Sync, First: 1 + w.rnd.IntN(10), Times: 20, Errno: syscall.EIO},
			{Op: drive.Write, First: 1 + w.rnd.IntN(20), Times: 1, Errno: syscall.EIO, Half: true},
			{Op: drive.Write, First: 1 + w.rnd.IntN(20), Times: 20, Errno: syscall.EIO},
			{Op: drive.Read, Times: 3, Errno: syscall.EIO},
		} {
			p.await()
			w.befall(p, f)
			<-time.After(200 * time.Millisecond)
			p.drive.Lift()
			w.goesOn(p)
			if f.Op == drive.Sync && f.Times == 1 {
				w.soon(p.losePower(), "a death")
				w.goesOn(p)
			}
		}
	}
	w.ends()
}

// TestAFullDiskIsSurvivedHonestly gives no room to any write for a while. Nothing is started again.
func TestAFullDiskIsSurvivedHonestly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []*process{w.server, w.client} {
		for _, half := range []bool{false, true} {
			w.goesOn(p)
			w.befall(p, drive.Fault{Op: drive.Write, First: 1 + w.rnd.IntN(20), Errno: syscall.ENOSPC, Half: half})
			w.isFull(p)
			p.drive.Lift()
			w.goesOn(p)
		}
	}
	w.ends()
	w.neverFell()
}

// TestASmallDiskGoesOnWhenThereIsRoom fills a disk with the write-ahead log of little data, makes a little room, and sees that the log does not
// take that too.
func TestASmallDiskGoesOnWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.goesOn(w.server)
	w.server.drive.Limit(2 << 20)
	w.isFull(w.server)
	w.server.drive.Limit(5 << 20) // in all, for data of a quarter of that
	w.goesOn(w.server)
	before := w.witness.refused("server")
	for range 40 {
		w.goesOn(w.server)
	}
	if n := w.witness.refused("server") - before; n > 0 {
		t.Errorf("%d requests were refused although there was room", n)
	}
	w.server.drive.Limit(0)
	// From now on the log is written back often, which must not be believed where it failed. A sync of the file that fails ends the process:
	// what was written before is not to be relied on, whatever the next sync says.
	w.befall(w.server, drive.Fault{Op: drive.Write, Suffix: ".db", First: 2, Times: 3, Errno: syscall.EIO, Half: true})
	w.goesOn(w.server)
	dead := w.server.died()
	w.befall(w.server, drive.Fault{Op: drive.Sync, Suffix: ".db", Times: 1, Errno: syscall.EIO})
	w.soon(dead, "the end of the server")
	w.goesOn(w.server)
	w.soon(w.server.losePower(), "a death")
	w.ends()
	if w.server.falls != 1 {
		t.Errorf("the server ended %d times, want 1", w.server.falls)
	}
}

// TestPausesAreSurvived stops a process for longer than its peers wait.
func TestPausesAreSurvived(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []*process{w.server, w.client, w.server} {
		w.goesOn(p)
		p.signal(syscall.SIGSTOP)
		<-time.After(1500 * time.Millisecond)
		p.signal(syscall.SIGCONT)
		w.goesOn(p)
	}
	w.neverFell()
	if w.impatient.Load() == 0 {
		t.Error("nobody's patience ended")
	}
	w.ends()
}
