package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/certifiedhttp/chttp/examples/escrow"
)

// partyCommand is what the supervisor of the demonstration starts.
type partyCommand struct {
	Config  string `arg:"" help:"The file that describes the party, as JSON."`
	Listen  string `default:"127.0.0.1:0" help:"Where to listen (${default})."`
	Address string `placeholder:"FILE" help:"Write where to this file, instead of to the output."`
}

// Run is the party until it is asked to end. Under a supervisor, which reads the address, it also ends when its standard input does: that
// is the supervisor's death.
func (p *partyCommand) Run(ctx context.Context, c *console) error {
	b, err := os.ReadFile(p.Config)
	if err != nil {
		return err
	}
	var party escrow.Party
	if err := json.Unmarshal(b, &party); err != nil {
		return fmt.Errorf("%s: %w", p.Config, err)
	}
	party.Logger = slog.New(slog.NewTextHandler(c.err, nil))
	l, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if p.Address != "" {
		if err := os.WriteFile(p.Address, []byte(l.Addr().String()+"\n"), 0o600); err != nil {
			return err
		}
	} else {
		go func() {
			io.Copy(io.Discard, c.in)
			stop()
		}()
		c.printf("%s\n", l.Addr())
	}
	return party.Run(ctx, l)
}
