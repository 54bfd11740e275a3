package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/store"
)

// dealing is what became of the money that one execution pays, through a chain of nodes.
type dealing struct {
	amount int // 0: nothing has left yet
	paid   []string
}

// chains is how many hops money makes at the most; it may come back to where it was.
const chains = 3

// pay pays an amount to somebody at the other end of a chain of nodes, and returns what became of it.
func (f *frame) pay(ctx context.Context) (string, error) {
	amount := chttp.Persist(ctx, "p~amount", func() int { return 1 + f.l.p.w.number()%100 })
	f.see("amount", strconv.Itoa(amount), "p~amount")
	status, body, err := f.passOn(ctx, amount, 1+f.l.p.w.luck.pick(chains, "hops", f.name, 0))
	switch {
	case errors.Is(err, chttp.ErrNotDone):
		return fmt.Sprintf("kept %d", amount), nil
	case err != nil:
		return "", err
	case status != http.StatusOK:
		return "", fmt.Errorf("%w: %d %s", errOutcome, status, body)
	}
	return body, nil
}

// passOn posts an amount to the next of so many hops.
func (f *frame) passOn(ctx context.Context, amount, hops int) (int, string, error) {
	hosts := f.l.p.w.hosts()
	o := &op{kind: "pay", path: "pay", route: routeA, host: hosts[f.l.p.w.luck.pick(len(hosts), "pays", f.name, 0)]}
	to := fmt.Sprintf("http://%s/%s?m=%s&money=%d&hops=%d", o.host, o.route, f.message(o), amount, hops-1)
	resp, err := chttp.Post(f.calling(ctx, o, chttp.Policy{}), to, "text/plain", strings.NewReader(strconv.Itoa(amount)))
	if err != nil {
		f.tell(o, nil, err, opOfCall(f.message(o)))
		return 0, "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	f.i3Told(f.message(o), resp.StatusCode, string(body))
	f.tell(o, string(body), nil, opOfCall(f.message(o)))
	return resp.StatusCode, string(body), nil
}

// passMoney is a handler through which money goes on, or which keeps it.
func (f *frame) passMoney(ctx context.Context, rw http.ResponseWriter, q url.Values) {
	amount, _ := strconv.Atoi(q.Get("money"))
	hops, _ := strconv.Atoi(q.Get("hops"))
	if hops == 0 {
		fmt.Fprintf(rw, "paid %d", amount)
		return
	}
	status, body, err := f.passOn(ctx, amount, hops)
	switch {
	case errors.Is(err, chttp.ErrNotDone):
		rw.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(rw, "kept %d", amount)
	case err != nil:
		rw.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(rw, err)
	default:
		rw.WriteHeader(status)
		fmt.Fprint(rw, body)
	}
}

// moneyMoves takes note of an outcome with which money arrives; called with mu held.
func (e *exec) moneyMoves() {
	u, err := url.Parse(e.head.URL)
	if err != nil || e.function == functionSend || u.Query().Get("hops") != "0" || e.tail.Response == nil {
		return
	}
	chain, _, _ := strings.Cut(e.name, "~")
	d := e.p.w.dealing(chain)
	d.amount, _ = strconv.Atoi(u.Query().Get("money"))
	d.paid = append(d.paid, fmt.Sprintf("%s at %s", e.tail.Response.Body, e.p.name))
}

// dealing returns the dealing of a chain; called with mu held.
func (w *World) dealing(chain string) *dealing {
	d := w.dealings[chain]
	if d == nil {
		d = &dealing{}
		w.dealings[chain] = d
	}
	return d
}

// money checks that what was paid has arrived, once: what an execution says of its money is what became of it. It watches the executions'
// outcomes and those of the handlers at the ends of the chains, as they were first stored.
func (w *World) money() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		for _, e := range p.memory.all {
			if e.key.Scope != "" || !strings.HasPrefix(e.name, payName) || e.function == functionSend || e.function == functionFailed {
				continue
			}
			d := w.dealing(e.name)
			arrived := len(d.paid)
			if arrived > 1 {
				w.violate("I2", "money: %s has arrived %d times: %v", e.name, arrived, d.paid)
			}
			if e.state != store.Answered || e.tail == nil || e.tail.Err != nil {
				w.hit("money: unknown")
				continue
			}
			said := strings.Trim(string(e.tail.Value), `"`)
			switch {
			case strings.HasPrefix(said, "paid") && (arrived != 1 || !strings.HasPrefix(d.paid[0], said+" ")):
				w.violate("I1", "money: %s says %q, and what arrived is %v", e.name, said, d.paid)
			case strings.HasPrefix(said, "kept") && arrived != 0:
				w.violate("I2", "money: %s says %q, and it has arrived: %v", e.name, said, d.paid)
			case strings.HasPrefix(said, "paid"):
				w.hit("money: paid")
			default:
				w.hit("money: kept")
			}
		}
	}
}

// payName begins the names of executions that pay.
const payName = "pay"
