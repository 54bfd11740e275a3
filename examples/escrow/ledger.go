package escrow

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Assets that are no goods.
const (
	Coins    = "coins"
	Receipts = "receipts"
)

// escrowAccount owns what the escrow has in trust.
const escrowAccount = "escrow"

// ledgerWait is how long a transaction waits for another connection's, which may be the store's own.
const ledgerWait = 10 * time.Second

// Account is how much of an asset an owner has, and had at first.
type Account struct {
	Owner   string `json:"owner"`
	Asset   string `json:"asset"`
	Opening int64  `json:"opening"`
	Amount  int64  `json:"amount"`
}

// Entry is one booking, decided once. Refused ones are kept as well.
type Entry struct {
	ID       string // of the execution and the step that make it
	Purchase string
	Kind     string // take, give, receipt; hold, release
	Owner    string
	Asset    string
	Amount   int64 // negative takes away
	Decision Decision
}

// Ledger is a party's accounts, in tables of its own beside those of its store, in the same file. It is safe for concurrent use.
type Ledger struct {
	db *sql.DB
}

const ledgerSchema = `
CREATE TABLE IF NOT EXISTS account (
	owner   TEXT    NOT NULL,
	asset   TEXT    NOT NULL,
	opening INTEGER NOT NULL,
	amount  INTEGER NOT NULL CHECK (amount >= 0),
	PRIMARY KEY (owner, asset)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
	id       TEXT    NOT NULL PRIMARY KEY,
	purchase TEXT    NOT NULL,
	kind     TEXT    NOT NULL,
	owner    TEXT    NOT NULL,
	asset    TEXT    NOT NULL,
	amount   INTEGER NOT NULL,
	done     INTEGER NOT NULL,
	why      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;`

// OpenLedger opens the ledger in the file at path, in which a store has been opened before, and makes its tables and the accounts of
// opening if they are not there.
func OpenLedger(ctx context.Context, path string, opening []Account) (*Ledger, error) {
	l, err := connect(path, "rw")
	if err != nil {
		return nil, err
	}
	err = l.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, ledgerSchema); err != nil {
			return err
		}
		for _, a := range opening {
			_, err := tx.ExecContext(ctx, `INSERT INTO account (owner, asset, opening, amount) VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO NOTHING`,
				a.Owner, a.Asset, a.Opening)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	return l, nil
}

// openLedgerReader opens the ledger in the file at path to look at it.
func openLedgerReader(path string) (*Ledger, error) { return connect(path, "ro") }

func connect(path, mode string) (*Ledger, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{
		"mode":    {mode},
		"_txlock": {"immediate"},
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", ledgerWait.Milliseconds()), "synchronous(FULL)"},
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite writes one at a time anyway; here they queue in order
	return &Ledger{db}, nil
}

// Book decides e and does it, in one transaction; the same entry again changes nothing and returns what was decided. It takes away no
// more than there is. An error means that it may have been done: book it again.
func (l *Ledger) Book(ctx context.Context, e Entry) (d Decision, err error) {
	err = l.transact(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO entry (id, purchase, kind, owner, asset, amount, done, why) VALUES (?, ?, ?, ?, ?, ?, 0, '')
			ON CONFLICT DO NOTHING`, e.ID, e.Purchase, e.Kind, e.Owner, e.Asset, e.Amount)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, tx.QueryRowContext(ctx, `SELECT done, why FROM entry WHERE id = ?`, e.ID).Scan(&d.Done, &d.Why))
		}
		if d, err = move(ctx, tx, e); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE entry SET done = ?, why = ? WHERE id = ?`, d.Done, d.Why, e.ID)
		return err
	})
	if err != nil {
		return Decision{}, fmt.Errorf("book %s of %d %s: %w", e.Kind, e.Amount, e.Asset, err)
	}
	return d, nil
}

// move changes e's account, if there is enough on it.
func move(ctx context.Context, tx *sql.Tx, e Entry) (Decision, error) {
	if e.Amount >= 0 {
		_, err := tx.ExecContext(ctx, `INSERT INTO account (owner, asset, opening, amount) VALUES (?1, ?2, 0, ?3)
			ON CONFLICT DO UPDATE SET amount = amount + ?3`, e.Owner, e.Asset, e.Amount)
		return Decision{Done: true}, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE account SET amount = amount + ?3 WHERE owner = ?1 AND asset = ?2 AND amount + ?3 >= 0`,
		e.Owner, e.Asset, e.Amount)
	if err != nil {
		return Decision{}, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return Decision{Why: "lack of " + e.Asset}, err
	}
	return Decision{Done: true}, nil
}

// Accounts returns all accounts.
func (l *Ledger) Accounts(ctx context.Context) (all []Account, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT owner, asset, opening, amount FROM account ORDER BY owner, asset`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a Account
		if err := rows.Scan(&a.Owner, &a.Asset, &a.Opening, &a.Amount); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

// Entries returns all entries.
func (l *Ledger) Entries(ctx context.Context) (all []Entry, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT id, purchase, kind, owner, asset, amount, done, why FROM entry`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&e.ID, &e.Purchase, &e.Kind, &e.Owner, &e.Asset, &e.Amount, &e.Decision.Done, &e.Decision.Why); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// Close closes the ledger's connection.
func (l *Ledger) Close() error { return l.db.Close() }

func (l *Ledger) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // of what was committed, nothing
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}
