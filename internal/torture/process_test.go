//go:build linux && (amd64 || arm64)

package torture

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/internal/torture/drive"
)

// process keeps a program running on a drive: whenever it has ended, it is started again, until the test stops it.
type process struct {
	t     *testing.T
	name  string
	path  string // of the store
	env   []string
	drive *drive.Drive
	log   *os.File
	rnd   *rand.Rand
	over  chan struct{} // closed when the keeper has ended

	mu       sync.Mutex // guards what follows
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	ready    chan struct{} // closed when the program of now is ready
	dead     chan struct{} // closed when it has died
	waiting  map[string]chan line
	stopping bool
	cut      bool // the power goes with the next death
	deaths   int  // by SIGKILL
	falls    int  // by itself
	cuts     int  // deaths with which the power went
	torn     int  // pages that were written then, and not synced
}

// line is what a program says of an id.
type line struct{ verb, text string }

// newProcess makes the process of a program, and does not start it.
func newProcess(t *testing.T, name string, rnd *rand.Rand, env ...string) *process {
	t.Helper()
	if err := drive.Usable(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("there can be no drive under a process: %v", err)
	}
	dir := t.TempDir()
	d, err := drive.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, path: filepath.Join(dir, name+".db"), drive: d, log: log, rnd: rnd, waiting: make(map[string]chan line)}
	p.env = append(os.Environ(), programEnv+"="+name, storeEnv+"="+p.path, "GORACE=atexit_sleep_ms=0 halt_on_error=1")
	p.env = append(p.env, env...)
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("the end of the log of the %s:\n%s", name, b[max(0, len(b)-4000):])
		}
		log.Close()
		if err := d.Err(); err != nil {
			t.Errorf("the drive of the %s: %v", name, err)
		}
	})
	return p
}

// keep starts the process and whenever it has died starts it again.
func (p *process) keep() {
	p.mu.Lock()
	p.stopping, p.over = false, make(chan struct{})
	p.ready = make(chan struct{})
	p.mu.Unlock()
	go func() {
		defer close(p.over)
		for p.life() {
		}
	}()
}

// life is one life of the process; false when it was the last.
func (p *process) life() bool {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = p.env, p.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Error(err)
		return false
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Error(err)
		return false
	}
	p.mu.Lock()
	if p.stopping {
		p.mu.Unlock()
		return false
	}
	if err := p.drive.Start(cmd); err != nil {
		p.mu.Unlock()
		p.t.Error(err)
		return false
	}
	p.cmd, p.stdin, p.dead = cmd, stdin, make(chan struct{})
	p.mu.Unlock()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		p.hear(lines.Text())
	}
	err = cmd.Wait()
	return p.buried(err)
}

// buried notes that the process has died, and tells whether there shall be another.
func (p *process) buried(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		p.deaths++
		if p.rnd.IntN(2) == 0 || p.cut {
			p.cuts++
			p.cut = false
			pages, err := p.drive.LosePower(p.rnd)
			if p.torn += pages; err != nil {
				p.t.Errorf("lose power: %v", err)
			}
		}
	case err != nil:
		p.falls++
		if status.ExitStatus() != 1 {
			p.t.Errorf("the %s: %v", p.name, err)
		}
	}
	close(p.dead)
	select {
	case <-p.ready:
		p.ready = make(chan struct{})
	default: // it never was
	}
	for id, c := range p.waiting {
		close(c)
		delete(p.waiting, id)
	}
	return !p.stopping
}

// hear takes a line that the program says.
func (p *process) hear(text string) {
	var l line
	var id string
	if _, err := fmt.Sscanf(text, "%s %s %q", &l.verb, &id, &l.text); err != nil {
		p.t.Errorf("the %s says %q: %v", p.name, text, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.verb == "ready" {
		close(p.ready)
	} else if c := p.waiting[id]; c != nil {
		c <- l
	}
}

// ask has the program do something and returns what it says of it, line by line; the channel is closed when it has died. It waits for the
// program to be ready; when that takes too long the test fails.
func (p *process) ask(verb, id string) <-chan line {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !p.t.Failed(); {
		p.mu.Lock()
		ready := p.ready
		p.mu.Unlock()
		select {
		case <-ready:
		case <-time.After(time.Second):
			continue
		}
		p.mu.Lock()
		if p.ready != ready {
			p.mu.Unlock()
			continue
		}
		c := make(chan line, 10)
		p.waiting[id] = c
		stdin := p.stdin
		p.mu.Unlock()
		fmt.Fprintln(stdin, verb, id) // an error is a death, which closes c
		return c
	}
	if !p.t.Failed() {
		p.t.Errorf("the %s is not ready after %v", p.name, patience)
	}
	c := make(chan line)
	close(c)
	return c
}

// forget ends what ask began.
func (p *process) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
}

// signal sends a signal to the process, and returns a channel that is closed when it is dead.
func (p *process) signal(s syscall.Signal) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd.Process.Signal(s)
	return p.dead
}

// died returns a channel that is closed when the process of now has died.
func (p *process) died() <-chan struct{} { return p.signal(0) }

// losePower takes the power away, and with it the process.
func (p *process) losePower() <-chan struct{} {
	p.mu.Lock()
	p.cut = true
	p.mu.Unlock()
	return p.signal(syscall.SIGKILL)
}

// quit asks the program to end, after which it is started again, and returns a channel that is closed when it has died.
func (p *process) quit() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.stdin, "stop")
	return p.dead
}

// await waits until the program is ready.
func (p *process) await() {
	for alive := false; !alive && !p.t.Failed(); {
		_, alive = <-p.ask("open", "-await-"+p.name)
	}
}

// stop asks the program to end, and waits for it.
func (p *process) stop() {
	p.mu.Lock()
	if p.over == nil {
		p.mu.Unlock()
		return
	}
	p.stopping = true
	if p.stdin != nil {
		fmt.Fprintln(p.stdin, "stop")
	}
	over := p.over
	p.mu.Unlock()
	select {
	case <-over:
	case <-time.After(patience):
		p.t.Errorf("the %s does not stop", p.name)
		p.signal(syscall.SIGQUIT)
		<-over
	}
}

// unfinished returns what the program says of its unfinished executions.
func (p *process) unfinished() string { return (<-p.ask("open", "-unfinished-"+p.name)).text }
