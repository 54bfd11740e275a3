//go:build linux && (amd64 || arm64)

package torture

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// witness is what lives on while everything else dies: the place of all effects, and the record of what was promised.
type witness struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex // guards what follows
	orders   map[string]*effect
	failed   map[string]bool   // messages of which Options.Failed was told
	kinds    map[string]string // of ids: how they are asked for
	accepted map[string]bool   // ids that were accepted: from then on they must be done
	answers  map[string]string // of ids: the first that anybody was given
	statuses map[int]int       // of what plain requests were answered
	refusals map[string]int    // of how many, by whom
}

// effect is what an order did.
type effect struct {
	key, number string
	receipt     int
}

func newWitness(t *testing.T) *witness {
	w := &witness{
		t: t, orders: make(map[string]*effect), failed: make(map[string]bool), accepted: make(map[string]bool), kinds: make(map[string]string),
		answers: make(map[string]string), statuses: make(map[int]int), refusals: make(map[string]int),
	}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	return w
}

// ServeHTTP lets an effect happen. It keeps idempotency keys, as a good plain server does, so a request that comes again does nothing; but an
// order that comes with another key, or another number, was done twice (I2).
func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.URL.Path == "/failed" {
		w.failed[string(body)] = true
		return
	}
	name, number, _ := strings.Cut(string(body), " ")
	key := r.Header.Get("Idempotency-Key")
	if w.kinds[name] == refused {
		w.t.Errorf("%s was refused, with the claim that nothing was done, and has an effect", name)
	}
	e := w.orders[name]
	if e == nil {
		e = &effect{key: key, number: number, receipt: len(w.orders)}
		w.orders[name] = e
	}
	if e.key != key || e.number != number || key == "" {
		w.t.Errorf("I2: order %s was done with number %s under key %s, and again with %s under %s", name, e.number, e.key, number, key)
	}
	fmt.Fprint(rw, e.receipt)
}

// refused is the kind of an id whose customer was told that nothing was done, and went away.
const refused = "refused"

// refuse notes that whoever asks for an id was refused, and tells whether it goes away.
func (w *witness) refuse(id, by string, first bool) (goesAway bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusals[by]++
	if !first || rand.IntN(2) == 0 {
		return false
	}
	w.kinds[id] = refused
	return true
}

// refused returns how many were refused by somebody.
func (w *witness) refused(by string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refusals[by]
}

// accept notes that an id was accepted.
func (w *witness) accept(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted[id] = true
}

// begins notes that an id is asked for by a kind of customer.
func (w *witness) begins(id, kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kinds[id] = kind
}

// answer notes an answer to an id, which must be that of its effect and, the second time, the same.
func (w *witness) answer(id, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted[id] = true
	first, again := w.answers[id]
	if w.answers[id] = text; again && text != first {
		w.t.Errorf("I3: %s was answered %q, and then %q", id, first, text)
	}
	e := w.orders[id]
	if e == nil {
		w.t.Errorf("I5: %s was answered %q before it had an effect", id, text)
	} else if want := fmt.Sprintf("%s number %s receipt %d", id, e.number, e.receipt); text != want {
		w.t.Errorf("%s was answered %q, want %q", id, text, want)
	}
}

func (w *witness) status(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses[code]++
}

// undone returns what was accepted and has no effect, apart from what could not have one.
func (w *witness) undone() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.accepted {
		if w.orders[id] == nil && w.kinds[id] != "lose" {
			ids = append(ids, id)
		}
	}
	return ids
}

// answered returns the ids of a kind that were answered.
func (w *witness) answered(kind string) (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.answers {
		if w.kinds[id] == kind {
			ids = append(ids, id)
		}
	}
	return ids
}

// count returns how many were accepted and answered, and the statuses of what plain clients were answered.
func (w *witness) count() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var statuses []string
	for _, code := range slices.Sorted(maps.Keys(w.statuses)) {
		statuses = append(statuses, fmt.Sprintf("%d of %d", w.statuses[code], code))
	}
	return fmt.Sprintf("%d accepted, %d answered, %d effects; plain requests: %s; refused by: %v", len(w.accepted), len(w.answers), len(w.orders),
		strings.Join(statuses, ", "), w.refusals)
}
