package chttptest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/export"
	"github.com/certifiedhttp/chttp/store"
)

// Replay runs today's code over the executions in a file that chttp export has made of a node's store, each in a subtest of its own. An
// execution that had ended must make the same operations again and come to the same outcome, byte for byte; one that had not, as far as
// its oplog goes. Where today's code goes another way, the subtest fails and shows what is recorded, what is done now, and the line that
// does it. So what once ran in production is a test: of changes to a function that must be able to go on with what is in flight, and of
// changes that are to change nothing.
//
//	func TestOrders(t *testing.T) {
//		chttptest.Replay(t, "testdata/orders.ndjson", func(n *chttp.Node) {
//			n.Register(buy, refund)
//			n.Handler("shop", shop(), &chttp.HandlerOptions{Principal: caller})
//		}, nil)
//	}
//
// register is called once; it registers what the node that was recorded had registered, under the same names. o are the node's options: what
// has a part in what is recorded, such as Codec, Errors, Failed and MaxValue, must be as it was there. Default: nil, the defaults.
//
// Nothing is sent, and nothing is stored: operations give what is recorded. What functions do outside of operations, they do here too. In
// a testing/synctest bubble, where a test has no subtests, it fails the test itself.
func Replay(t TB, file string, register func(n *chttp.Node), o *chttp.Options) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := export.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	p, err := newPlayer(t, register, o)
	if err != nil {
		t.Fatal(err)
	}
	subtests := !bubbled(t)
	for n := 0; ; n++ {
		x, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return
		case errors.Is(err, io.EOF):
			t.Fatalf("%s holds no executions, and so it proves nothing; chttp export writes some", file)
		case err != nil:
			t.Fatalf("%s: %v", file, err)
		case subtests:
			t.Run(nameOf(x), func(t *testing.T) {
				if err := p.play(t.Context(), x); err != nil {
					t.Error(err)
				}
			})
		default:
			if err := p.play(t.Context(), x); err != nil {
				t.Errorf("%s: %v", nameOf(x), err)
			}
		}
	}
}

// nameOf names an execution as its subtest.
func nameOf(x *export.Execution) string {
	if x.Scope != "" {
		return x.Scope + "/" + x.ID // the scope of a request is its handler and its caller
	}
	return x.Function + "/" + x.ID
}

// bubbled tells whether t is the test of a bubble. Such a one has neither subtests nor a deadline.
func bubbled(t TB) (in bool) {
	d, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return false
	}
	defer func() { in = recover() != nil }()
	d.Deadline()
	return false
}

// player is a node whose store holds one execution at a time.
type player struct {
	node *chttp.Node
	tape tape
}

func newPlayer(t TB, register func(n *chttp.Node), o *chttp.Options) (*player, error) {
	var opt chttp.Options
	if o != nil {
		opt = *o
	}
	opt.Transport = unplugged{}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	p := new(player)
	var err error
	if p.node, err = chttp.New(&p.tape, &opt); err == nil && register != nil {
		register(p.node)
	}
	return p, err
}

// play replays an execution, and returns how it differs from what is recorded.
func (p *player) play(ctx context.Context, x *export.Execution) error {
	p.tape.insert(x)
	err := p.node.CheckReplay(ctx)
	if e := (*chttp.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// unplugged is the transport of a node that sends nothing.
type unplugged struct{}

// RoundTrip implements http.RoundTripper.
func (unplugged) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("a replay sends nothing")
}

// tape is a store that is open for reading and holds one execution, whatever its state: List returns it although a query asks for others.
type tape struct {
	mu sync.Mutex // guards x
	x  *export.Execution
}

var _ store.Store = (*tape)(nil)

func (s *tape) insert(x *export.Execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x = x
}

func (s *tape) execution() *export.Execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.x
}

// Join implements store.Store. The secret of the store that was recorded is not in a file, and derives nothing that a replay needs.
func (s *tape) Join(context.Context, int64) (store.Identity, error) {
	return store.Identity{Store: "replay", Secret: make([]byte, 32)}, store.ErrReadOnly
}

// Commit implements store.Store.
func (s *tape) Commit(context.Context, *store.Batch) (*store.Report, error) {
	return nil, store.ErrReadOnly
}

// Read implements store.Store.
func (s *tape) Read(_ context.Context, key store.Key) (*store.Record, error) {
	x := s.execution()
	if x == nil || x.Key != key {
		return nil, store.ErrNotFound
	}
	r := x.Record
	return &r, nil
}

// Chunks implements store.Store.
func (s *tape) Chunks(_ context.Context, key store.Key) ([]store.Chunk, error) {
	x := s.execution()
	if x == nil || x.Key != key {
		return nil, nil
	}
	return x.Chunks, nil
}

// List implements store.Store.
func (s *tape) List(_ context.Context, q store.Query) ([]*store.Record, error) {
	x := s.execution()
	if x == nil || q.After != (store.Key{}) {
		return nil, nil
	}
	r := x.Record
	return []*store.Record{&r}, nil
}

// Due implements store.Store.
func (s *tape) Due(context.Context, store.Cursor, int) ([]*store.Record, error) { return nil, nil }

// Facts implements store.Store.
func (s *tape) Facts(context.Context) ([]store.Fact, error) { return nil, nil }

// Close implements store.Store.
func (s *tape) Close() error { return nil }
