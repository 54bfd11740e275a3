package chttptest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
	"github.com/certifiedhttp/chttp/internal/export"
	oplog "github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

var record = flag.Bool("record", false, "record testdata/replay/v1.ndjson anew; only for a new version of the format")

const recording = "testdata/replay/v1.ndjson"

// errSoldOut is one of recordedOptions' sentinels.
var errSoldOut = errors.New("sold out")

// recordedOptions are those of the node that was recorded.
func recordedOptions() *chttp.Options {
	return &chttp.Options{
		Logger:    slog.New(slog.DiscardHandler),
		Errors:    []error{errSoldOut},
		Transport: teller{},
		Failed: func(ctx context.Context, m chttp.Info) error {
			return chttp.Run(ctx, "tell "+m.ID, func(context.Context) error { return nil })
		},
	}
}

// teller answers every request; it is a plain server.
type teller struct{}

func (teller) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	w := httptest.NewRecorder()
	if r.URL.Path == "/refuses" {
		w.WriteHeader(http.StatusForbidden)
	}
	fmt.Fprintf(w, "done by the bank: %s", r.URL.Path)
	return w.Result(), nil
}

// shop is functions and a handler that make every kind of operation.
type shop struct {
	price func(ctx context.Context) int // what a change changes
	buy   *chttp.Function[string, string]
	gift  *chttp.Function[int, int]
	part  *chttp.Function[int, int]
	node  *chttp.Node
}

func newShop() *shop {
	s := &shop{}
	s.price = func(ctx context.Context) int { return chttp.Persist(ctx, "price", func() int { return 7 }) }
	s.gift = chttp.Resumable("gift", func(ctx context.Context, n int) (int, error) { return n + 1, chttp.Sleep(ctx, time.Second) })
	s.part = chttp.Resumable("part", func(ctx context.Context, n int) (int, error) { return n * s.price(ctx), nil })
	s.buy = chttp.Resumable("buy", s.sell)
	return s
}

func (s *shop) sell(ctx context.Context, what string) (string, error) {
	price := s.price(ctx)
	_ = chttp.Now(ctx)
	side := chttp.Go(ctx, "side", func(ctx context.Context) (int, error) { return s.part.Call(ctx, price) })
	if err := chttp.Run(ctx, "reserve", func(context.Context) error {
		if what == "nothing" {
			return fmt.Errorf("no %s: %w", what, errSoldOut)
		}
		return nil
	}); err != nil {
		_, _ = side.Wait(ctx)
		return "", err
	}
	paid, err := chttp.Post(ctx, "http://bank.example/pay?for="+what, "text/plain", strings.NewReader(what))
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(paid.Body)
	if err != nil {
		return "", err
	}
	for _, path := range []string{"news", "refuses"} {
		if _, err := s.node.Put(ctx, "http://bank.example/"+path, "text/plain", strings.NewReader(what)); err != nil {
			return "", err
		}
	}
	gift, err := s.gift.Start(ctx, s.node, "", price)
	if err != nil {
		return "", err
	}
	more, err := gift.Wait(ctx)
	if err != nil {
		return "", err
	}
	info, err := s.node.Lookup(ctx, gift.ID())
	if err != nil {
		return "", err
	}
	if err := gift.Cancel(ctx, "it is over"); err != nil {
		return "", err
	}
	if what == "for ever" {
		return "", chttp.Sleep(ctx, 1000*time.Hour)
	}
	double, err := side.Wait(ctx)
	return fmt.Sprint(string(body), more, info.State, double), err
}

// register registers everything with n.
func (s *shop) register(n *chttp.Node) {
	s.node = n
	n.Register(s.buy, s.gift)
	_ = s.handler(n)
}

func (s *shop) handler(n *chttp.Node) http.Handler {
	return n.Handler("shop", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Price", fmt.Sprint(s.price(r.Context())))
		fmt.Fprintf(w, "%s %s", r.Method, what)
	}), &chttp.HandlerOptions{Principal: func(*http.Request) (string, error) { return "ann", nil }})
}

