package chttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/memstore"
	"github.com/certifiedhttp/chttp/store"
)

// storedFunctions are what a stored record may be an execution of: a function, a handler, a message, a report of one, and nothing that is
// registered.
var storedFunctions = []string{"tour", "app", "chttp.send", "chttp.failed", "nobody"}

// recordSeeds are heads and tails of each.
func recordSeeds() (heads, tails [][]byte) {
	for _, h := range []*record.Head{
		{Input: []byte(`"in"`), Label: map[string]string{"a": "b"}},
		{Input: []byte(`{"Info":{"ID":"m","State":"unknown","Status":500},"Err":"why"}`)},
		{
			Method: "POST", URL: "/orders?a=b", Header: http.Header{"X-A": {"1", "2"}}, Body: []byte("body"), Host: "shop.example", Principal: "ann",
			Sent: bubbleStart * 1000, Until: (bubbleStart + 3600) * 1000, At: bubbleStart * 1000, PathValue: map[string]string{"id": "7"}, Minimal: true,
		},
		{Method: "PUT", URL: peerURL, Body: []byte("body"), Sent: bubbleStart * 1000, Until: (bubbleStart + 3600) * 1000, Destination: "d", Chosen: true},
		{Method: "A B", URL: "http://nowhere.example/\x7f", Sent: 1 << 62, Until: -1},
		{Method: "POST", URL: "relative", Until: 1<<63 - 1},
		{Method: "POST", URL: "http://nowhere.example/", Until: 1<<63 - 1},
	} {
		heads = append(heads, h.Append(nil))
	}
	for _, t := range []*record.Tail{
		{},
		{Value: []byte(`"out"`), Ended: 1},
		{Err: &record.Error{Text: "e", Is: []string{"unknown outcome"}, Own: &record.Own{Op: "call", Name: "n", ID: "i", Status: 500, Err: &record.Error{Text: "e"}}}},
		{Response: &record.Response{Status: 201, Header: http.Header{"X-A": {"1"}}, Body: []byte("b")}},
		{Response: &record.Response{Status: -1, Header: http.Header{"X\n": {"\r\n"}}}},
		{Why: "why", Cause: "unregistered"},
	} {
		tails = append(tails, t.Append(nil))
	}
	return heads, tails
}

// FuzzRecord has a node find a record of any bytes, in any state. It is shown to whoever looks for it, its client is answered, and what is
// unfinished ends or is parked for a reason.
func FuzzRecord(f *testing.F) {
	heads, tails := recordSeeds()
	for i := range storedFunctions {
		for j, h := range heads {
			f.Add(byte(i), byte(j), h, []byte{}, tails[(i+j)%len(tails)])
		}
		for j, tail := range tails {
			f.Add(byte(i), byte(j+3), heads[(i+2)%len(heads)], []byte{}, tail)
		}
	}
	entry := record.AppendEntry(nil, &record.Entry{Phase: record.Whole, Kind: record.Persist, Name: "n", Data: []byte("7")})
	f.Add(byte(0), byte(1), heads[0], entry, []byte{})
	f.Add(byte(1), byte(0), heads[2], entry, []byte{})
	var model *store.Record
	var url string
	f.Fuzz(func(t *testing.T, function, state byte, head, oplog, tail []byte) {
		if model == nil {
			synctest.Test(t, func(t *testing.T) { model, url = modelMessage(t) })
		}
		synctest.Test(t, func(t *testing.T) {
			r := *model
			r.State = store.Running + store.State(state)%store.Acknowledged
			r.Head, r.Oplog, r.Tail = head, oplog, tail
			if r.Function = storedFunctions[int(function)%len(storedFunctions)]; r.Function != "app" {
				r.Scope = ""
			}
			p := &past{t: t, store: memstore.New(), was: &r, url: url}
			p.open()
			p.look()
			p.settle()
			p.look()
			p.stop()
			if len(p.told) > 1 {
				t.Errorf("Options.Failed was called %d times: %+v", len(p.told), p.told)
			}
		})
	})
}

// knownSecret is a store whose secret and name are those of every other.
type knownSecret struct{ store.Store }

