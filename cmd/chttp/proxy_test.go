package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// through starts a server behind a proxy with the given odds, and returns the address in front of it and how many requests arrived.
func through(t *testing.T, o odds, h http.HandlerFunc) (p *proxy, url string, arrived *atomic.Int64) {
	t.Helper()
	arrived = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	p = newProxy(1, o)
	t.Cleanup(p.close)
	url, err := p.listen("bank")
	if err != nil {
		t.Fatal(err)
	}
	p.setBackend("bank", strings.TrimPrefix(srv.URL, "http://"))
	p.faulty.Store(true)
	return p, url, arrived
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Seen", r.Header.Get("X-Sent")+r.URL.RequestURI())
	w.WriteHeader(http.StatusTeapot)
	io.Copy(w, r.Body)
}

func post(t *testing.T, url, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/a?b=c", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Sent", "x")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestProxyCarriesARequestAndItsAnswer(t *testing.T) {
	_, url, _ := through(t, odds{}, echo)
	resp, body, err := post(t, url, "hello")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Seen") != "x/a?b=c" || body != "hello" {
		t.Errorf("got %d %v %q", resp.StatusCode, resp.Header, body)
	}
}

func TestProxyFaults(t *testing.T) {
	for _, c := range []struct {
		fault    fault
		arrived  int64
		answered bool
	}{
		{dropRequest, 0, false},
		{dropResponse, 1, false},
		{doubleRequest, 2, true},
		{delayRequest, 1, true},
		{resetResponse, 1, false},
	} {
		t.Run(faultNames[c.fault], func(t *testing.T) {
			var always odds
			always[c.fault] = 1000
			p, url, arrived := through(t, always, echo)
			_, body, err := post(t, url, strings.Repeat("x", 1000))
			if answered := err == nil; answered != c.answered {
				t.Errorf("answered %t (%v), want %t", answered, err, c.answered)
			}
			if c.answered && len(body) != 1000 {
				t.Errorf("got %d bytes, want 1000", len(body))
			}
			p.copies.Wait()
			if got := arrived.Load(); got != c.arrived {
				t.Errorf("%d requests arrived, want %d", got, c.arrived)
			}
			if got := p.traffic(); got.Faults[c.fault] != 1 || got.Requests != 1 {
				t.Errorf("counted %+v", got)
			}
		})
	}
}

func TestProxyWithoutFaultsHasNone(t *testing.T) {
	p, url, arrived := through(t, odds{dropRequest: 1000}, echo)
	p.faulty.Store(false)
	for range 20 {
		if _, _, err := post(t, url, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.traffic(); arrived.Load() != 20 || got.Requests != 20 || got.Faults != [faultKinds]int{} {
		t.Errorf("%d arrived, counted %+v", arrived.Load(), got)
	}
}

func TestProxyHangsUpWhereNobodyIs(t *testing.T) {
	p, url, _ := through(t, odds{}, echo)
	p.setBackend("bank", "")
	if resp, _, err := post(t, url, "x"); err == nil {
		t.Errorf("got %s; a dead process answers nothing", resp.Status)
	}
	if got := p.traffic().Faults[partyDown]; got != 1 {
		t.Errorf("counted %d, want 1", got)
	}
}

func TestProxyCountsAnswersFromTheRecord(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        int
	}{
		{"Certified", `v=1, id="a1", state=done, replayed=?1`, 1},
		{"Certified", `v=1, id="a1", state=done, replayed`, 1},
		{"Certified", `v=1, id="a1", state=done`, 0},
		{"Idempotent-Replayed", "true", 1},
		{"X-Nothing", "true", 0},
	} {
		p, url, _ := through(t, odds{}, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(c.name, c.value) })
		if _, _, err := post(t, url, "x"); err != nil {
			t.Fatal(err)
		}
		if got := p.traffic().Replayed; got != c.want {
			t.Errorf("%s: %s: counted %d, want %d", c.name, c.value, got, c.want)
		}
	}
}

func TestSameSeedDrawsTheSameFaults(t *testing.T) {
	draw := func(seed uint64) (all []fault) {
		p := newProxy(seed, badNetwork)
		p.faulty.Store(true)
		for range 1000 {
			f, _ := p.draw()
			all = append(all, f)
		}
		return all
	}
	first, again, other := draw(7), draw(7), draw(8)
	same, differ := true, false
	for i := range first {
		same = same && first[i] == again[i]
		differ = differ || first[i] != other[i]
	}
	if !same || !differ {
		t.Errorf("seed 7 again is the same: %t; seed 8 differs: %t", same, differ)
	}
}
