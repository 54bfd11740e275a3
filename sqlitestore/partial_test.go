package sqlitestore_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// partialEnv names the file of a process that does what partial says.
const partialEnv = "SQLITESTORE_PARTIAL"

// partial writes back what is in the log up to where a reader is, and then the rest, where a sync fails, if whoever reads its output has seen
// to that. It goes on for as long as the store lets it, and prints how many records it was told are stored.
func partial(path string) error {
	s, err := sqlitestore.Open(path)
	if err != nil {
		return err
	}
	id, err := s.Join(ctx, 0)
	if err != nil {
		return err
	}
	n := 0
	add := func() error {
		c := insert(fmt.Sprintf("%03d", n))
		c.Head = make([]byte, 20_000)
		_, err := s.Commit(ctx, &store.Batch{Token: id.Token, Changes: []store.Change{c}})
		if err == nil {
			n++
		}
		return err
	}
	for range 20 {
		if err := add(); err != nil {
			return err
		}
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	reader, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	var count int
	if err := reader.QueryRow("SELECT count(*) FROM chttp_record").Scan(&count); err != nil {
		return err
	}
	sqlitestore.LimitLog(s, 1)
	if err := add(); err != nil {
		return err
	}
	fmt.Println("partial")
	bufio.NewReader(os.Stdin).ReadString('\n')
	if err := errors.Join(reader.Rollback(), db.Close()); err != nil {
		return err
	}
	for err = nil; err == nil && n < 30; {
		err = add()
	}
	fmt.Println(n, errors.Is(err, store.ErrClosed))
	return s.Close()
}
