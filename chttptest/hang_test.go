package chttptest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// hangs are functions that leave something behind which nothing can end but the end of the process.
var hangs = []bug{
	{name: "goroutine left over", fn: func(ctx context.Context, in string) (string, error) {
		c := make(chan int)
		go func() { <-c }()
		return "", pay(ctx, 1)
	}, want: []string{"goroutines are left", "chan receive", "hang_test.go"}},
	{name: "no end", fn: func(ctx context.Context, in string) (string, error) {
		select {}
	}, want: []string{"does not end", "select (no cases)", "hang_test.go"}},
	{name: "lock of a step", fn: func(ctx context.Context, in string) (string, error) {
		if err := chttp.Run(ctx, "lock", func(context.Context) error { hung.Lock(); return nil }); err != nil {
			return "", err
		}
		err := pay(ctx, 1)
		hung.TryLock()
		hung.Unlock()
		return "", err
	}, want: []string{"does not end", "sync.Mutex.Lock", "hang_test.go"}},
	{name: "spinning", fn: func(ctx context.Context, in string) (string, error) {
		for spins.Load() {
		}
		return "", nil
	}, want: []string{"does not end", "hang_test.go"}},
}

var (
	hung  sync.Mutex
	spins atomic.Bool
)

// hangingTest names the one of hangs that the process is to run.
const hangingTest = "CHTTPTEST_HANGING"

func TestResumesNeverHangs(t *testing.T) {
	if name := os.Getenv(hangingTest); name != "" {
		for _, c := range hangs {
			if c.name == name {
				spins.Store(true)
				c.opt.Peers, c.opt.Patience = []chttptest.Peer{cashier}, time.Second
				chttptest.Resumes(t, chttp.Resumable("buy", c.fn), "lamp", &c.opt)
			}
		}
		return
	}
	for _, c := range hangs {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestResumesNeverHangs$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), hangingTest+"="+c.name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Error("the test did not fail")
			}
			for _, s := range c.want {
				if !strings.Contains(string(out), s) {
					t.Errorf("want %q in\n%s", s, out)
				}
			}
			if os.Getenv("SHOW") != "" {
				t.Logf("%s", out)
			}
		})
	}
}
