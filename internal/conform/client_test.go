package conform_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/conform"
	"github.com/certifiedhttp/chttp/memstore"
)

// listen has a Listener judge what comes to its places, until all scenarios are over or stop is called.
func listen(t *testing.T, o conform.ListenOptions) (places []conform.Place, over <-chan *conform.Report, stop func()) {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	l, err := conform.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	c := make(chan *conform.Report, 1)
	go func() {
		rep, err := l.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		c <- rep
	}()
	return l.Places(), c, stop
}

// judge has a Listener judge whatever send does with its places, until all is over.
func judge(t *testing.T, o conform.ListenOptions, send func(ctx context.Context, places []conform.Place)) *conform.Report {
	t.Helper()
	places, over, cancel := listen(t, o)
	defer cancel()
	ctx, stop := context.WithCancel(t.Context())
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(ctx, places)
	}()
	rep := <-over
	stop()
	<-sent
	return rep
}

// ours sends with a node of this module: to each place, or several to the root of each address.
func ours(t *testing.T, roots bool) func(context.Context, []conform.Place) {
	return func(ctx context.Context, places []conform.Place) {
		node, err := chttp.New(memstore.New(), &chttp.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Error(err)
			return
		}
		for i, p := range places {
			url := p.URL
			if roots {
				url = url[:strings.LastIndex(url, "/")] + "/"
			}
			req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(fmt.Sprintf(`{"message":%d}`, i)))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			if _, err := node.Send(ctx, req); err != nil {
				t.Error(err)
			}
		}
		if err := node.Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestOurClientKeepsEveryRule(t *testing.T) {
	t.Parallel()
	for name, roots := range map[string]bool{"a message to each place": false, "all messages to one path": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found int
			rep := judge(t, conform.ListenOptions{
				Quiet: 2 * time.Second, Patience: 10 * time.Second, Found: func(conform.Finding) { found++ },
			}, ours(t, roots))
			for _, l := range rep.Lines {
				if hidden := slices.Contains([]string{"C3", "C6", "C7"}, l.Rule); hidden != (l.Verdict == conform.NotSeen) {
					t.Errorf("%s: %s", l.Rule, l.Verdict)
				}
				for _, f := range l.Findings {
					rides := !roots && f.Rule == "A1" && f.Verdict == conform.NotSeen // each message to a path of its own
					if f.Verdict != conform.Pass && !rides {
						t.Errorf("%s %s: %s, %s\n%s", f.Rule, f.Claim, f.Verdict, f.Why, f.Seen)
					}
				}
			}
			if found < 20 {
				t.Errorf("was told of %d findings, want one for each scenario at the least", found)
			}
		})
	}
}
