package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/memstore"
)

// taker is a server in memory that answers everything, and remembers it by its key.
type taker struct {
	mu    sync.Mutex // guards taken
	taken map[string][]string
}

// RoundTrip implements http.RoundTripper.
func (s *taker) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	s.taken[key] = append(s.taken[key], string(body))
	return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{}, Body: http.NoBody}, nil
}

// linesOf is what --lines is documented to make of a file: the lines that are not blank, by their numbers.
func linesOf(contents []byte) (numbers []int, lines []string) {
	for i, line := range strings.Split(string(contents), "\n") {
		if line = strings.TrimSuffix(line, "\r"); len(bytes.TrimSpace([]byte(line))) > 0 {
			numbers, lines = append(numbers, i+1), append(lines, line)
		}
	}
	return numbers, lines
}

// FuzzLines sends the lines of a file, and then the same file again. Each line arrives once, as it is, under an id of its own; or the file is
// refused with the number of the first line that is not JSON, and nothing is sent.
func FuzzLines(f *testing.F) {
	for _, s := range []string{
		"", "\n", "\n \t\r\n", "{}", "{\"a\":1}\n{\"a\":1}\n", "1\r\n\r2\n", "1\r\r\n", "\n\n[1, 2]\n\nnull", "{\"a\":\n1}", "1 2\n", "\"\x1b[31m\"\n",
		"\"\\ud800\"\n\"\xff\"\n", "\ufeff{}\n", "1\x00\n", "\u2028\n", "\u00a0\n1", strings.Repeat("1\n", 20),
	} {
		f.Add([]byte(s), false, "")
		f.Add([]byte(s), true, "a-b_1")
	}
	path := f.TempDir() + "/lines"
	f.Fuzz(func(t *testing.T, contents []byte, raw bool, name string) {
		if len(name) > 100 || !batchName(name) {
			name = ""
		}
		numbers, lines := linesOf(contents)
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := manyMessages(path, nil, raw, name, naming{"POST"})
		for i, line := range lines {
			if !raw && !json.Valid([]byte(line)) {
				if want := fmt.Sprintf("line %d is not JSON", numbers[i]); err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Fatalf("got %v, want %s", err, want)
				}
				if strings.ContainsFunc(err.Error(), steers) {
					t.Errorf("the error steers the terminal: %q", err)
				}
				return
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		if b.count != len(lines) {
			t.Fatalf("counted %d lines, want %d", b.count, len(lines))
		}
		synctest.Test(t, func(t *testing.T) { arrivesOnce(t, b, numbers, lines) })
	})
}

// arrivesOnce sends the batch twice and checks what has arrived.
func arrivesOnce(t *testing.T, b *batch, numbers []int, lines []string) {
	t.Helper()
	server := &taker{taken: map[string][]string{}}
	node, err := chttp.New(memstore.New(), &chttp.Options{Transport: server, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- node.Run(ctx) }()
	o := &order{method: "POST", url: &url.URL{Scheme: "http", Host: "server.example", Path: "/"}, header: http.Header{"Content-Type": {"application/json"}}}
	for range 2 {
		var reqs []*http.Request
		err := b.each(func(line int, body []byte) error {
			req, err := o.request(ctx, b, line, body)
			reqs = append(reqs, req)
			return err
		})
		if err == nil {
			_, err = node.SendAll(ctx, reqs...)
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(server.taken) != len(lines) {
		t.Errorf("%d messages arrived, of %d lines", len(server.taken), len(lines))
	}
	for i, line := range lines {
		if got := server.taken[b.id(numbers[i])]; len(got) != 1 || got[0] != line || b.line(b.id(numbers[i])) != numbers[i] {
			t.Errorf("line %d, %q, arrived as %q", numbers[i], line, got)
		}
	}
}

// steers tells whether a character can do more to a terminal than stand there.
func steers(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
