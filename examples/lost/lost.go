// Package lost is a checkout that works, passes its tests, and one day, after a crash, charges nothing. Its test shows how
// chttptest.Resumes finds that.
package lost

import (
	"context"
	"fmt"

	"github.com/certifiedhttp/chttp"
)

// Cart is what a customer wants.
type Cart struct {
	Order string
	Items []string
}

// Stock is the shop's own store of goods. Reserve keeps an item for an order, again if it must, and returns its price in cents.
type Stock interface {
	Reserve(ctx context.Context, order, item string) (int, error)
}

// Charge is what the bank is asked for.
type Charge struct {
	Order  string `json:"order"`
	Amount int    `json:"amount"`
}

// Where the others are.
const (
	bankURL   = "https://bank.example/charges"
	parcelURL = "https://parcels.example/parcels"
)

// Checkout reserves what is in the cart, charges for it, and has it sent. It returns the amount.
func Checkout(stock Stock) *chttp.Function[Cart, int] {
	return chttp.Resumable("checkout", func(ctx context.Context, cart Cart) (int, error) {
		var total int
		err := chttp.Run(ctx, "reserve", func(ctx context.Context) error {
			for _, item := range cart.Items {
				price, err := stock.Reserve(ctx, cart.Order, item)
				if err != nil {
					return fmt.Errorf("reserve %s: %w", item, err)
				}
				total += price
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		return total, settle(ctx, cart, total)
	})
}

// settle charges for the cart and has it sent.
func settle(ctx context.Context, cart Cart, total int) error {
	if _, err := chttp.PostJSON[struct{}](ctx, bankURL, Charge{cart.Order, total}); err != nil {
		return err
	}
	_, err := chttp.PostJSON[struct{}](ctx, parcelURL, cart)
	return err
}

// Mended is Checkout as it should be: what the step finds out is its value, which is recorded.
func Mended(stock Stock) *chttp.Function[Cart, int] {
	return chttp.Resumable("checkout", func(ctx context.Context, cart Cart) (int, error) {
		total, err := chttp.Do(ctx, "reserve", func(ctx context.Context) (int, error) {
			var total int
			for _, item := range cart.Items {
				price, err := stock.Reserve(ctx, cart.Order, item)
				if err != nil {
					return 0, fmt.Errorf("reserve %s: %w", item, err)
				}
				total += price
			}
			return total, nil
		})
		if err != nil {
			return 0, err
		}
		return total, settle(ctx, cart, total)
	})
}
