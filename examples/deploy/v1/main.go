// Command v1 is the first version of the shop.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/examples/deploy"
)

func main() { deploy.Main(order) }

// order reserves what is ordered, waits until it is paid, and sends it.
func order(shop deploy.Shop) *chttp.Function[deploy.Order, string] {
	return chttp.Resumable("order", func(ctx context.Context, o deploy.Order) (string, error) {
		if err := chttp.Run(ctx, "reserve", func(context.Context) error { return shop.Note("reserved", o) }); err != nil {
			return "", err
		}
		for i := 0; ; i++ {
			paid, err := chttp.Do(ctx, fmt.Sprint("paid/", i), func(context.Context) (bool, error) { return shop.Paid(o) })
			if err != nil {
				return "", err
			}
			if paid {
				break
			}
			if err := chttp.Sleep(ctx, 100*time.Millisecond); err != nil {
				return "", err
			}
		}
		if err := chttp.Run(ctx, "send", func(context.Context) error { return shop.Note("sent", o) }); err != nil {
			return "", err
		}
		return "sent", nil
	})
}
