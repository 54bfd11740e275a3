package escrow_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/examples/escrow"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// trade does what the parties should do for every order, without them, and returns what buyers are told.
func trade(t *testing.T, dir string, m *escrow.Market) map[string]escrow.Outcome {
	t.Helper()
	ledgers := map[string]*escrow.Ledger{}
	for _, p := range escrow.Parties {
		ledgers[p] = openLedger(t, escrow.File(dir, p), m.Opening[p]...)
	}
	n := 0
	told := map[string]escrow.Outcome{}
	for _, o := range m.Orders {
		book := func(party, kind, owner, asset string, amount int64) bool {
			n++
			return book(t, ledgers[party], escrow.Entry{
				ID: fmt.Sprint(n), Purchase: o.Purchase, Kind: kind, Owner: owner, Asset: asset, Amount: amount,
			}).Done
		}
		paid := book(escrow.Bank, "take", o.Buyer, escrow.Coins, -o.Price)
		taken := book(escrow.Shop, "take", o.Seller, o.Item, -o.Quantity)
		coinsTo, goodsTo := o.Seller, o.Buyer
		if !paid || !taken {
			coinsTo, goodsTo = o.Buyer, o.Seller
		}
		if paid {
			book(escrow.TheEscrow, "hold", "escrow", escrow.Coins, o.Price)
			book(escrow.TheEscrow, "release", "escrow", escrow.Coins, -o.Price)
			book(escrow.Bank, "give", coinsTo, escrow.Coins, o.Price)
		}
		if taken {
			book(escrow.TheEscrow, "hold", "escrow", o.Item, o.Quantity)
			book(escrow.TheEscrow, "release", "escrow", o.Item, -o.Quantity)
			book(escrow.Shop, "give", goodsTo, o.Item, o.Quantity)
		}
		book(escrow.Shop, "receipt", o.Buyer, escrow.Receipts, 1)
		told[o.Purchase] = escrow.Outcome{Purchase: o.Purchase, Done: paid && taken, Why: "lack of something"}
	}
	for _, l := range ledgers {
		l.Close()
	}
	return told
}

func TestAuditFindsNothingWrongWhereNothingIs(t *testing.T) {
	dir, m := t.TempDir(), escrow.NewMarket(30, 1)
	r := audit(t, dir, m, trade(t, dir, m))
	if !r.OK() || len(r.Findings) > 0 {
		t.Errorf("got %+v, want all right", r)
	}
	if r.Done == 0 || r.Done == len(m.Orders) {
		t.Errorf("%d of %d purchases are done; want some of them refused", r.Done, len(m.Orders))
	}
}

