package chttp_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/certifiedhttp/chttp"
)

// peerKnown is what is stored of a peer.
type peerKnown struct {
	Certified bool   `json:"certified"`
	Store     string `json:"store"`
	Offset    int64  `json:"offset"`
	Paused    string `json:"paused"`
}

// FuzzFact has a node find a fact of any bytes and send a message to the peer that it may be about. What can be read holds; what cannot is
// learned again.
func FuzzFact(f *testing.F) {
	const peer = "peer http://peer.example"
	for _, value := range []string{
		`{}`, `{"certified":true,"store":"aaaa"}`, `{"certified":true,"store":"bbbb"}`, `{"certified":true,"store":"aaaa","offset":-9223372036854775808}`,
		`{"offset":9223372036}`, `{"offset":3600}`, `{"paused":"why"}`, `{"paused":"why","offset":"much"}`, `{"certified":true,"store":5}`,
		`{"certified":1}`, `[]`, `null`, ``, `{"paused":null,"more":{}}`, `{"certified":true`, "\xff",
	} {
		f.Add(peer, []byte(value))
	}
	f.Add("peer ", []byte(`{"paused":"why"}`))
	f.Add("peer http://peer.example#name", []byte(`{"paused":"why"}`))
	f.Add("probe", []byte{})
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		synctest.Test(t, func(t *testing.T) {
			var known peerKnown
			if name != peer || json.Unmarshal(value, &known) != nil {
				known = peerKnown{}
			}
			l := newLAN(func(w http.ResponseWriter, r *http.Request) { certify(w, r, "done", 200, "ok") })
			h := newHome(t, l, nil, func(h *home) {
				learned(t, h.store, name, string(value))
			})
			i := h.ends(h.put(peerURL, "body", chttp.Policy{Until: time.Hour}))
			time.Sleep(time.Minute)
			h.stop()
			sent := l.requests("PUT")
			if known.Paused != "" {
				if i.State != "undelivered" || len(sent) > 0 {
					t.Errorf("paused, and it is %s with %d requests", i.State, len(sent))
				}
				return
			}
			if i.State != "answered" || len(sent) != 1 {
				t.Fatalf("it is %s (%v) with %d requests", i.State, i.Err, len(sent))
			}
			if s := sent[0]; s.stamp("at") < s.stamp("sent") || s.stamp("at") > s.stamp("until") {
				t.Errorf("it is stamped %s", s.header.Get("Certified"))
			}
			facts, err := h.store.Facts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var now peerKnown
			for _, f := range facts {
				if f.Name == peer {
					if err := json.Unmarshal(f.Value, &now); err != nil {
						t.Errorf("the fact is now %q: %v", f.Value, err)
					}
				}
			}
			restored := known.Store != "" && known.Store != "aaaa"
			if !now.Certified || now.Store != "aaaa" || now.Offset != 0 || restored != strings.Contains(now.Paused, "restored") {
				t.Errorf("of %q and the answer the node knows %+v", value, now)
			}
		})
	})
}
