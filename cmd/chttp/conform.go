package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp/internal/conform"
)

type conformCommand struct {
	URL     string        `arg:"" optional:"" help:"The endpoint to test: an http or https URL."`
	Listen  string        `placeholder:"ADDR" help:"Test a client instead: be a server of many faults, here and on the next four ports."`
	Header  []string      `short:"H" sep:"none" placeholder:"'NAME: VALUE'" help:"A header field of every request; may be repeated. Credentials are not printed."`
	Other   []string      `sep:"none" placeholder:"'NAME: VALUE'" help:"The credentials of a second principal."`
	Data    *string       `short:"d" placeholder:"DATA" help:"The body, or @FILE for what is in a file. Default: a small JSON object."`
	Profile string        `enum:"auto,certified,plain" default:"auto" help:"certified, plain (Idempotency-Key alone), or auto: what the server says."`
	Rule    []string      `placeholder:"RULE" help:"Only this rule: S3, A1, §6. May be repeated."`
	Timeout time.Duration `default:"30s" help:"How long one answer may take (${default})."`
	Slow    string        `placeholder:"URL" help:"What takes a while. Default: URL?sleep=2."`
	Busy    string        `placeholder:"URL" help:"What answers 503. Default: URL?status=503."`
	Error   string        `placeholder:"URL" help:"What answers 500. Default: URL?status=500."`
	Crash   string        `placeholder:"URL" help:"What crashes. Default: URL?crash=1."`
	Also    []string      `placeholder:"URL" help:"The endpoint on another node of the same store; may be repeated."`
	Restart string        `placeholder:"COMMAND" help:"Kills the server and starts it again: run once, by sh, near the end."`
	For     time.Duration `placeholder:"DURATION" help:"With --listen: end by then. Default: when all was seen, or on Ctrl-C."`
	Quiet   time.Duration `default:"5s" help:"With --listen: how long nothing more must come after what is final (${default})."`
	Verbose bool          `short:"v" help:"Print every claim, not only those that do not hold."`
}

// Help is what follows the summary of the command.
func (*conformCommand) Help() string {
	return `Tests any implementation of the protocol, in any language, from outside, and prints a line for each of its rules:
pass, FAIL with a shell script that shows it again, not offered with what is missing, not seen where it cannot be.

A server is tested through one endpoint. It must
  - take a POST of any body, and answer it with a status below 400.
It had better
  - answer something else at each real execution, best with a number that counts them. Without, a second execution is not noticed.
And, for the rules about it, it may
  - take its time:         ?sleep=2 in the query, in seconds, or --slow URL
  - be busy:               ?status=503 answers so and does nothing, or --busy URL
  - fail:                  ?status=500 answers so, or --error URL
  - crash:                 ?crash=1 throws what nobody catches, or --crash URL
What is not there is found out, and the rules about it are not offered. Nobody else should use the endpoint meanwhile, and what it
keeps is worth nothing afterwards: give it a store of its own. A linger of 15 s or less is waited for.

A client is tested by sending its messages to --listen ADDR: one to each of the URLs that are printed, or several to the root of each
address, every message with a body of its own.

Examples:
  chttp conform http://localhost:8080/orders
  chttp conform http://localhost:8080/orders -H 'Authorization: Bearer ann' --other 'Authorization: Bearer ben'
  chttp conform http://localhost:8080/orders --restart 'kill -9 $(cat pid); ./start'
  chttp conform http://localhost:8080/orders --profile plain --json
  chttp conform --listen 127.0.0.1:7070 --for 60s

Exit status: 0 nothing failed; 1 a rule is broken, or nothing could be tested; 2 the command is wrong. See docs/conformance.md.`
}

const conformHelp = "chttp conform --help"

// Run tests a server or a client.
func (f *conformCommand) Run(ctx context.Context, c *console) error {
	switch {
	case f.URL == "" && f.Listen == "":
		return usage(errors.New("give the URL of a server to test, or --listen ADDR for a client"), conformHelp)
	case f.URL != "" && f.Listen != "":
		return usage(errors.New("a server is tested by its URL, a client with --listen: give one of them"), conformHelp)
	case f.Timeout <= 0 || f.Quiet <= 0 || f.For < 0:
		return usage(errors.New("--timeout, --quiet and --for must be positive"), conformHelp)
	case f.Listen != "":
		return f.client(ctx, c)
	}
	return f.server(ctx, c)
}

