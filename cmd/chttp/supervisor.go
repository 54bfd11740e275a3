package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/certifiedhttp/chttp/examples/escrow"
)

const (
	// killEvery is how long it is from one kill to the next, on average.
	killEvery = 300 * time.Millisecond

	// startWithin is how long a process may take to listen.
	startWithin = 20 * time.Second

	// stopWithin is how long a process that is asked to end may take.
	stopWithin = 10 * time.Second

	// maxFalls is how often a process may end by itself before the demonstration gives up.
	maxFalls = 5
)

// supervisor keeps the parties running: each in a process of its own, which is started again whenever it has ended.
type supervisor struct {
	dir   string
	proxy *proxy

	mu    sync.Mutex // guards what follows
	procs map[string]*process
	kills map[string]int
	falls int // processes that ended by themselves
}

// process is a party's process. The pipe to its standard input is what it lives on: when the supervisor dies, however it dies, it is
// closed, and the process ends.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	killed bool
	ended  chan struct{}
}

func newSupervisor(dir string, p *proxy) *supervisor {
	return &supervisor{dir: dir, proxy: p, procs: map[string]*process{}, kills: map[string]int{}}
}

// keep runs a party until ctx ends, whatever happens to its process.
func (s *supervisor) keep(ctx context.Context, party string) error {
	for {
		p, err := s.start(party)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return s.stop(p, party)
		case <-p.ended:
		}
		s.proxy.setBackend(party, "")
		s.mu.Lock()
		fell := !p.killed
		if fell {
			s.falls++
		}
		tooOften := s.falls > maxFalls
		s.mu.Unlock()
		if tooOften {
			return fmt.Errorf("the processes ended by themselves %d times; the last was the %s:\n%s", maxFalls+1, party, lastLines(s.log(party)))
		}
	}
}

// awaitAll waits until all parties listen.
func (s *supervisor) awaitAll(ctx context.Context) error {
	for _, party := range escrow.Parties {
		for s.proxy.backend(party) == "" {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// log is the file in which a party's process writes what it has to say.
func (s *supervisor) log(party string) string { return filepath.Join(s.dir, party+".log") }

// start starts a party's process and waits until it listens, or has ended.
func (s *supervisor) start(party string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.log(party), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(self, "escrow-party", configFile(s.dir, party))
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", party, err)
	}
	s.mu.Lock()
	s.procs[party] = p
	s.mu.Unlock()
	overdue := time.AfterFunc(startWithin, func() { cmd.Process.Kill() })
	address, _ := bufio.NewReader(stdout).ReadString('\n')
	overdue.Stop()
	s.proxy.setBackend(party, strings.TrimSpace(address))
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop asks a process to end, and ends it if it does not.
func (s *supervisor) stop(p *process, party string) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
	}
	p.cmd.Process.Signal(syscall.SIGQUIT) // with all its goroutines in the log
	select {
	case <-p.ended:
	case <-time.After(time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
	return fmt.Errorf("the %s did not end within %v of being asked to:\n%s", party, stopWithin, lastLines(s.log(party)))
}

// killNow and then kills a random process with SIGKILL, until ctx ends.
func (s *supervisor) killNowAndThen(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 3))
	for {
		wait := killEvery/2 + time.Duration(rng.Int64N(int64(killEvery)))
		party := escrow.Parties[rng.IntN(len(escrow.Parties))]
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			s.kill(party)
		}
	}
}

func (s *supervisor) kill(party string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.procs[party]
	if p == nil || p.killed {
		return
	}
	if p.cmd.Process.Kill() == nil {
		p.killed = true
		s.kills[party]++
	}
}

// killed is how often processes were killed, by party, and in all.
func (s *supervisor) killed() (byParty map[string]int, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	byParty = map[string]int{}
	for party, n := range s.kills {
		byParty[party] = n
		all += n
	}
	return byParty, all
}

// fallen is how often processes ended by themselves.
func (s *supervisor) fallen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.falls
}

func configFile(dir, party string) string { return filepath.Join(dir, party+".json") }

// configure writes what a party's process reads when it starts.
func (s *supervisor) configure(p *escrow.Party) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(configFile(s.dir, p.Name), b, 0o600)
}

// lastLines is the end of a log, for an error.
func lastLines(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-15):], "\n  ")
}
