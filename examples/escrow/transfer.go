package escrow

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/certifiedhttp/chttp"
)

// Transfer is what the escrow asks of a bank or a shop: to take so much from its owner, or to give it to one.
type Transfer struct {
	Purchase string `json:"purchase"`
	Owner    string `json:"owner"`
	Asset    string `json:"asset"`
	Amount   int64  `json:"amount"`
}

// Decision is what became of a transfer. A refusal is an answer like any other, not an error: it is recorded and final.
type Decision struct {
	Done bool   `json:"done"`
	Why  string `json:"why,omitempty"`
}

// want returns an error if d is a refusal where there is no reason to refuse.
func want(d Decision) error {
	if d.Done {
		return nil
	}
	return fmt.Errorf("refused: %s", d.Why)
}

// bankRoutes and shopRoutes are the same program; only what is on their accounts differs. The shop also gets receipts.
func bankRoutes(l *Ledger) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /take", l.transfers("take", -1))
	mux.HandleFunc("POST /give", l.transfers("give", +1))
	mux.HandleFunc("GET /accounts", l.serveAccounts)
	return mux
}

func shopRoutes(l *Ledger) *http.ServeMux {
	mux := bankRoutes(l)
	mux.HandleFunc("PUT /receipts", l.transfers("receipt", +1))
	return mux
}

// transfers returns a handler that does one transfer. However often and however late its request arrives, it runs for it until it
// has answered once; all repetitions get that answer.
func (l *Ledger) transfers(kind string, sign int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var t Transfer
		if err := json.NewDecoder(r.Body).Decode(&t); err != nil || t.Purchase == "" || t.Owner == "" || t.Amount < 1 {
			http.Error(w, "want a transfer: purchase, owner, asset, amount", http.StatusBadRequest)
			return
		}
		d, err := l.step(r.Context(), kind, t, sign*t.Amount)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, d)
	}
}

// step books t as a step of the execution that ctx belongs to. The step is done at least once: killed between the commit of the
// ledger and the record of its result, it is done again when the process is back. So its entry is keyed by the execution, and the second
// time finds what the first decided. The key is not the purchase: that would hide, also from the audit, if one purchase came as
// two messages. It is the work of Certified HTTP that it does not.
func (l *Ledger) step(ctx context.Context, kind string, t Transfer, amount int64) (Decision, error) {
	name := kind + " " + t.Asset
	here, _ := chttp.From(ctx)
	entry := Entry{
		ID: here.Principal + "/" + here.ID + "/" + name, Purchase: t.Purchase, Kind: kind, Owner: t.Owner, Asset: t.Asset, Amount: amount,
	}
	return chttp.Do(ctx, name, func(ctx context.Context) (Decision, error) { return l.Book(ctx, entry) })
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // in memory, until it is durable
}

func (l *Ledger) serveAccounts(w http.ResponseWriter, r *http.Request) {
	all, err := l.Accounts(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, all)
}
