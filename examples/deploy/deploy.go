// Package deploy is a small shop whose orders take long, and how its next version is checked against those that are in flight: the
// directories beside it are the shop's first version, a second one that can go on with its orders, and one that cannot. docs/deploying.md
// tells the rules.
package deploy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

// Order is what the shop's function is given.
type Order struct {
	ID string
}

// Shop is the world outside: what is paid, what is sent.
type Shop struct {
	dir string
}

// Note notes that something was done for an order, in a file.
func (s Shop) Note(what string, o Order) error {
	return os.WriteFile(filepath.Join(s.dir, o.ID+"."+what), nil, 0o600)
}

// Paid tells whether an order is paid: there is a file that says so.
func (s Shop) Paid(o Order) (bool, error) {
	_, err := os.Stat(filepath.Join(s.dir, o.ID+".paid"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Main is the program: it begins the orders that are its arguments and works on all that are in flight, until it is told to end. With
// -check it only says whether it could.
func Main(order func(Shop) *chttp.Function[Order, string]) {
	db := flag.String("db", "shop.db", "the file of the shop's node")
	dry := flag.Bool("check", false, "only say whether this version can go on with what is in flight; the version that runs is not disturbed")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fn := order(Shop{filepath.Dir(*db)})
	register := func(n *chttp.Node) { n.Register(fn) }
	if *dry {
		if err := check(ctx, *db, register); err != nil {
			log.Fatalf("this version cannot go on with what is in flight:\n%v", err)
		}
		fmt.Println("This version can go on with what is in flight.")
		return
	}
	if err := serve(ctx, *db, register, func(n *chttp.Node) error {
		for _, id := range flag.Args() {
			if _, err := fn.Start(ctx, n, id, Order{ID: id}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		log.Fatal(err)
	}
}

// check is nil when this program can go on with what is in flight in the store at path, whether or not another process has it open.
func check(ctx context.Context, path string, register func(*chttp.Node)) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // The first version has nothing to go on with.
	}
	st, err := sqlitestore.OpenReader(path)
	if err != nil {
		return err
	}
	defer st.Close()
	n, err := chttp.New(st, nil) // It looks, and does nothing else.
	if err != nil {
		return err
	}
	register(n)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return n.CheckReplay(ctx)
}

// serve runs the node of the store at path until ctx ends, after begin.
func serve(ctx context.Context, path string, register func(*chttp.Node), begin func(*chttp.Node) error) error {
	st, err := sqlitestore.Open(path)
	if err != nil {
		return err
	}
	defer st.Close()
	n, err := chttp.New(st, nil)
	if err != nil {
		return err
	}
	register(n)
	if err := begin(n); err != nil {
		return err
	}
	return n.Run(ctx)
}