// mistaken makes of an error of package conform one of the command line, if it is about what was typed.
func mistaken(err error) error {
	var o *conform.OptionError
	if errors.As(err, &o) {
		return usage(err, conformHelp)
	}
	return err
}

func (f *conformCommand) server(ctx context.Context, c *console) error {
	o := conform.Options{
		URL: f.URL, Slow: f.Slow, Busy: f.Busy, Error: f.Error, Crash: f.Crash, Also: f.Also, Profile: f.Profile, Rules: f.Rule, Timeout: f.Timeout,
	}
	var err error
	if o.Header, err = fields(f.Header); err != nil {
		return err
	}
	if o.Other, err = fields(f.Other); err != nil {
		return err
	}
	if f.Data != nil {
		if o.Body, err = bodyOf(*f.Data); err != nil {
			return usage(err, conformHelp)
		}
		if !json.Valid(o.Body) && o.Header.Get("Content-Type") == "" {
			o.Header.Set("Content-Type", "text/plain; charset=utf-8")
		}
	}
	if f.Restart != "" {
		o.Restart = func(ctx context.Context) error { return shell(ctx, c, f.Restart) }
	}
	live := newLiveLine(c.err, c.errTerm, time.Hour)
	found := 0
	o.Found = func(x conform.Finding) {
		found++
		live.show(fmt.Sprintf("%d claims tested, the last %s: %s", found, x.Rule, x.Claim))
	}
	rep, err := conform.Server(ctx, o)
	live.clear()
	if err != nil {
		return mistaken(err)
	}
	return f.tell(c, rep)
}

// fields reads header fields as they are typed.
func fields(typed []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range typed {
		name, value, found := strings.Cut(line, ":")
		name, value = http.CanonicalHeaderKey(name), strings.TrimSpace(value)
		switch _, taken := reserved[name]; {
		case !found || !token(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return nil, usage(fmt.Errorf("%q is not a header field", line), "-H 'Name: value'")
		case taken:
			return nil, usage(fmt.Errorf("%s is what is tested, and set by chttp", name), conformHelp)
		}
		h.Add(name, value)
	}
	return h, nil
}

// bodyOf returns the body that is typed: itself, or @ and the name of a file.
func bodyOf(data string) ([]byte, error) {
	if name, ok := strings.CutPrefix(data, "@"); ok {
		return os.ReadFile(name)
	}
	return []byte(data), nil
}

// shell runs a command line. What it leaves running in the background is let be.
func shell(ctx context.Context, c *console, line string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Stdout, cmd.Stderr = c.err, c.err
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// places is what a client is to send to, in JSON.
type places struct {
	Places []conform.Place `json:"places"`
}

func (f *conformCommand) client(ctx context.Context, c *console) error {
	o := conform.ListenOptions{Addr: f.Listen, Rules: f.Rule, Quiet: f.Quiet}
	o.Found = func(x conform.Finding) {
		if c.json {
			_ = c.document(x)
			return
		}
		printClaim(c, &x, "")
	}
	l, err := conform.Listen(o)
	if err != nil {
		return mistaken(err)
	}
	if f.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.For)
		defer cancel()
	}
	if c.json {
		if err := c.document(places{l.Places()}); err != nil {
			return err
		}
	} else {
		f.guide(c, l.Places())
	}
	rep, err := l.Run(ctx)
	if err != nil {
		return err
	}
	return f.tell(c, rep)
}

// guide says what the client is to do.
func (f *conformCommand) guide(c *console, list []conform.Place) {
	c.printf("Send one message, by POST, to each of these, every one with a body of its own:\n\n")
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{"  " + p.URL, "it " + p.Does})
	}
	table(c.out, rows)
	until := "Ends when all is seen; Ctrl-C ends it before."
	if f.For > 0 {
		until = fmt.Sprintf("Ends when all is seen, or after %v.", f.For)
	}
	c.printf("\nOr send several to the root of each address. %s\n\n", until)
}
