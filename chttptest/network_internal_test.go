package chttptest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestI9NoConnectionIsLeftOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(nil)
		defer n.Close()
		n.Handle("bank.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}))
		faults := []Fault{{Delay: time.Second}, {Kind: LoseRequest, Silent: true}, {Kind: LoseAnswer, Silent: true}, {Kind: Double, Again: time.Hour}}
		for _, kind := range FaultKinds() {
			faults = append(faults, Fault{Kind: kind})
		}
		client := n.Client("")
		client.Timeout = time.Minute
		for _, f := range faults {
			n.Script(func(*http.Request, int) Fault { return f })
			if res, err := client.Post("http://bank.example/", "text/plain", strings.NewReader("x")); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if len(n.links) != 0 {
				t.Errorf("%v leaves %d connections", f, len(n.links))
			}
		}
	})
}

func TestAConnectionThatBrokeBeforeItWasAcceptedIsCancelled(t *testing.T) {
	n := NewNetwork(nil)
	defer n.Close()
	_, server := newLink(n, "shop.example", "bank.example", firstPort)
	n.mu.Lock()
	server.link.reset()
	n.mu.Unlock()
	if err := n.connContext(context.Background(), server).Err(); err == nil {
		t.Error("requests on it would go on")
	}
}
