package chttptest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/chttptest"
)

// TestResumesFindsClocksThatAreOnlyCompared has functions that show nothing of the time but on which side of something it is.
func TestResumesFindsClocksThatAreOnlyCompared(t *testing.T) {
	either := func(ctx context.Context, b bool) (string, error) {
		if b {
			return "", pay(ctx, "so")
		}
		return "", pay(ctx, "otherwise")
	}
	for name, f := range map[string]fn{
		"weekend": func(ctx context.Context, _ string) (string, error) {
			day := time.Now().UTC().Weekday()
			return either(ctx, day == time.Saturday || day == time.Sunday)
		},
		"office hours": func(ctx context.Context, _ string) (string, error) {
			hour := time.Now().UTC().Hour()
			return either(ctx, hour >= 9 && hour < 17)
		},
		"year": func(ctx context.Context, _ string) (string, error) { return either(ctx, time.Now().Year() > 2010) },
		"how long a call took": func(ctx context.Context, _ string) (string, error) {
			start := time.Now()
			if err := pay(ctx, "first"); err != nil {
				return "", err
			}
			return either(ctx, time.Since(start) > 50*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{T: t}
			chttptest.Resumes(r, chttp.Resumable("f", f), "in", &chttptest.Options{Peers: []chttptest.Peer{cashier}})
			if !strings.Contains(r.text, "reads a clock") {
				t.Errorf("got %q, want that it reads a clock", r.text)
			}
		})
	}
}

// TestResumesPassesAClientWithATimeoutAndADeadline has a deadline that is right, and hidden by that of the client.
func TestResumesPassesAClientWithATimeoutAndADeadline(t *testing.T) {
	chttptest.Resumes(t, chttp.Resumable("f", func(ctx context.Context, _ string) (string, error) {
		within, cancel := context.WithDeadline(ctx, chttp.Now(ctx).Add(time.Minute))
		defer cancel()
		req, err := http.NewRequestWithContext(within, http.MethodPost, "https://bank.example/x", strings.NewReader("x"))
		if err != nil {
			return "", err
		}
		resp, err := (&http.Client{Transport: &chttp.Transport{}, Timeout: 80 * time.Second}).Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}), "in", &chttptest.Options{Peers: []chttptest.Peer{cashier}})
}