func TestAuditFindsWhatIsWrong(t *testing.T) {
	right, m := t.TempDir(), escrow.NewMarket(30, 1)
	told := trade(t, right, m)
	for _, c := range []struct {
		name  string
		party string
		sql   string // changes the party's file behind its back
		want  func(*escrow.Report) bool
		find  string
	}{
		{
			"a lost booking", escrow.Bank, `DELETE FROM entry WHERE id = (SELECT min(id) FROM entry WHERE kind = 'give')`,
			func(r *escrow.Report) bool { return r.Lost == 1 && r.Doubled == 0 && r.Unbalanced == 1 }, "lost: bank give",
		},
		{
			"a doubled booking", escrow.Shop,
			`INSERT INTO entry SELECT 'again', purchase, kind, owner, asset, amount, done, why FROM entry WHERE kind = 'take' AND done LIMIT 1`,
			func(r *escrow.Report) bool { return r.Lost == 0 && r.Doubled == 1 && r.Unbalanced == 1 }, "1 too many: shop take",
		},
		{
			"a doubled receipt", escrow.Shop,
			`INSERT INTO entry SELECT 'again', purchase, kind, owner, asset, amount, done, why FROM entry WHERE kind = 'receipt' LIMIT 1`,
			func(r *escrow.Report) bool { return r.Lost == 0 && r.Doubled == 1 }, "1 too many: shop receipt",
		},
		{
			"the wrong recipient", escrow.Bank,
			`UPDATE entry SET owner = 'mallory' WHERE id = (SELECT min(id) FROM entry WHERE kind = 'give')`,
			func(r *escrow.Report) bool { return r.Lost == 1 && r.Doubled == 1 }, "of mallory",
		},
		{
			"money from nowhere", escrow.Bank, `UPDATE account SET amount = amount + 1 WHERE owner = 'ann'`,
			func(r *escrow.Report) bool { return r.Unbalanced == 1 && !r.Conserved(coins) && r.Conserved(goods) }, "coins: ",
		},
		{
			"goods gone", escrow.Shop, `UPDATE account SET amount = amount - 1 WHERE owner = 'iris' AND amount > 0 OR owner = 'jack' AND amount > 0`,
			func(r *escrow.Report) bool { return r.Unbalanced > 0 && r.Conserved(coins) && !r.Conserved(goods) }, "should have",
		},
		{
			"a booking without an order", escrow.Bank, `INSERT INTO entry VALUES ('x', 'purchase-x', 'take', 'ann', 'coins', 0, 1, '')`,
			func(r *escrow.Report) bool { return r.Doubled == 1 }, "nobody asked",
		},
		{
			"everything of the escrow lost", escrow.TheEscrow, `DELETE FROM entry`,
			func(r *escrow.Report) bool { return r.Lost > 50 }, "lost: escrow hold",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(right)); err != nil {
				t.Fatal(err)
			}
			tamper(t, escrow.File(dir, c.party), c.sql)
			r := audit(t, dir, m, told)
			if r.OK() || !c.want(r) {
				t.Errorf("got %+v", r)
			}
			if all := strings.Join(r.Findings, "\n"); !strings.Contains(all, c.find) {
				t.Errorf("findings\n%s\nwant one with %q", all, c.find)
			}
		})
	}
}

func TestAuditFindsUntrueAnswers(t *testing.T) {
	dir, m := t.TempDir(), escrow.NewMarket(30, 1)
	told := trade(t, dir, m)
	first, second := m.Orders[0].Purchase, m.Orders[1].Purchase
	told[first] = escrow.Outcome{Purchase: first, Done: !told[first].Done}
	delete(told, second)
	if r := audit(t, dir, m, told); r.OK() || r.Untrue != 1 || r.Lost != 1 {
		t.Errorf("got %+v, want 1 untrue and 1 lost", r)
	}
}

func TestAuditFindsWhatIsUnfinished(t *testing.T) {
	for _, state := range []store.State{store.Running, store.Waiting, store.Parked, store.Rejected, store.Undelivered, store.Unknown} {
		t.Run(state.String(), func(t *testing.T) {
			dir, m := t.TempDir(), escrow.NewMarket(1, 1)
			told := trade(t, dir, m)
			leave(t, escrow.File(dir, escrow.Shop), state)
			if r := audit(t, dir, m, told); r.OK() || len(r.Unfinished) != 1 {
				t.Errorf("got %+v, want one unfinished", r)
			}
		})
	}
}

func coins(asset string) bool { return asset == escrow.Coins }
func goods(asset string) bool { return asset != escrow.Coins }

func audit(t *testing.T, dir string, m *escrow.Market, told map[string]escrow.Outcome) *escrow.Report {
	t.Helper()
	r, err := escrow.Audit(t.Context(), dir, m.Orders, told)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tamper(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	res, err := db.Exec(query)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		t.Fatalf("%s: changed nothing", query)
	}
}

// leave puts an execution that has not come to an outcome into the store at path.
func leave(t *testing.T, path string, state store.State) {
	t.Helper()
	st, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx := context.WithoutCancel(t.Context())
	id, err := st.Join(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Commit(ctx, &store.Batch{Token: id.Token, Changes: []store.Change{{
		Key: store.Key{ID: chttp.ID("left-over")}, Run: 1, Version: 1, Function: "send", State: state,
	}}})
	if err != nil {
		t.Fatal(err)
	}
}