func (s knownSecret) Join(ctx context.Context, floor int64) (store.Identity, error) {
	id, err := s.Store.Join(ctx, floor)
	id.Secret, id.Store = make([]byte, 32), "known"
	return id, err
}

// modelMessage returns the record of a message that was answered, and its URL.
func modelMessage(t *testing.T) (*store.Record, string) {
	t.Helper()
	m := memstore.New()
	p := &past{t: t, store: m}
	p.open()
	url := p.post().member("message")
	p.stop()
	r, err := m.Read(t.Context(), store.Key{Scope: "app/ann", ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return r, url
}

// past is a node whose store has a record that an earlier process is said to have left.
type past struct {
	t     *testing.T
	store *memstore.Store
	was   *store.Record // nil: none
	url   string        // of the message that it is, if it is one
	tour  *tour
	app   http.Handler
	stop  func()
	told  []chttp.Info // to Options.Failed
}

func (p *past) open() {
	p.t.Helper()
	if r := p.was; r != nil {
		id, err := p.store.Join(p.t.Context(), 0)
		if err == nil {
			_, err = p.store.Commit(p.t.Context(), &store.Batch{Token: id.Token, Changes: []store.Change{{
				Key: r.Key, Run: 1, Version: 1, Function: r.Function, State: r.State, Created: r.Created, Due: r.Created, Bound: 1 << 60, Print: r.Print,
				Head: r.Head, Chunk: r.Oplog, Tail: r.Tail,
			}}})
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	p.tour = newTour(p.t, knownSecret{p.store}, func(o *chttp.Options) {
		o.Failed = func(_ context.Context, i chttp.Info) error {
			p.told = append(p.told, i)
			return nil
		}
	})
	p.app = p.tour.node.Handler("app", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %v %s", r.Method, r.URL, r.Header, b)
	}), &chttp.HandlerOptions{Principal: callers})
	p.stop = run(p.t, p.tour.node)
	time.Sleep(time.Millisecond)
}

// post asks for the message once more.
func (p *past) post() reply {
	p.t.Helper()
	s := &site{t: p.t, Handler: p.app}
	return s.ask("POST", "/orders", "body", "Idempotency-Key", "x")
}

// look looks at the record in every way that there is.
func (p *past) look() {
	p.t.Helper()
	if p.was.Function != "app" {
		i, err := p.tour.node.Lookup(p.t.Context(), "x")
		if err != nil || i.ID != "x" || i.Function != p.was.Function || i.State == "invalid" {
			p.t.Errorf("Lookup: %+v, %v", i, err)
		}
		_, err = p.tour.f.Attach(p.t.Context(), p.tour.node, "x")
		if found := err == nil; found != (p.was.Function == "tour") || !found && !errors.Is(err, chttp.ErrNotFound) {
			p.t.Errorf("Attach of a %s: %v", p.was.Function, err)
		}
		return
	}
	s := &site{t: p.t, Handler: p.app}
	for _, r := range []reply{p.post(), s.ask("GET", p.url, "")} {
		switch state := r.member("state"); state {
		case "done":
			if r.header.Get("Content-Digest") != digestOf(r.body) {
				p.t.Errorf("got %d %v %q", r.status, r.header, r.body)
			}
		case "running", "gone":
		default:
			p.t.Errorf("got %d %q: %q", r.status, state, r.body)
		}
	}
}

// settle waits until the record has ended, at most two days.
func (p *past) settle() {
	p.t.Helper()
	for wait := time.Second; wait < 24*time.Hour; wait *= 2 {
		time.Sleep(wait)
		r, err := p.store.Read(p.t.Context(), p.was.Key)
		if err != nil {
			p.t.Fatal(err)
		}
		why := &record.Tail{}
		if r.State == store.Parked && p.was.State != store.Parked {
			if why, err = record.ParseTail(r.Tail); err != nil || why.Why == "" || strings.Contains(why.Why, "panic") {
				p.t.Fatalf("parked: %v, %q", err, why.Why)
			}
		}
		if r.State.Finished() || r.State == store.Parked {
			return
		}
	}
}
