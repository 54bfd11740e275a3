package escrow

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// Report is what an audit found. OK tells whether all is right.
type Report struct {
	Purchases int            `json:"purchases"` // asked for
	Done      int            `json:"done"`
	Refused   map[string]int `json:"refused"` // by why

	Lost       int `json:"lost"`       // bookings that should be there and are not, and purchases without an answer
	Doubled    int `json:"doubled"`    // bookings that should not be there
	Untrue     int `json:"untrue"`     // purchases whose buyer was told something else than what happened
	Unbalanced int `json:"unbalanced"` // accounts that are not the sum of their entries

	Assets     []Sum    `json:"assets"`
	Unfinished []string `json:"unfinished,omitempty"` // executions that still run, are parked, or ended without an outcome
	Findings   []string `json:"findings,omitempty"`   // the first of all that is wrong, for people
}

// Sum is how much there is of an asset, over all parties, before and after.
type Sum struct {
	Asset  string `json:"asset"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
}

// maxFindings is how many findings a report spells out; the others are only counted.
const maxFindings = 20

// OK tells whether nothing is lost, doubled, untrue, out of balance or unfinished, and of every asset there is as much as before.
func (r *Report) OK() bool {
	return r.Lost+r.Doubled+r.Untrue+r.Unbalanced+len(r.Unfinished) == 0 && r.Conserved(func(string) bool { return true })
}

// Conserved tells whether there is as much as before of every asset that is chosen.
func (r *Report) Conserved(chosen func(asset string) bool) bool {
	return !slices.ContainsFunc(r.Assets, func(s Sum) bool { return chosen(s.Asset) && s.Before != s.After })
}

func (r *Report) find(format string, args ...any) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// File is where a party keeps everything, in the directory of all.
func File(dir, party string) string { return filepath.Join(dir, party+".db") }

// Audit looks at the three files in dir, which may be in use, and compares them with what was asked and with what was answered, by
// purchase. It believes nothing but the files: it derives from the two decisions of a purchase, whether there was money and whether there
// were goods, which bookings there have to be, and compares them with those that there are.
func Audit(ctx context.Context, dir string, asked []Order, told map[string]Outcome) (*Report, error) {
	r := &Report{Purchases: len(asked), Refused: map[string]int{}}
	b := &books{entries: map[string][]booking{}, sums: map[string]*Sum{}}
	for _, party := range Parties {
		if err := b.read(ctx, File(dir, party), party, r); err != nil {
			return nil, err
		}
	}
	for _, o := range asked {
		out, done := told[o.Purchase]
		if !done {
			r.Lost++
			r.find("%s: never answered", o.Purchase)
		}
		b.check(o, out, r)
		delete(b.entries, o.Purchase)
	}
	for _, purchase := range slices.Sorted(maps.Keys(b.entries)) {
		r.Doubled += len(b.entries[purchase])
		r.find("%s: booked, but nobody asked for it", purchase)
	}
	for _, asset := range slices.Sorted(maps.Keys(b.sums)) {
		if s := *b.sums[asset]; asset != Receipts {
			r.Assets = append(r.Assets, s)
			if s.Before != s.After {
				r.find("%s: %d before, %d after", s.Asset, s.Before, s.After)
			}
		}
	}
	return r, nil
}

// books are all entries and accounts of all parties.
type books struct {
	entries map[string][]booking // by purchase
	sums    map[string]*Sum      // by asset
}

// booking is an entry without its id: what must be there exactly once.
type booking struct {
	party, kind, owner, asset string
	amount                    int64
	done                      bool
}

func (b booking) String() string {
	refused := ""
	if !b.done {
		refused = ", refused"
	}
	return fmt.Sprintf("%s %s %+d %s of %s%s", b.party, b.kind, b.amount, b.asset, b.owner, refused)
}

// read adds the file of a party to the books, and what is wrong with the file in itself to the report.
func (b *books) read(ctx context.Context, path, party string, r *Report) error {
	l, err := openLedgerReader(path)
	if err != nil {
		return err
	}
	defer l.Close()
	accounts, err := l.Accounts(ctx)
	if err != nil {
		return fmt.Errorf("read the accounts of %s: %w", path, err)
	}
	entries, err := l.Entries(ctx)
	if err != nil {
		return fmt.Errorf("read the entries of %s: %w", path, err)
	}
	booked := map[[2]string]int64{}
	for _, e := range entries {
		b.entries[e.Purchase] = append(b.entries[e.Purchase], booking{party, e.Kind, e.Owner, e.Asset, e.Amount, e.Decision.Done})
		if e.Decision.Done {
			booked[[2]string{e.Owner, e.Asset}] += e.Amount
		}
	}
	for _, a := range accounts {
		if due := a.Opening + booked[[2]string{a.Owner, a.Asset}]; due != a.Amount {
			r.Unbalanced++
			r.find("%s: %s has %d %s, and should have %d by the entries", party, a.Owner, a.Amount, a.Asset, due)
		}
		s := b.sums[a.Asset]
		if s == nil {
			s = &Sum{Asset: a.Asset}
			b.sums[a.Asset] = s
		}
		s.Before += a.Opening
		s.After += a.Amount
	}
	return r.unfinished(ctx, path, party)
}

// check compares the bookings of o with those that there should be.
func (b *books) check(o Order, out Outcome, r *Report) {
	var paid, taken bool
	count := map[booking]int{}
	for _, e := range b.entries[o.Purchase] {
		count[e]++
		paid = paid || e.done && e.party == Bank && e.kind == "take"
		taken = taken || e.done && e.party == Shop && e.kind == "take"
	}
	for _, e := range right(o, paid, taken) {
		count[e]--
	}
	for _, e := range slices.SortedFunc(maps.Keys(count), func(a, b booking) int { return cmp.Compare(a.String(), b.String()) }) {
		switch n := count[e]; {
		case n < 0:
			r.Lost -= n
			r.find("%s: lost: %v", o.Purchase, e)
		case n > 0:
			r.Doubled += n
			r.find("%s: %d too many: %v", o.Purchase, n, e)
		}
	}
	if out.Purchase != "" && (out.Purchase != o.Purchase || out.Done != (paid && taken)) {
		r.Untrue++
		r.find("%s: answered %+v, but paid is %t and taken is %t", o.Purchase, out, paid, taken)
	}
	if paid && taken {
		r.Done++
	} else {
		r.Refused[out.Why]++
	}
}

// right returns the bookings of a purchase for which there was, or was not, money and goods.
func right(o Order, paid, taken bool) []booking {
	all := []booking{
		{Bank, "take", o.Buyer, Coins, -o.Price, paid},
		{Shop, "take", o.Seller, o.Item, -o.Quantity, taken},
		{Shop, "receipt", o.Buyer, Receipts, 1, true},
	}
	coinsTo, goodsTo := o.Seller, o.Buyer
	if !paid || !taken {
		coinsTo, goodsTo = o.Buyer, o.Seller
	}
	trust := func(asset string, amount int64, party, owner string) {
		all = append(all,
			booking{TheEscrow, "hold", escrowAccount, asset, amount, true},
			booking{TheEscrow, "release", escrowAccount, asset, -amount, true},
			booking{party, "give", owner, asset, amount, true})
	}
	if paid {
		trust(Coins, o.Price, Bank, coinsTo)
	}
	if taken {
		trust(o.Item, o.Quantity, Shop, goodsTo)
	}
	return all
}

// Unfinished returns what a party's store has not brought to an outcome, at most limit lines of it.
func Unfinished(ctx context.Context, path string, limit int) (lines []string, err error) {
	st, err := sqlitestore.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	open := []store.State{store.Running, store.Waiting, store.Parked, store.Rejected, store.Undelivered, store.Unknown, store.Canceled}
	records, err := st.List(ctx, store.Query{States: open, Limit: limit})
	for _, rec := range records {
		lines = append(lines, fmt.Sprintf("%s %s is %s", rec.Function, rec.ID, rec.State))
	}
	return lines, err
}

func (r *Report) unfinished(ctx context.Context, path, party string) error {
	lines, err := Unfinished(ctx, path, maxFindings)
	for _, line := range lines {
		r.Unfinished = append(r.Unfinished, party+": "+line)
		r.find("%s: %s", party, line)
	}
	return err
}
