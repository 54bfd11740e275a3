// Package escrow swaps money for goods between parties that do not trust each other, over a network that loses, doubles and delays,
// in processes that die: the example that Certified HTTP was first written for.
//
// There are three parties, each a process with a file of its own:
//
//	bank    knows who has how many coins
//	shop    knows who has how many lamps, chairs and so on
//	escrow  takes both sides of a purchase in trust, and then hands them over crosswise
//
// A purchase is one request to the escrow, which does it in two phases. It gathers: the money from the buyer's account at the bank, the
// goods from the seller's shelf in the shop. If both came, it distributes: the money to the seller, the goods to the buyer. If one did
// not, it gives back the other. What is on nobody's account meanwhile is in a message, and messages are not lost.
//
// Read in this order: escrow.go (what a purchase is), transfer.go (how a bank or a shop does its part), ledger.go (a party's own tables,
// and why a step that runs twice is safe), party.go (what makes a program of it), audit.go (how one sees that it was right). None
// of it mentions a retry, a lock or a recovery: a handler reads as if nothing ever failed.
package escrow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/certifiedhttp/chttp"
)

// Order asks the escrow for a purchase.
type Order struct {
	Purchase string `json:"purchase"` // names it, for people and for the audit
	Buyer    string `json:"buyer"`
	Seller   string `json:"seller"`
	Item     string `json:"item"`
	Quantity int64  `json:"quantity"`
	Price    int64  `json:"price"` // of all together, in coins
}

// Outcome is how a purchase ended. Not done means that nobody has lost or won anything, and Why says for want of what.
type Outcome struct {
	Purchase string `json:"purchase"`
	Done     bool   `json:"done"`
	Why      string `json:"why,omitempty"`
}

// escrow is the party in the middle.
type escrow struct {
	node       *chttp.Node
	ledger     *Ledger
	bank, shop string // URLs
	gather     *chttp.Function[side, Decision]
	distribute *chttp.Function[side, Decision]
}

// side is one side of a purchase: coins from or to an account at the bank, or goods from or to a shelf in the shop.
type side struct {
	URL      string // of the transfer
	Transfer Transfer
}

func newEscrow(node *chttp.Node, ledger *Ledger, bank, shop string) *escrow {
	e := &escrow{node: node, ledger: ledger, bank: bank, shop: shop}
	e.gather = chttp.Resumable("gather", e.takeInTrust)
	e.distribute = chttp.Resumable("distribute", e.handOver)
	node.Register(e.gather, e.distribute)
	return e
}

func (e *escrow) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /purchases", e.purchase)
	mux.HandleFunc("GET /accounts", e.ledger.serveAccounts)
	return mux
}

// purchase answers an order. Killed anywhere, it runs again from here when the process is back, whether or not the client is; every
// call that was answered gets its recorded answer, and the first that was not goes on as the same message.
func (e *escrow) purchase(w http.ResponseWriter, r *http.Request) {
	var o Order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil || o.Purchase == "" || o.Quantity < 1 || o.Price < 1 {
		http.Error(w, "want an order: purchase, buyer, seller, item, quantity, price", http.StatusBadRequest)
		return
	}
	out, err := e.swap(r.Context(), o)
	if err != nil {
		// A party did not answer for as long as messages live, which is days, or answered what no party should. What
		// was gathered stays in trust, on the escrow's own account, until people have looked at it.
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, out)
}

func (e *escrow) swap(ctx context.Context, o Order) (Outcome, error) {
	coins := side{e.bank, Transfer{Purchase: o.Purchase, Owner: o.Buyer, Asset: Coins, Amount: o.Price}}
	goods := side{e.shop, Transfer{Purchase: o.Purchase, Owner: o.Seller, Asset: o.Item, Amount: o.Quantity}}
	paid, taken, err := e.both(ctx, "gather", e.gather, &coins, &goods)
	if err != nil {
		return Outcome{}, err
	}

	out := Outcome{Purchase: o.Purchase, Done: paid.Done && taken.Done}
	if out.Done {
		coins.Transfer.Owner, goods.Transfer.Owner = o.Seller, o.Buyer
	} else {
		out.Why = paid.Why
		if paid.Done {
			out.Why = taken.Why
		}
	}
	// Each side goes where it belongs now, or back where it came from. One that never came goes nowhere.
	var in [2]*side
	if paid.Done {
		in[0] = &coins
	}
	if taken.Done {
		in[1] = &goods
	}
	if _, _, err := e.both(ctx, "distribute", e.distribute, in[0], in[1]); err != nil {
		return Outcome{}, err
	}
	return out, e.sendReceipt(ctx, o)
}

// both does f for the two sides at the same time. The branches may run in any order, now and when they are replayed: what happens in
// one is recorded apart from the other.
func (e *escrow) both(ctx context.Context, name string, f *chttp.Function[side, Decision], coins, goods *side) (c, g Decision, err error) {
	var futures [2]*chttp.Future[Decision]
	for i, s := range []*side{coins, goods} {
		if s != nil {
			futures[i] = chttp.Go(ctx, name+" "+s.Transfer.Asset, func(ctx context.Context) (Decision, error) { return f.Call(ctx, *s) })
		}
	}
	var errs [2]error
	if futures[0] != nil {
		c, errs[0] = futures[0].Wait(ctx)
	}
	if futures[1] != nil {
		g, errs[1] = futures[1].Wait(ctx)
	}
	return c, g, errors.Join(errs[:]...)
}

// takeInTrust has the other party take s from its owner and, if it could, puts it on the escrow's own account.
func (e *escrow) takeInTrust(ctx context.Context, s side) (Decision, error) {
	d, err := chttp.PostJSON[Decision](ctx, s.URL+"/take", s.Transfer)
	if err != nil || !d.Done {
		return d, err
	}
	return e.book(ctx, s.Transfer, "hold", s.Transfer.Amount)
}

// handOver takes s from the escrow's own account and has the other party give it to its owner, who is another one by now.
func (e *escrow) handOver(ctx context.Context, s side) (Decision, error) {
	if d, err := e.book(ctx, s.Transfer, "release", -s.Transfer.Amount); err != nil || !d.Done {
		return d, errors.Join(err, want(d))
	}
	d, err := chttp.PostJSON[Decision](ctx, s.URL+"/give", s.Transfer)
	return d, errors.Join(err, want(d))
}

func (e *escrow) book(ctx context.Context, t Transfer, kind string, amount int64) (Decision, error) {
	t.Owner = escrowAccount
	return e.ledger.step(ctx, kind, t, amount)
}

// sendReceipt tells the shop how it ended, and does not wait for it to listen: the message is stored with everything else that this
// handler did, and delivered whenever the shop can be reached. The replay of a run that sent it sends nothing.
func (e *escrow) sendReceipt(ctx context.Context, o Order) error {
	body, err := json.Marshal(Transfer{Purchase: o.Purchase, Owner: o.Buyer, Asset: Receipts, Amount: 1})
	if err != nil {
		return err
	}
	_, err = e.node.Put(ctx, e.shop+"/receipts", "application/json", bytes.NewReader(body))
	return err
}
