package chttptest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/certifiedhttp/chttp/chttptest"
)

func BenchmarkRequest(b *testing.B) {
	for _, bench := range []struct {
		name   string
		faults chttptest.Faults
	}{
		{"passes", chttptest.Faults{}},
		{"answer lost", chttptest.Faults{LoseAnswer: 1}},
		{"twice", chttptest.Faults{Double: 1}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			n := chttptest.NewNetwork(&chttptest.NetworkOptions{Faults: bench.faults})
			defer n.Close()
			n.Handle("bank.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			}))
			client := n.Client("shop.example")
			var k atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequest(http.MethodPost, "http://bank.example/charge", strings.NewReader("amount=5"))
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Idempotency-Key", fmt.Sprint(k.Add(1)))
					res, err := client.Do(req)
					if err != nil {
						continue // as ordered
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
