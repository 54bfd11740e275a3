package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/certifiedhttp/chttp/sqlitestore"
)

// lookInto opens the store in the file at path to look at it, also while a process uses it.
func lookInto(path string) (*sqlitestore.Store, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, advise(fmt.Errorf("there is no file %s", path), "chttp ls --db FILE   with the file of a node, or chttp send --help to make one")
	}
	st, err := sqlitestore.OpenReader(path)
	switch {
	case errors.Is(err, sqlitestore.ErrForeign):
		return nil, advise(err, "chttp ls --db FILE   with the file of a node")
	case errors.Is(err, sqlitestore.ErrSchema):
		return nil, advise(err, "chttp version")
	}
	return st, err
}

// open opens the store in the file at path for this process alone.
func open(path string) (*sqlitestore.Store, error) {
	st, err := sqlitestore.Open(path)
	switch {
	case errors.Is(err, sqlitestore.ErrLocked):
		return nil, advise(err, "chttp ls --db "+path+"   to see how far it is, or chttp send --db OTHER …")
	case errors.Is(err, sqlitestore.ErrForeign):
		return nil, advise(err, "chttp send --db OTHER …   which makes the file")
	case errors.Is(err, fs.ErrNotExist):
		return nil, advise(err, "chttp send --db FILE …   in a directory that exists")
	}
	return st, err
}
