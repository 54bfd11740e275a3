package chttptest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// node is that of the process, as programs keep it.
var node *chttp.Node

func keepNode(_ testing.TB, n *chttp.Node) { node = n }

// part is a function that others call, start and wait for.
var part = chttp.Resumable("part", func(ctx context.Context, n int) (int, error) {
	m := chttp.Persist(ctx, "m", func() int { return rand.IntN(1000) })
	if n < 0 {
		return 0, fs.ErrInvalid
	}
	if err := chttp.Sleep(ctx, 3*time.Hour); err != nil {
		return 0, err
	}
	return m, pay(ctx, fmt.Sprint("part", n, m))
})

// patient sleeps for a month.
var patient = chttp.Resumable("patient", func(ctx context.Context, _ int) (int, error) {
	return 0, chttp.Sleep(ctx, 30*24*time.Hour)
})

// sdk is a client of others' making: it has its own time-out, draws its own keys, and tries again.
func sdk(ctx context.Context, amount int) (string, error) {
	c := &http.Client{Transport: &chttp.Transport{}, Timeout: 30 * time.Second}
	var last error
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, "POST", "https://bank.example/v1/charges", strings.NewReader(fmt.Sprintf("amount=%d", amount)))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Idempotency-Key", fmt.Sprintf(`"key-of-the-sdk-%d"`, rand.Int64()))
		req.Header.Set("X-Client-Telemetry", time.Now().String())
		resp, err := c.Do(req)
		if err != nil {
			last = err
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			last = fmt.Errorf("%d %w", resp.StatusCode, err)
			continue
		}
		return string(b), nil
	}
	return "", last
}

