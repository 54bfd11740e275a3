//go:build linux && (amd64 || arm64)

package torture

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/internal/torture/drive"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// patience is how long anything may take that certainly happens.
const patience = 60 * time.Second

var seedFlag = flag.Uint64("seed", 0, "of what is random. Default: another one each time")

// world is a server, a client and their witness, with customers who give the two something to do.
type world struct {
	t              *testing.T
	rnd            *rand.Rand
	witness        *witness
	server, client *process
	address        string
	plain          *http.Client

	closing   atomic.Bool // customers finish what they have begun
	customers sync.WaitGroup
	impatient atomic.Int64 // requests of plain customers that were not answered in time
	extra     int          // customers that came for the test itself
}

// customers is how many there are at once.
const customers = 6

// newWorld makes a world and starts it.
func newWorld(t *testing.T) *world {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, rnd: rnd, witness: newWitness(t)}
	// An address that nobody else is given while the server is dead.
	w.address = fmt.Sprintf("127.%d.%d.%d:7070", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	env := []string{serverEnv + "=" + w.address, witnessEnv + "=" + w.witness.server.URL}
	w.server = newProcess(t, "server", rand.New(rand.NewPCG(seed, 1)), env...)
	w.client = newProcess(t, "client", rand.New(rand.NewPCG(seed, 2)), env...)
	w.plain = &http.Client{Timeout: time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: customers}}
	t.Cleanup(w.plain.CloseIdleConnections)
	w.server.keep()
	w.client.keep()
	for i := range customers {
		w.customers.Go(func() {
			for n := 0; !w.closing.Load() && !t.Failed(); n++ {
				w.custom(fmt.Sprintf("order-%04d-%06d-%08x", i, n, rand.Uint32()))
			}
		})
	}
	return w
}

// custom does one thing of its many kinds, and goes on until that is accepted.
func (w *world) custom(id string) {
	kind := [...]string{"put", "put", "lose", "start", "start", "post", "post"}[rand.IntN(7)]
	w.witness.begins(id, kind)
	if kind == "post" {
		w.post(id)
	} else {
		w.insist(kind, id)
	}
}

// insist asks the client until it has done what it is asked.
func (w *world) insist(verb, id string) {
	deadline := time.After(patience)
	for first := true; !w.t.Failed(); first = false {
		answers := w.client.ask(verb, id)
		for alive := true; alive; {
			var l line
			select {
			case l, alive = <-answers:
			case <-deadline:
				w.t.Errorf("%s %s is not done after %v", verb, id, patience)
				return
			}
			if w.hears(id, l, first) {
				w.client.forget(id)
				return
			}
			alive = alive && l.verb == "start"
		}
		time.Sleep(20 * time.Millisecond) // dead, or in trouble
	}
}

// hears takes what the client says of an id, and tells whether that was all.
func (w *world) hears(id string, l line, first bool) (all bool) {
	switch l.verb {
	case "put":
		w.witness.accept(id)
		return true
	case "start": // and the answer will follow
		w.witness.accept(id)
	case "answered":
		w.witness.answer(id, l.text)
		return true
	case "failed":
		w.t.Errorf("%s: %s", id, l.text)
		return true
	case "refused":
		return w.witness.refuse(id, "client", first)
	}
	return false
}

// post asks the server as a client does that is not certified, until it is answered.
func (w *world) post(id string) {
	first := true
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && !w.t.Failed(); {
		status, body, err := w.try(id)
		switch {
		case err != nil:
			if errors.Is(err, context.DeadlineExceeded) {
				w.impatient.Add(1)
			}
		case status == 200:
			w.witness.answer(id, body)
			return
		case status == 507:
			if w.witness.refuse(id, "server", first) {
				return
			}
		case status != 202 && status != 409 && status != 503:
			w.t.Errorf("%s was answered %d: %s", id, status, body)
			return
		}
		first = false
		time.Sleep(20 * time.Millisecond)
	}
	if !w.t.Failed() {
		w.t.Errorf("%s is not answered after %v", id, patience)
	}
}

// try is one request of such a client.
func (w *world) try(id string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(context.Background(), "POST", "http://"+w.address+"/orders", strings.NewReader(goods(id)))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Idempotency-Key", `"`+id+`"`)
	res, err := w.plain.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil {
		w.witness.status(res.StatusCode)
	}
	return res.StatusCode, string(b), err
}

// anyone returns the server or the client.
func (w *world) anyone() *process { return []*process{w.server, w.client}[w.rnd.IntN(2)] }

// befall arms a fault and waits until it has happened.
func (w *world) befall(p *process, f drive.Fault) {
	w.t.Helper()
	w.reached(p, f, p.drive.Arm(f))
}

func (w *world) reached(p *process, f drive.Fault, hit <-chan struct{}) {
	w.t.Helper()
	w.soon(hit, fmt.Sprintf("%v at the %s", &f, p.name))
}

// soon waits for a channel to be closed, which says that something happened.
func (w *world) soon(c <-chan struct{}, something string) {
	w.t.Helper()
	w.until(something, func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	})
}

