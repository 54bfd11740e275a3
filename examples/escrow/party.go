package escrow

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

// The parties.
const (
	Bank      = "bank"
	Shop      = "shop"
	TheEscrow = "escrow"
)

// Parties are all of them, in the order in which their part comes.
var Parties = []string{Bank, Shop, TheEscrow}

const (
	// bookTries is how often a step of the ledger is tried, with back-off, before its error becomes its result.
	bookTries = 10

	// inFlight is how many calls the escrow has under way at each of the others.
	inFlight = 64

	// goodbye is how long a party that is asked to end lets requests under way finish.
	goodbye = 2 * time.Second
)

// Party is one of the three processes.
type Party struct {
	Name    string            `json:"name"`
	File    string            `json:"file"`    // the store and the ledger
	Peers   map[string]string `json:"peers"`   // URLs of the others, by name
	Secret  string            `json:"secret"`  // with which they know each other
	Opening []Account         `json:"opening"` // made once

	Logger *slog.Logger `json:"-"` // Default: slog.Default()
}

// Run is the party: it serves l and does what it has accepted, until ctx ends. It takes up what an earlier Run on the same file left
// unfinished, however that ended.
func (p *Party) Run(ctx context.Context, l net.Listener) error {
	st, err := sqlitestore.Open(p.File)
	if err != nil {
		return err
	}
	defer st.Close()
	ledger, err := OpenLedger(ctx, p.File, p.Opening)
	if err != nil {
		return err
	}
	defer ledger.Close()
	node, err := chttp.New(st, &chttp.Options{
		Destination: p.destination,
		Policy:      chttp.Policy{Attempts: bookTries},
		Logger:      p.Logger,
	})
	if err != nil {
		return err
	}
	app, err := p.routes(node, ledger)
	if err != nil {
		return err
	}
	return serve(ctx, l, node, node.Handler(p.Name, app, &chttp.HandlerOptions{RequireKey: true, Principal: p.principal}))
}

func (p *Party) routes(node *chttp.Node, ledger *Ledger) (http.Handler, error) {
	switch p.Name {
	case Bank:
		return bankRoutes(ledger), nil
	case Shop:
		return shopRoutes(ledger), nil
	case TheEscrow:
		return newEscrow(node, ledger, p.Peers[Bank], p.Peers[Shop]).routes(), nil
	}
	return nil, fmt.Errorf("there is no party %q; name one of %q", p.Name, Parties)
}

// principal tells who calls. Ids are looked up within what one caller has sent: nobody meets another's messages.
func (p *Party) principal(r *http.Request) (string, error) {
	name, secret, _ := r.BasicAuth()
	if name == "" || subtle.ConstantTimeCompare([]byte(secret), []byte(p.Secret)) != 1 {
		return "", errors.New("say who you are, with the secret of the parties, in basic authentication")
	}
	return name, nil
}

// destination says how this party calls the others. Credentials are made afresh for each attempt and never stored.
func (p *Party) destination(context.Context, *http.Request) (chttp.Destination, error) {
	return chttp.Destination{
		Concurrency: inFlight,
		Authorize: func(req *http.Request) error {
			req.SetBasicAuth(p.Name, p.Secret)
			return nil
		},
	}, nil
}

// serve runs the node and its server until ctx ends or one of them cannot go on.
func serve(ctx context.Context, l net.Listener, node *chttp.Node, h http.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	var ran, served error
	wg.Go(func() { defer stop(); ran = node.Run(ctx) })
	wg.Go(func() { defer stop(); served = srv.Serve(l) })
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if srv.Shutdown(closing) != nil {
		srv.Close()
	}
	wg.Wait()
	if errors.Is(served, http.ErrServerClosed) {
		served = nil
	}
	return errors.Join(ran, served)
}