// sound are functions that resume.
var sound = []struct {
	name string
	fn   fn
	opt  chttptest.Options
}{
	{name: "nothing", fn: func(ctx context.Context, in string) (string, error) { return in, nil }},
	{name: "values and a call", fn: func(ctx context.Context, in string) (string, error) {
		n := chttp.Persist(ctx, "n", rand.Int64)
		at := chttp.Now(ctx)
		m := chttp.Persist(ctx, "m", func() map[string]int { return map[string]int{"a": 1, fmt.Sprint(rand.Int()): 2} })
		if err := pay(ctx, fmt.Sprint(n, at, len(m), slices.Sorted(maps.Keys(m)))); err != nil {
			return "", err
		}
		return at.String(), nil
	}},
	{name: "steps", fn: func(ctx context.Context, in string) (string, error) {
		n, err := chttp.Do(ctx, "draw", func(context.Context) (int64, error) { return rand.Int64(), nil })
		if err != nil {
			return "", err
		}
		err = chttp.Run(ctx, "fail", func(context.Context) error { return fmt.Errorf("read %d: %w", rand.Int64(), fs.ErrNotExist) })
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		_, err = chttp.Do(chttp.With(ctx, chttp.Policy{ReadOnly: true}), "read", func(context.Context) (int, error) { return rand.Int(), nil })
		tried := 0
		err = errors.Join(err, chttp.Run(chttp.With(ctx, chttp.Policy{Attempts: 3}), "try", func(context.Context) error {
			if tried++; tried < 3 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}))
		return fmt.Sprint(n), err
	}},
	{name: "at most once", fn: func(ctx context.Context, in string) (string, error) {
		return "", chttp.Run(chttp.With(ctx, chttp.Policy{AtMostOnce: true}), "charge", func(context.Context) error { return nil })
	}},
	{name: "branches", fn: func(ctx context.Context, in string) (string, error) {
		var all []*chttp.Future[string]
		for i := range 4 {
			all = append(all, chttp.Go(ctx, fmt.Sprint("branch", i), func(ctx context.Context) (string, error) {
				n := chttp.Persist(ctx, "n", rand.Int64)
				if i == 2 {
					return "", io.ErrUnexpectedEOF
				}
				if err := chttp.Sleep(ctx, time.Duration(i)*time.Hour); err != nil {
					return "", err
				}
				return fmt.Sprint(n), pay(ctx, n)
			}))
		}
		var out []string
		for _, f := range all {
			s, err := f.Wait(ctx)
			out = append(out, s, fmt.Sprint(err), f.ID())
		}
		return strings.Join(out, " "), nil
	}},
	{name: "an SDK", fn: func(ctx context.Context, in string) (string, error) { return sdk(ctx, 5) }},
	{name: "Function.Call", fn: func(ctx context.Context, in string) (string, error) {
		n, err := part.Call(ctx, 1)
		_, bad := part.Call(ctx, -1)
		return fmt.Sprint(n, errors.Is(bad, fs.ErrInvalid)), err
	}},
	{name: "child executions", fn: func(ctx context.Context, in string) (string, error) {
		x, err := part.Start(ctx, node, "", 1)
		if err != nil {
			return "", err
		}
		y, err := part.Start(ctx, node, "part-of-"+in, 2)
		if err != nil {
			return "", err
		}
		z, err := patient.Start(ctx, node, "", 2)
		if err != nil {
			return "", err
		}
		n, err := x.Wait(ctx)
		if err != nil {
			return "", err
		}
		m, err := y.Wait(ctx)
		if err != nil {
			return "", err
		}
		if err := z.Cancel(ctx, "enough"); err != nil {
			return "", err
		}
		_, err = z.Wait(ctx)
		i, lookErr := node.Lookup(ctx, x.ID())
		return fmt.Sprint(n, m, errors.Is(err, chttp.ErrCanceled), i.State, x.ID()), lookErr
	}, opt: chttptest.Options{Fresh: keepNode, Functions: []chttp.Registrant{part, patient}}},
	{name: "sent and forgotten", fn: func(ctx context.Context, in string) (string, error) {
		id, err := node.Put(ctx, "https://bank.example/notes/1", "text/plain", strings.NewReader(in))
		if err != nil {
			return "", err
		}
		a, _ := http.NewRequest("POST", "https://plain.example/a", strings.NewReader("a"))
		b, _ := http.NewRequest("POST", "https://forgetful.example/b", strings.NewReader("b"))
		ids, err := node.SendAll(ctx, a, b)
		return fmt.Sprint(id, ids), err
	}, opt: chttptest.Options{Fresh: keepNode}},
	{name: "sleeping for a month", fn: func(ctx context.Context, in string) (string, error) {
		if err := chttp.Sleep(ctx, 30*24*time.Hour); err != nil {
			return "", err
		}
		return chttp.Now(ctx).String(), pay(ctx, "late")
	}},
	{name: "asking every day", fn: func(ctx context.Context, in string) (string, error) {
		begun := chttp.Now(ctx)
		for chttp.Now(ctx).Before(begun.Add(4 * 24 * time.Hour)) {
			if err := chttp.Sleep(ctx, 24*time.Hour); err != nil {
				return "", err
			}
		}
		return "", nil
	}},
	{name: "an error as its outcome", fn: func(ctx context.Context, in string) (string, error) {
		n := chttp.Persist(ctx, "n", rand.Int64)
		return "", fmt.Errorf("no %d: %w", n, fs.ErrPermission)
	}},
	{name: "plain peers", fn: func(ctx context.Context, in string) (string, error) {
		for _, host := range []string{"plain", "forgetful"} {
			resp, err := chttp.Post(ctx, "https://"+host+".example/x", "text/plain", strings.NewReader(in))
			if err != nil {
				return "", err
			}
			resp.Body.Close()
		}
		resp, err := chttp.Get(ctx, "https://bank.example/now?q=1")
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}},
	{name: "deadlines from Now", fn: func(ctx context.Context, in string) (string, error) {
		within, cancel := context.WithDeadline(ctx, chttp.Now(ctx).Add(time.Minute))
		defer cancel()
		if err := pay(within, 1); err != nil {
			return "", err
		}
		err := chttp.Sleep(within, time.Hour)
		if !errors.Is(err, context.DeadlineExceeded) {
			return "", fmt.Errorf("slept: %w", err)
		}
		return "", pay(ctx, within.Err())
	}},
	{name: "a call that nobody answers in time", fn: func(ctx context.Context, in string) (string, error) {
		within, cancel := context.WithDeadline(ctx, chttp.Now(ctx).Add(20*time.Second))
		defer cancel()
		_, err := chttp.Post(within, "https://down.example/x", "text/plain", strings.NewReader(in))
		if !errors.Is(err, chttp.ErrUnknownOutcome) {
			return "", fmt.Errorf("posted: %w", err)
		}
		resp, err := chttp.Post(ctx, "https://down.example/x", "text/plain", strings.NewReader(in))
		if err != nil {
			return "", err
		}
		return resp.Status, nil
	}, opt: chttptest.Options{Peers: []chttptest.Peer{{Host: "down.example", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if time.Since(startOf(r)) < time.Minute {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}}}},
	{name: "policies", fn: func(ctx context.Context, in string) (string, error) {
		ctx = chttp.With(ctx, chttp.Policy{Until: time.Hour, Labels: map[string]string{"order": in}})
		resp, err := chttp.Post(chttp.With(ctx, chttp.Policy{ID: "order-" + in, Name: "the order"}), "https://bank.example/pay", "text/plain", strings.NewReader("x"))
		if err != nil {
			return "", err
		}
		resp.Body.Close()
		req, _ := http.NewRequest("POST", "https://bank.example/later", strings.NewReader("later"))
		_, err = node.Send(chttp.With(ctx, chttp.Policy{After: 10 * time.Minute}), req)
		return "", err
	}, opt: chttptest.Options{Fresh: keepNode}},
	{name: "JSON", fn: func(ctx context.Context, in string) (string, error) {
		out, err := chttp.PostJSON[map[string]any](ctx, "https://json.example/", map[string]any{"b": 1, "a": in, "c": []int{1, 2}})
		if err != nil {
			return "", err
		}
		_, err = chttp.PostJSON[struct{}](ctx, "https://json.example/no", 1)
		e := &chttp.Error{}
		if !errors.As(err, &e) || e.Status != http.StatusTeapot {
			return "", err
		}
		return fmt.Sprint(out), nil
	}, opt: chttptest.Options{Peers: []chttptest.Peer{{Host: "json.example", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusTeapot)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"n": rand.Int()})
	})}}}},
	{name: "many operations", fn: func(ctx context.Context, in string) (string, error) {
		var b bytes.Buffer
		for i := range 300 {
			fmt.Fprint(&b, chttp.Persist(ctx, fmt.Sprint(i), rand.Int64))
		}
		return b.String(), pay(ctx, b.Len())
	}, opt: chttptest.Options{Singles: 60, Pairs: 20}},
}

