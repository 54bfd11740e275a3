// Package lost is a small function with a bug that only a crash shows, and the test that finds it without one.
package lost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/certifiedhttp/chttp"
)

// Trip is what somebody wants to book.
type Trip struct {
	Traveller, From, To string
}

// Book asks for the fare and pays it. It compiles, it passes every ordinary test, and it is wrong: look for it before you read on.
var Book = chttp.Resumable("book", func(ctx context.Context, trip Trip) (string, error) {
	var fare int
	err := chttp.Run(ctx, "fare", func(ctx context.Context) (err error) {
		fare, err = fareOf(ctx, trip)
		return err
	})
	if err != nil {
		return "", err
	}
	return pay(ctx, trip, fare)
})

// BookRight is Book with the fare where it belongs: in the result of the step, which every run is given. Book's step leaves it in a
// variable; after a crash the step is not done again, and the traveller pays nothing.
var BookRight = chttp.Resumable("book", func(ctx context.Context, trip Trip) (string, error) {
	fare, err := chttp.Do(ctx, "fare", func(ctx context.Context) (int, error) { return fareOf(ctx, trip) })
	if err != nil {
		return "", err
	}
	return pay(ctx, trip, fare)
})

// fareOf stands for a library that asks some other system.
func fareOf(_ context.Context, t Trip) (int, error) { return 90 + len(t.To), nil }

func pay(ctx context.Context, t Trip, fare int) (string, error) {
	body, err := json.Marshal(map[string]any{"from": t.Traveller, "amount": fare})
	if err != nil {
		return "", err
	}
	resp, err := chttp.Post(ctx, "http://bank.example/payments", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("the bank answered %s", resp.Status)
	}
	return fmt.Sprintf("%s goes to %s for %d", t.Traveller, t.To, fare), nil
}
