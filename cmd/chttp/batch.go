package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/certifiedhttp/chttp"
)

const (
	// maxLine is the longest line that is sent, in bytes.
	maxLine = 10 << 20

	// minID is how long an id must be for servers that serve anybody.
	minID = 22

	// lineDigits is how many digits of a line's number are in an id at the least.
	lineDigits = 9
)

// batch is the messages of one command: one from the command line, or the lines of a file. It names them, so that the same
// command, run again, means the same messages.
type batch struct {
	name  string
	count int      // messages
	one   []byte   // the only message's body, if there is no file
	file  *os.File // with a message in each line that is not blank
	size  int64    // of the file, as it was read
	spool string   // the name of the file, if it is only a copy of what came in
}

// id returns the id of the message in the given line.
func (b *batch) id(line int) chttp.ID {
	return b.prefix() + fmt.Sprintf("%0*d", max(lineDigits, minID-len(b.prefix())), line)
}

// prefix is what the ids of all messages of the batch begin with, and those of no other batch.
func (b *batch) prefix() string { return b.name + "." }

// line returns the number of the line whose message has the given id.
func (b *batch) line(id chttp.ID) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(id, b.prefix()))
	return n
}

// close frees what the batch holds.
func (b *batch) close() {
	if b.file != nil {
		b.file.Close()
	}
	if b.spool != "" {
		os.Remove(b.spool)
	}
}

// naming is what a batch is named by if it has no name: the method, the URL and the headers that matter, and the contents.
type naming []string

func (n naming) name(contents []byte) string {
	h := sha256.New()
	for _, s := range n {
		fmt.Fprintf(h, "%d %s\n", len(s), s)
	}
	h.Write(contents)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:15]))
}

// oneMessage makes a batch of one message.
func oneMessage(body []byte, name string, n naming) *batch {
	if name == "" {
		sum := sha256.Sum256(body)
		name = n.name(sum[:])
	}
	return &batch{name: name, count: 1, one: body}
}

// manyMessages makes a batch of the lines of the file at path, or of in if that is "-". It reads all of it once, to see that every
// line is right and to name the batch, and keeps none of it in memory.
func manyMessages(path string, in io.Reader, raw bool, name string, n naming) (*batch, error) {
	b := &batch{name: name}
	var err error
	if path == "-" {
		b.file, err = spool(in)
	} else {
		b.file, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	if path == "-" {
		b.spool = b.file.Name()
	}
	h := sha256.New()
	size := new(counter)
	err = eachLine(io.TeeReader(b.file, io.MultiWriter(h, size)), func(line int, body []byte) error {
		if !raw && !json.Valid(body) {
			return fmt.Errorf("line %d is not JSON: %s", line, printable(body, 60))
		}
		b.count++
		return nil
	})
	if err != nil {
		b.close()
		return nil, err
	}
	b.size = int64(*size)
	if b.name == "" {
		b.name = n.name(h.Sum(nil))
	}
	return b, nil
}

// each calls f with every message of the batch and the number of its line. The body is f's to keep.
func (b *batch) each(f func(line int, body []byte) error) error {
	if b.file == nil {
		return f(1, b.one)
	}
	return eachLine(io.NewSectionReader(b.file, 0, b.size), func(line int, body []byte) error { return f(line, bytes.Clone(body)) })
}

// eachLine calls f with every line of r that is not blank, without what ends it, and its number. The line is f's until it returns.
func eachLine(r io.Reader, f func(line int, body []byte) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	line := 0
	for sc.Scan() {
		line++
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		if err := f(line, sc.Bytes()); err != nil {
			return err
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d MiB", line+1, maxLine>>20)
	}
	return sc.Err()
}

// spool copies r to a temporary file, for what has to be read twice.
func spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "chttp-lines-*")
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(f, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
