package escrow_test

import (
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/certifiedhttp/chttp/examples/escrow"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

// openLedger makes a file as a party does: first the store, then the ledger beside it.
func openLedger(t *testing.T, path string, opening ...escrow.Account) *escrow.Ledger {
	t.Helper()
	st, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := escrow.OpenLedger(t.Context(), path, opening)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func book(t *testing.T, l *escrow.Ledger, e escrow.Entry) escrow.Decision {
	t.Helper()
	d, err := l.Book(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func amount(t *testing.T, l *escrow.Ledger, owner, asset string) int64 {
	t.Helper()
	all, err := l.Accounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Owner == owner && a.Asset == asset {
			return a.Amount
		}
	}
	return 0
}

func TestBookingTwiceIsBookingOnce(t *testing.T) {
	l := openLedger(t, filepath.Join(t.TempDir(), "bank.db"), escrow.Account{Owner: "ann", Asset: escrow.Coins, Opening: 100})
	e := escrow.Entry{ID: "1", Purchase: "p", Kind: "take", Owner: "ann", Asset: escrow.Coins, Amount: -60}
	for range 3 {
		if d := book(t, l, e); !d.Done {
			t.Fatalf("got %+v, want done", d)
		}
	}
	if got, want := amount(t, l, "ann", escrow.Coins), int64(40); got != want {
		t.Errorf("ann has %d, want %d", got, want)
	}
}

func TestRefusalIsDecidedOnce(t *testing.T) {
	l := openLedger(t, filepath.Join(t.TempDir(), "bank.db"), escrow.Account{Owner: "ann", Asset: escrow.Coins, Opening: 50})
	e := escrow.Entry{ID: "1", Purchase: "p", Kind: "take", Owner: "ann", Asset: escrow.Coins, Amount: -60}
	want := escrow.Decision{Why: "lack of coins"}
	if got := book(t, l, e); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	book(t, l, escrow.Entry{ID: "2", Purchase: "q", Kind: "give", Owner: "ann", Asset: escrow.Coins, Amount: 100})
	if got := book(t, l, e); got != want {
		t.Errorf("now that there is money: got %+v, want the decision %+v", got, want)
	}
	if got := amount(t, l, "ann", escrow.Coins); got != 150 {
		t.Errorf("ann has %d, want 150", got)
	}
}

func TestLedgerNeverPaysMoreThanThereIs(t *testing.T) {
	l := openLedger(t, filepath.Join(t.TempDir(), "bank.db"), escrow.Account{Owner: "ann", Asset: escrow.Coins, Opening: 10})
	var wg sync.WaitGroup
	done := make([]bool, 40)
	for i := range done {
		wg.Go(func() {
			d, err := l.Book(t.Context(), escrow.Entry{ID: strconv.Itoa(i), Owner: "ann", Asset: escrow.Coins, Amount: -1})
			if err != nil {
				t.Error(err)
			}
			done[i] = d.Done
		})
	}
	wg.Wait()
	n := 0
	for _, d := range done {
		if d {
			n++
		}
	}
	if got := amount(t, l, "ann", escrow.Coins); n != 10 || got != 0 {
		t.Errorf("paid %d times and has %d, want 10 times and 0", n, got)
	}
}

func TestOpeningIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bank.db")
	opening := escrow.Account{Owner: "ann", Asset: escrow.Coins, Opening: 10}
	l := openLedger(t, path, opening)
	book(t, l, escrow.Entry{ID: "1", Owner: "ann", Asset: escrow.Coins, Amount: -4})
	l.Close()
	if got := amount(t, openLedger(t, path, opening), "ann", escrow.Coins); got != 6 {
		t.Errorf("after opening again ann has %d, want 6", got)
	}
}
