package sqlitestore

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/certifiedhttp/chttp/store"
)

// node is the one row about the node itself.
type node struct {
	name        string
	secret      []byte
	incarnation uint64
	floor       int64
	floored     bool // a first join has given the floor
}

// nodeSQL selects it.
const nodeSQL = "SELECT name, secret, incarnation, floor, sum FROM chttp_node"

func (n *node) token() store.Token { return store.Token{Node: n.name, Incarnation: n.incarnation} }

// sum covers the whole row: a floor that fell unseen would let an old message in as a new one.
func (n *node) sum() int64 {
	return sum([]int64{int64(n.incarnation), n.floor, bit(n.floored)}, []string{n.name}, n.secret)
}

// floorValue is the floor as stored, null before the first join.
func (n *node) floorValue() driver.Value {
	if !n.floored {
		return nil
	}
	return n.floor
}

func scanNode(row []driver.Value) (node, error) {
	var n node
	n.name, _ = row[0].(string)
	n.secret, _ = row[1].([]byte)
	incarnation, _ := row[2].(int64)
	n.incarnation = uint64(incarnation)
	n.floor, n.floored = row[3].(int64)
	if row[4] != n.sum() {
		return node{}, damaged("the node's row")
	}
	return n, nil
}

// readNode reads the node with a statement of nodeSQL.
func readNode(st *stmt) (n node, err error) {
	found := 0
	err = st.query(context.Background(), func(row []driver.Value) error {
		found++
		n, err = scanNode(row)
		return err
	})
	if err == nil && found != 1 {
		err = fmt.Errorf("%w: it has %d rows about the node; restore it from a copy", ErrCorrupt, found)
	}
	return n, err
}

func (w *writer) writeNode(n node) error {
	_, err := w.setNode.exec(int64(n.incarnation), n.floorValue(), n.sum())
	return err
}
