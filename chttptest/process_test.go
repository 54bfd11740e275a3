package chttptest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// What a process that dies takes along.
var (
	region  = "eu"
	price   int
	counted = make(map[string]int)
)

// child tells whether this is a process that Resumes has started.
func child() bool { return os.Getenv("CHTTPTEST_JOB") != "" }

// processBugs show only when a process is another.
var processBugs = []bug{
	{name: "environment", fn: func(ctx context.Context, in string) (string, error) {
		return "", pay(ctx, os.Getenv("CHTTPTEST_PLACE"))
	}, want: []string{"In another process", "reads an environment variable", "Options.Keep", `Only: "process:"`}},
	{name: "variable of a package", fn: func(ctx context.Context, in string) (string, error) {
		if price == 0 {
			if err := chttp.Run(ctx, "ask", func(context.Context) error { price = 5; return nil }); err != nil {
				return "", err
			}
		}
		return "", pay(ctx, price)
	}, opt: chttptest.Options{Setup: func(testing.TB) { price = 0 }}, want: []string{"in the place of"}},
	{name: "variable of a package that a step sets", fn: func(ctx context.Context, in string) (string, error) {
		err := chttp.Run(ctx, "ask", func(context.Context) error { counted["price"] = 5; return nil })
		if err != nil {
			return "", err
		}
		return "", pay(ctx, counted["price"])
	}, want: []string{"gone with the process", "The process died after step", `chttp.Do(ctx, "ask"`, `Only: "process:#0.durable"`}},
	{name: "variable that the test has set", fn: func(ctx context.Context, in string) (string, error) {
		return "", pay(ctx, region)
	}, want: []string{"In another process", "the test, or another run, has set"}},
}

func TestResumesFindsWhatAnotherProcessShows(t *testing.T) {
	if !child() {
		t.Setenv("CHTTPTEST_PLACE", "Vienna")
		region = "us"
	}
	for i := range processBugs {
		processBugs[i].opt.Process = true
	}
	findAll(t, processBugs)
}

func TestResumesPassesWhatResumesInAnotherProcess(t *testing.T) {
	for _, c := range sound {
		switch c.name {
		case "steps", "branches", "child executions", "sent and forgotten", "an SDK", "policies":
			t.Run(c.name, func(t *testing.T) {
				c.opt.Peers, c.opt.Process = soundPeers(c.opt.Peers), true
				chttptest.Resumes(t, chttp.Resumable("buy", c.fn), "lamp", &c.opt)
			})
		}
	}
}

func TestResumesSaysWhyAnotherProcessDoesNotComeToIt(t *testing.T) {
	if child() {
		t.Fatal("there is no database")
	}
	r := &recorder{T: t}
	chttptest.Resumes(r, chttp.Resumable("buy", func(context.Context, string) (string, error) { return "", nil }), "lamp", &chttptest.Options{Process: true})
	for _, want := range []string{"there is no database", "Options.Keep"} {
		if !strings.Contains(r.text, want) {
			t.Errorf("want %q in %s", want, r.text)
		}
	}
}

func TestEachProofOfATestHasItsOwnProcesses(t *testing.T) {
	for i := range 3 {
		chttptest.Resumes(t, chttp.Resumable("buy", func(ctx context.Context, in string) (string, error) {
			return "", chttp.Run(ctx, fmt.Sprint("step ", i), func(context.Context) error { return nil })
		}), "lamp", &chttptest.Options{Process: true})
	}
}
