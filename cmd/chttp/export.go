package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/certifiedhttp/chttp/internal/export"
	"github.com/certifiedhttp/chttp/store"
)

// exportCommand writes executions with their oplogs to a file.
type exportCommand struct {
	File     string   `arg:"" name:"store-file" help:"The file of a node. It may be in use."`
	Out      string   `default:"-" placeholder:"FILE" help:"Where to write. An earlier export there is replaced. - is standard output (${default})."`
	Function string   `placeholder:"NAME" help:"Only executions of this function or handler."`
	State    []string `placeholder:"STATE" help:"Only what is so: running, waiting, parked, answered, canceled. Several, with commas between."`
	ID       string   `name:"id" placeholder:"ID" help:"Only what has this id."`
	Limit    int      `help:"At most so many; 0 for all (${default})." default:"0"`
}

// Help is what follows the summary of the command.
func (*exportCommand) Help() string {
	return `Writes executions of functions and handlers, with what they began with, each operation that they recorded, and what they ended with: lines of
JSON to review, to compare, and to keep beside the code. In a test, chttptest.Replay runs today's code over them and says where it goes
another way. The process of the node may run meanwhile: each execution is written as it was at one instant.

What executions were given and what they were answered is in it, inputs, requests, bodies and recorded values, with whatever secrets these
hold: look before you share it. The node's own secret is not, nor are credentials of requests, which no node stores. Messages that were sent and forgotten,
and outcomes that were acknowledged, are left out: there is nothing to replay.

Examples:
  chttp export shop.db --function buy --limit 100 --out testdata/buy.ndjson
  chttp export shop.db --state running,waiting --out testdata/in-flight.ndjson
  chttp export shop.db --id order-42`
}

// functionSend is the built-in function of messages that were sent and forgotten.
const functionSend = "chttp.send"

// errEnough ends a list.
var errEnough = errors.New("enough")

// Run exports.
func (e *exportCommand) Run(ctx context.Context, c *console) error {
	q := store.Query{ID: e.ID, Function: e.Function}
	for _, name := range e.State {
		state, err := parseState(name)
		if err != nil {
			return usage(err, "chttp export --help")
		}
		q.States = append(q.States, state)
	}
	if e.Limit < 0 {
		return usage(errors.New("--limit is negative"), "chttp export --help")
	}
	st, err := lookInto(e.File)
	if err != nil {
		return err
	}
	defer st.Close()
	n := 0
	write := func(w io.Writer) (err error) {
		n, err = e.write(ctx, c, st, q, w)
		return err
	}
	if e.Out == "-" {
		err = write(c.out)
	} else {
		err = replaceFile(e.Out, write)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return &failure{errors.New("interrupted; nothing was written"), "", exitInterrupted}
	case err != nil:
		return err
	case e.Out == "-":
		return nil
	case c.json:
		return c.document(map[string]any{"file": e.Out, "executions": n})
	}
	c.printf("%s in %s. What they were given and answered is in it: look before you share it.\n", executions(n), e.Out)
	return nil
}

// write writes what q selects to w, and returns how many executions that are.
func (e *exportCommand) write(ctx context.Context, c *console, st store.Store, q store.Query, w io.Writer) (n int, err error) {
	out, err := export.NewWriter(w)
	if err != nil {
		return 0, err
	}
	line := newLiveLine(c.err, c.errTerm, plainEvery)
	defer line.clear()
	quiet := time.Now().Add(time.Second) // What is quick needs no progress.
	_, err = eachRecord(ctx, st, q, 0, func(r *store.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Function == functionSend {
			return nil
		}
		if e.Limit > 0 && n == e.Limit {
			return errEnough
		}
		x, err := export.Take(ctx, st, r)
		if x == nil || err != nil {
			return err
		}
		if n++; n%100 == 0 && time.Now().After(quiet) {
			line.show(executions(n) + " so far")
		}
		return out.Write(x)
	})
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return n, err
	case n == 0:
		return 0, advise(fmt.Errorf("%s has no such executions to replay", e.File), "chttp ls --limit 0 --db "+e.File)
	}
	return n, out.Close()
}

func executions(n int) string {
	if n == 1 {
		return "1 execution"
	}
	return count(n) + " executions"
}

// replaceFile makes of what write writes the file at path, or leaves there what was there. Of what is there it replaces only an export.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	if err := replaceable(path); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// replaceable is nil when nothing is lost with what is at path.
func replaceable(path string) error {
	there, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !there.Mode().IsRegular():
		return advise(fmt.Errorf("%s is there, and no file", path), "chttp export STORE-FILE --out OTHER, or > "+path)
	case there.Size() == 0:
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := export.NewReader(f); errors.Is(err, export.ErrFormat) {
		return advise(fmt.Errorf("%s is there, and it is no export of this version: it is not replaced", path), "chttp export STORE-FILE --out OTHER")
	}
	return err
}