// live runs the shop until everything is done that will be, and returns what it has in its store.
func (s *shop) live(t *testing.T) (list []*export.Execution) {
	t.Helper()
	st := memstore.New()
	o := recordedOptions()
	n, err := chttp.New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	s.node = n
	n.Register(s.buy, s.gift)
	h := s.handler(n)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- n.Run(ctx) }()
	synctest.Wait()
	for _, what := range []string{"lamp", "nothing", "for ever", "canceled"} {
		if _, err := s.buy.Start(ctx, n, strings.ReplaceAll(what, " ", "-"), what); err != nil {
			t.Fatal(err)
		}
	}
	r := httptest.NewRequest("POST", "/buy", strings.NewReader("a chair"))
	r.Header.Set("Idempotency-Key", `"chair"`)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if e, err := s.buy.Attach(ctx, n, "canceled"); err != nil || e.Cancel(ctx, "enough") != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
	cancel()
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	records, err := st.List(t.Context(), store.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		x, err := export.Take(t.Context(), st, r)
		if err != nil {
			t.Fatal(err)
		}
		if r.Function != "chttp.send" {
			list = append(list, x)
		}
	}
	return list
}

// file writes executions to a file.
func file(t *testing.T, path string, list ...*export.Execution) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := export.NewWriter(f)
	for _, x := range list {
		if err == nil {
			err = w.Write(x)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatVersion1RecordedStaysReplayable keeps users' recordings good: it was made once, and every later version of this module must
// replay it.
func TestWhatVersion1RecordedStaysReplayable(t *testing.T) {
	if *record {
		synctest.Test(t, func(t *testing.T) { file(t, recording, newShop().live(t)...) })
	}
	t.Run("outside of a bubble", func(t *testing.T) { chttptest.Replay(t, recording, newShop().register, recordedOptions()) })
	t.Run("in a bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { chttptest.Replay(t, recording, newShop().register, recordedOptions()) })
	})
}

func TestWhatIsRecordedNowIsReplayable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chttptest.Replay(t, file(t, filepath.Join(t.TempDir(), "f"), newShop().live(t)...), newShop().register, recordedOptions())
	})
}

// TestEveryCrashOfARecordingIsReplayable replays every beginning of every oplog, as a crash would have left it: with the code that was
// recorded, and with code that has one operation more.
func TestEveryCrashOfARecordingIsReplayable(t *testing.T) {
	taxed := newShop()
	price := taxed.price
	taxed.price = func(ctx context.Context) int { return price(ctx) + chttp.Persist(ctx, "tax", func() int { return 0 }) }
	crashes := 0
	for _, x := range readAll(t, recording) {
		var all []oplog.Entry
		for _, c := range x.Chunks {
			entries, err := oplog.ParseEntries(c.Data)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, entries...)
		}
		for n := range len(all) + 1 {
			crashed := *x
			crashed.State, crashed.Tail, crashed.Oplog, crashed.Version, crashed.Chunks = store.Running, nil, nil, 2, nil
			var chunk []byte
			breaks := false // what is behind price is there
			for i := range all[:n] {
				chunk = oplog.AppendEntry(chunk, &all[i])
				breaks = breaks || all[i].Name == "now" || all[i].Phase == oplog.End && strings.HasSuffix(all[i].Scope, ":side")
			}
			if n > 0 {
				crashed.Chunks = []store.Chunk{{Number: 2, Data: chunk}}
			}
			path := file(t, filepath.Join(t.TempDir(), "f"), &crashed)
			if text := replayed(t, path, newShop().register, recordedOptions()); text != "" {
				t.Errorf("%s after %d entries: %s", x.ID, n, text)
			}
			if text := replayed(t, path, taxed.register, recordedOptions()); (text != "") != breaks {
				t.Errorf("%s after %d entries, with another operation: got %q, want an error: %v", x.ID, n, text, breaks)
			}
			crashes++
		}
	}
	if crashes < 50 {
		t.Errorf("there were %d crashes", crashes)
	}
}

// readAll reads a file.
func readAll(t *testing.T, path string) (list []*export.Execution) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := export.NewReader(f)
	for err == nil {
		var x *export.Execution
		if x, err = r.Next(); err == nil {
			list = append(list, x)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return list
}

// replayed is what Replay says in a bubble.
func replayed(t *testing.T, path string, register func(*chttp.Node), o *chttp.Options) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{T: t}
		chttptest.Replay(r, path, register, o)
		text = r.text
	})
	return text
}