// until waits until something is so.
func (w *world) until(something string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if w.t.Failed() {
			w.t.FailNow()
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("never happened: %s", something)
		}
	}
}

// kill lets the process die now.
func (w *world) kill(p *process) {
	w.t.Helper()
	w.soon(p.signal(syscall.SIGKILL), "the death of the "+p.name)
}

// comes makes a customer with something new for the process.
func (w *world) comes(p *process) (kind, id string) {
	w.extra++
	id, kind = fmt.Sprintf("extra-%05d-%016x", w.extra, rand.Uint64()), "start"
	if p == w.server {
		kind = "post"
	}
	w.witness.begins(id, kind)
	return kind, id
}

// goesOn comes with something new for the process, and waits until it is done.
func (w *world) goesOn(p *process) {
	w.t.Helper()
	if kind, id := w.comes(p); p == w.server {
		w.post(id)
	} else {
		w.insist(kind, id)
	}
}

// isFull comes with things that are new for the process until one of them is refused for want of room.
func (w *world) isFull(p *process) {
	w.t.Helper()
	w.until("a refusal for want of room by the "+p.name, func() bool {
		kind, id := w.comes(p)
		if p == w.server {
			status, body, err := w.try(id)
			if err == nil && status == 200 {
				w.witness.answer(id, body)
			}
			return err == nil && status == 507 && w.witness.refuse(id, p.name, true)
		}
		l := <-p.ask(kind, id) // none if it has died
		p.forget(id)
		if l.verb == "start" {
			w.witness.accept(id)
		}
		return l.verb == "refused" && strings.Contains(l.text, "full") && w.witness.refuse(id, p.name, true)
	})
}

// neverFell checks that no process ended by itself: without errors there is nothing that would make it.
func (w *world) neverFell() {
	w.t.Helper()
	for _, p := range []*process{w.server, w.client} {
		if p.falls > 0 {
			w.t.Errorf("the %s ended by itself %d times", p.name, p.falls)
		}
	}
}

// ends has the customers finish, and judges: without faults everything that was accepted is done, once, and nothing is left over.
func (w *world) ends() {
	w.t.Helper()
	w.closing.Store(true)
	w.customers.Wait()
	w.settle()
	w.server.stop()
	w.client.stop()
	w.inspect(w.server)
	w.inspect(w.client)
	if w.t.Failed() {
		return
	}
	// Once more, from what is on the disk.
	w.server.keep()
	w.client.keep()
	for _, id := range w.witness.answered("post") {
		w.post(id)
	}
	for _, id := range w.witness.answered("start") {
		w.insist("start", id)
	}
	w.t.Log(w.witness.count())
	for _, p := range []*process{w.server, w.client} {
		w.t.Logf("the %s died %d times, %d without power that left %d pages unsynced, and fell %d times", p.name, p.deaths, p.cuts, p.torn, p.falls)
	}
}

// settle waits until nothing is unfinished (I1, I8).
func (w *world) settle() {
	w.t.Helper()
	idle := 0 // how often nobody had anything to do
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		undone, server, client := w.witness.undone(), w.server.unfinished(), w.client.unfinished()
		if server == "0" && client == "0" {
			idle++
			if len(undone) == 0 {
				return
			}
		}
		if time.Now().After(deadline) || w.t.Failed() || idle > 20 {
			w.t.Fatalf("I1, I8: after the faults %d accepted have no effect: %v; unfinished at the server: %s; at the client: %s",
				len(undone), undone[:min(len(undone), 10)], server, client)
		}
	}
}

// inspect looks into the store of a process that has stopped: it is sound, and lists exactly what was sent to nobody as ended without an
// outcome (I10).
func (w *world) inspect(p *process) {
	w.t.Helper()
	s, err := sqlitestore.Open(p.path)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer s.Close()
	ctx := context.Background()
	err = s.Check(ctx)
	list, e := s.List(ctx, store.Query{States: []store.State{store.Rejected, store.Undelivered, store.Unknown, store.Canceled}, Limit: 1 << 20})
	if err := errors.Join(err, e); err != nil {
		w.t.Error(err)
	}
	listed := make(map[string]bool)
	for _, r := range list {
		listed[r.ID] = true
		tail, err := record.ParseTail(r.Tail)
		switch {
		case w.witness.kinds[r.ID] != "lose":
			w.t.Errorf("%s at the %s is %s: %+v", r.ID, p.name, r.State, tail)
		case err != nil || tail.Err == nil || tail.Err.Text == "":
			w.t.Errorf("I10: %s is %s without a reason: %v", r.ID, r.State, err)
		case !w.witness.failed[r.ID]:
			w.t.Errorf("I10: Options.Failed was not told of %s", r.ID)
		}
	}
	for id := range w.witness.accepted {
		if p == w.client && w.witness.kinds[id] == "lose" && !listed[id] {
			w.t.Errorf("I10: %s ended without an outcome and is not listed", id)
		}
	}
}
