package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
)

// conn is one connection to the file, used by one goroutine at a time. It talks to the driver without database/sql between: a
// commit is a few hundred short statements, and the pool's locks and conversions would cost as much as they do.
type conn struct {
	driver.Conn
	kept []*stmt
}

// Close finalizes the kept statements first. With one of them left SQLite would keep the files open.
func (c *conn) Close() error {
	var errs []error
	for _, st := range c.kept {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}

// keep prepares a statement that lives as long as the connection.
func (c *conn) keep(sql string) (*stmt, error) {
	st, err := c.prepare(sql)
	if err == nil {
		c.kept = append(c.kept, st)
	}
	return st, err
}

// uri returns the name under which SQLite opens the file at path, with a mode: rwc, rw or ro.
func uri(path, mode string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a Windows drive
	}
	return (&url.URL{Scheme: "file", Path: p, RawQuery: "mode=" + mode + "&_error_rc=1"}).String()
}

// busyPragma has a connection wait for busyTimeout.
var busyPragma = fmt.Sprintf("busy_timeout = %d", busyTimeout.Milliseconds())

func connect(path, mode string, pragmas ...string) (*conn, error) {
	connector, err := sqlite.NewConnector(uri(path, mode))
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: dc}
	for _, p := range append([]string{busyPragma}, pragmas...) {
		if err := c.run("PRAGMA " + p); err != nil {
			c.Close()
			return nil, fmt.Errorf("pragma %s: %w", p, err)
		}
	}
	return c, nil
}

// run executes one or more statements without arguments or results.
func (c *conn) run(sql string) error {
	_, err := c.Conn.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

// ask runs a query once and returns its first row.
func (c *conn) ask(sql string) ([]driver.Value, error) {
	st, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var row []driver.Value
	err = st.query(context.Background(), func(r []driver.Value) error {
		if row == nil {
			row = append(row, r...)
		}
		return nil
	})
	if err == nil && row == nil {
		err = io.ErrUnexpectedEOF
	}
	return row, err
}

// askInt runs a query once and returns the integer that is the first column of its first row.
func (c *conn) askInt(sql string) (int64, error) {
	row, err := c.ask(sql)
	if err != nil {
		return 0, err
	}
	n, ok := row[0].(int64)
	if !ok {
		return 0, fmt.Errorf("%s: %v is no integer", sql, row[0])
	}
	return n, nil
}

// stmt is a prepared statement that keeps the memory of its arguments and of a row.
type stmt struct {
	driver.Stmt
	args []driver.NamedValue
	row  []driver.Value
}

func (c *conn) prepare(sql string) (*stmt, error) {
	st, err := c.Conn.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("prepare %.40q: %w", sql, err)
	}
	return &stmt{Stmt: st}, nil
}

// bind takes ints, strings, bytes and nil; it is the caller's to give types that the driver knows.
func (s *stmt) bind(args []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

// exec runs the statement and returns how many rows it changed.
func (s *stmt) exec(args ...driver.Value) (int64, error) {
	res, err := s.Stmt.(driver.StmtExecContext).ExecContext(context.Background(), s.bind(args))
	clear(s.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// query calls each with every row. The row is each's only until it returns; what it points to may be kept.
func (s *stmt) query(ctx context.Context, each func(row []driver.Value) error, args ...driver.Value) error {
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, s.bind(args))
	clear(s.args)
	if err != nil {
		return err
	}
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil {
			err = each(s.row)
		}
	}
	clear(s.row)
	if e := rows.Close(); err == io.EOF {
		err = e
	}
	return err
}