// startOf is when the message of a request was first sent.
func startOf(r *http.Request) time.Time {
	for part := range strings.SplitSeq(r.Header.Get("Certified"), ",") {
		var s int64
		if n, _ := fmt.Sscanf(strings.TrimSpace(part), "sent=@%d", &s); n == 1 {
			return time.Unix(s, 0)
		}
	}
	return time.Now()
}

func TestResumesPassesWhatResumes(t *testing.T) {
	for _, c := range sound {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Peers = soundPeers(c.opt.Peers)
			r := &recorder{T: t}
			chttptest.Resumes(r, chttp.Resumable("buy", c.fn), "lamp", &c.opt)
			if r.text != "" {
				t.Error(r.text)
			}
			t.Log(r.log)
			if inOrder := c.name != "branches" && c.name != "child executions"; inOrder && strings.Contains(r.log, "did not come about") {
				t.Error("not every death came about")
			}
		})
	}
}

// soundPeers adds those that all functions of sound call.
func soundPeers(list []chttptest.Peer) []chttptest.Peer {
	list = append(slices.Clone(list), cashier)
	for _, p := range []chttptest.Peer{{Host: "plain.example", Plain: true}, {Host: "forgetful.example", Forgetful: true}} {
		p.Handler = cashier.Handler
		list = append(list, p)
	}
	return list
}
