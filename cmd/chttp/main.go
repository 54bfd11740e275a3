// Command chttp sends certified messages from a shell, looks into the files in which nodes keep them, and shows with a demonstration
// what they are good for.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

type commands struct {
	JSON bool `help:"Print for machines: JSON, one document or one line a record."`

	Demo    demoCommand    `cmd:"" help:"Show it: 1,000 purchases under kill -9 and a bad network, and an audit."`
	Send    sendCommand    `cmd:"" help:"Send messages, each exactly once, and wait until they are answered."`
	Ls      lsCommand      `cmd:"" help:"List what a file holds: messages, requests, executions."`
	Show    showCommand    `cmd:"" help:"Show one of them in full: what it began with, did and ended with."`
	Export  exportCommand  `cmd:"" help:"Write executions with their oplogs to a file, for chttptest.Replay."`
	Retry   retryCommand   `cmd:"" help:"Let what is parked, or a message that failed, be tried again."`
	Resume  resumeCommand  `cmd:"" help:"Send again to a peer that was paused."`
	Conform conformCommand `cmd:"" help:"Test a server or a client, of any make, by the rules of the protocol."`
	Version versionCommand `cmd:"" help:"Print the version."`

	EscrowParty partyCommand `cmd:"" hidden:"" help:"Be a party of the demonstration."`
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c commands
	out := newConsole(os.Stdin, os.Stdout, os.Stderr)
	parser, err := kong.New(&c,
		kong.Name("chttp"),
		kong.Description("Certified HTTP: both ends of a plain HTTP call get a durable memory.\n\nBegin with:  chttp demo"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
	)
	if err != nil {
		panic(err) // our own grammar
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		return out.fail(usage(err, "chttp "+command(err)+"--help"))
	}
	out.json = c.JSON
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	return out.fail(k.Run(out))
}

// command returns the command that a line which could not be parsed got to, and a space.
func command(err error) string {
	var p *kong.ParseError
	if !errors.As(err, &p) || p.Context.Selected() == nil {
		return ""
	}
	return p.Context.Selected().Name + " "
}

// A failure is an error with what to type next and the exit status.
type failure struct {
	err    error
	next   string // "" if there is nothing to type
	status int
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usage makes err one of the command line.
func usage(err error, next string) error { return &failure{err, next, exitUsage} }

// advise adds what to type next to err.
func advise(err error, next string) error { return &failure{err, next, exitFailed} }

// errFailed ends a command that has said already what is wrong.
var errFailed = errors.New("")

// console is where a command reads and writes.
type console struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	outTerm  terminal
	errTerm  terminal
}

func newConsole(in, out, err *os.File) *console {
	return &console{in: in, out: out, err: err, outTerm: newTerminal(out), errTerm: newTerminal(err)}
}

// fail reports err, if there is one, and returns the exit status.
func (c *console) fail(err error) int {
	if err == nil {
		return exitOK
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{err: err, status: exitFailed}
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintf(c.err, "chttp: %v\n", f.err)
	}
	if f.next != "" {
		fmt.Fprintf(c.err, "Try:   %s\n", f.next)
	}
	return f.status
}

func (c *console) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// document prints v as JSON.
func (c *console) document(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