func TestReplayNamesEachExecutionThatTodaysCodeBreaks(t *testing.T) {
	s := newShop()
	price := s.price
	s.price = func(ctx context.Context) int {
		n := price(ctx)
		return n + chttp.Persist(ctx, "tax", func() int { return 1 })
	}
	text := replayed(t, recording, s.register, recordedOptions())
	for _, want := range []string{
		"buy/lamp: the replay differs from the oplog at operation 1\n  recorded: persist \"now\"\n       now: persist \"tax\"\n        at: ", "replay_test.go:",
		"buy/nothing: ", "buy/for-ever: ", "buy/canceled: ", "shop/ann/chair: the replay differs from the oplog at operation 1\n  recorded: the function has returned",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "gift/") || strings.Contains(text, "chttp.failed/") {
		t.Errorf("names what has not changed:\n%s", text)
	}
}

func TestReplayNeedsTheOptionsOfTheNodeThatWasRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		change func(o *chttp.Options)
		want   string
	}{
		"Errors":   {func(o *chttp.Options) { o.Errors = nil }, "buy/nothing: the replay ends otherwise"},
		"Failed":   {func(o *chttp.Options) { o.Failed = nil }, "chttp.failed/failed/"},
		"Codec":    {func(o *chttp.Options) { o.Codec = noCodec{} }, "buy/lamp: the stored input"},
		"MaxValue": {func(o *chttp.Options) { o.MaxValue = 3 }, "buy/lamp: "},
	} {
		t.Run(name, func(t *testing.T) {
			o := recordedOptions()
			c.change(o)
			if text := replayed(t, recording, newShop().register, o); !strings.Contains(text, c.want) {
				t.Errorf("got no %q in\n%s", c.want, text)
			}
		})
	}
	if text := replayed(t, recording, nil, nil); strings.Count(text, "function not registered") < 5 {
		t.Errorf("without its functions:\n%s", text)
	}
}

// noCodec reads nothing.
type noCodec struct{}

func (noCodec) Marshal(any) ([]byte, error) { return nil, nil }
func (noCodec) Unmarshal([]byte, any) error { return errors.New("it cannot be read") }

func TestReplayHasNoEffects(t *testing.T) {
	s := newShop()
	o := recordedOptions()
	o.Transport = http.DefaultTransport
	chttptest.Replay(t, recording, func(n *chttp.Node) {
		s.register(n)
		ctx := t.Context()
		_, put := n.Put(ctx, "http://bank.example/", "text/plain", strings.NewReader("x"))
		_, start := s.buy.Start(ctx, n, "new", "x")
		for what, err := range map[string]error{"Put": put, "Start": start, "Run": n.Run(ctx)} {
			if !errors.Is(err, store.ErrReadOnly) {
				t.Errorf("%s: got %v, want %v", what, err, store.ErrReadOnly)
			}
		}
	}, o)
}

// TestReplayFails is run in a process of its own, where it may fail.
func TestReplayFails(t *testing.T) {
	dir := t.TempDir()
	cut, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cut"), cut[:len(cut)-30], 0o600); err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(dir, "empty"))
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"difference", recording, []string{
			"--- FAIL: TestInAProcessOfItsOwn/buy/lamp", "--- PASS: TestInAProcessOfItsOwn/gift/", "now: persist \"tax\"", "replay_test.go:",
			"--- FAIL: TestInAProcessOfItsOwn/shop/ann/chair",
		}},
		{"no executions", filepath.Join(dir, "empty"), []string{"holds no executions, and so it proves nothing"}},
		{"cut short", filepath.Join(dir, "cut"), []string{"--- FAIL: TestInAProcessOfItsOwn", "cut short"}},
		{"no file", filepath.Join(dir, "none"), []string{"no such file"}},
		{"something else", "replay_test.go", []string{"replay_test.go: not an export", "chttp export makes such files"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInAProcessOfItsOwn$", "-test.v")
			cmd.Env = append(os.Environ(), "CHTTPTEST_REPLAY="+c.path)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("it passes:\n%s", out)
			}
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("got no %q in\n%s", want, out)
				}
			}
		})
	}
}

// TestInAProcessOfItsOwn replays a changed shop over the file that TestReplayFails names; without one it does nothing.
func TestInAProcessOfItsOwn(t *testing.T) {
	path := os.Getenv("CHTTPTEST_REPLAY")
	if path == "" {
		return
	}
	s := newShop()
	price := s.price
	s.price = func(ctx context.Context) int { return price(ctx) + chttp.Persist(ctx, "tax", func() int { return 1 }) }
	chttptest.Replay(t, path, s.register, recordedOptions())
}
