package chttptest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
)

// Defaults of Options.
const (
	defaultPairs    = 100
	defaultSingles  = 400
	defaultPatience = time.Minute
)

// TB is a *testing.T, or what embeds one.
type TB interface {
	testing.TB
	Run(name string, f func(*testing.T)) bool
}

// Options of Resumes and ResumesHandler. The zero value is ready to use for functions that call nobody.
type Options struct {
	// Peers answer what the function sends. Default: none; a request to a host that is no peer fails the test.
	Peers []Peer

	// Setup makes anew what a crash of the function's process does not touch: fakes of databases and of others' services, and what
	// handlers of Peers remember. It is called before every run, in the bubble of that run; t.Cleanup ends with the run. Default: nothing.
	Setup func(t testing.TB)

	// Fresh rebuilds what a crash destroys: package variables, caches, connections, and the variable that holds the node, if the function uses
	// one. It is called at the beginning of every life of the process, before the function runs; t.Cleanup ends with the run.
	// Default: nothing.
	Fresh func(t testing.TB, n *chttp.Node)

	// Effects returns what the test's own fakes have seen: it must be the same at the end of every run, compared with reflect.DeepEqual. So a step
	// is found that does its effect again when a crash leaves it unknown whether it was had. Default: not compared.
	Effects func() any

	// Process lets the process really die: the test binary is executed again for every life, so that package variables and what
	// closures hold are gone, and environment variables are others. Peers answer from what is recorded there. Default: lives of one
	// process.
	Process bool

	// Keep names environment variables that are part of the input, beside PATH, HOME, TMPDIR, USER, LANG, LC_*, TZ, CI and GO*. Every other
	// has another value in each process of Process. Default: none.
	Keep []string

	// Singles is how many single crashes are tried; of more, a sample. Negative: none. Default: 400.
	Singles int

	// Pairs is how many pairs of crashes are tried, the second in the recovery from the first; of more, a sample. Negative: none. Default: 100.
	Pairs int

	// Seed draws the samples: with another, others. Default: 1.
	Seed uint64

	// Only does the undisturbed run and the run that it names, as a failure has printed it. Default: all.
	Only string

	// Patience is how long one run may take by the real clock, before the test fails and says where it hangs. Default: a minute.
	Patience time.Duration

	// Node is what the function's node is made with. Its Transport is used for hosts that are no Peers. Default: the defaults of
	// chttp.Options, and nothing is logged.
	Node *chttp.Options

	// Handler is what ResumesHandler makes the handler with. Default: every caller is the principal "tester".
	Handler *chttp.HandlerOptions

	// Functions are registered beside: those that the function starts. Default: none.
	Functions []chttp.Registrant
}

// Peer is a host that the function sends requests to. Its handler works in memory; it never crashes.
type Peer struct {
	// Host as in URLs, with the port if they have one: "bank.example".
	Host string

	// Handler answers.
	Handler http.Handler

	// Plain: it is not certified, and honours Idempotency-Key: the same key gets the same answer. Default: it is certified.
	Plain bool

	// Forgetful: it is Plain and knows nothing of keys. What it is sent again it does again. Default: it remembers.
	Forgetful bool
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Singles == 0 {
		c.Singles = defaultSingles
	}
	if c.Pairs == 0 {
		c.Pairs = defaultPairs
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	if c.Patience <= 0 {
		c.Patience = defaultPatience
	}
	return c
}

func (o *Options) validate() error {
	hosts := make(map[string]bool)
	for _, p := range o.Peers {
		switch {
		case p.Host == "" || strings.ContainsAny(p.Host, "/ "):
			return fmt.Errorf("the host of a peer is %q: it is what stands between // and / in URLs", p.Host)
		case p.Handler == nil:
			return fmt.Errorf("the peer %s has no handler", p.Host)
		case hosts[p.Host]:
			return fmt.Errorf("two peers are %s", p.Host)
		}
		hosts[p.Host] = true
	}
	return nil
}
