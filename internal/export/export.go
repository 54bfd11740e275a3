// Package export writes executions with their oplogs to a file and reads them back, byte for byte: so that what a node did can be kept
// beside the code that did it, and replayed by later code as a test.
//
// The file is lines of JSON. The first names the format and its version, the last says how many executions there are, so that a file
// that was cut short is known for one. In between, each execution is a line with what it began with, a line for each entry of its oplog,
// and a line with what it ended with: a difference between two files is a difference of lines. Bytes are JSON where they are JSON, text
// where they are text, and base64 where they are neither; what would not come back exactly is base64 as a whole.
//
// A file holds what the executions were given and what they were answered, with whatever secrets that may be; nothing of the store's own.
package export

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/certifiedhttp/chttp/store"
)

// The first line.
const (
	format = "chttp-export"

	// Version is the version of the format that this package writes. It reads every version up to it.
	Version = 1
)

// ErrFormat says that a file is not one that this package reads.
var ErrFormat = errors.New("not an export that this version can read")

// Execution is a record with its whole oplog, the chunk that the record keeps among it.
type Execution struct {
	store.Record
	Chunks []store.Chunk
}

// Writer writes executions to a file.
type Writer struct {
	w *bufio.Writer
	n int
}

// NewWriter begins a file. Close ends it; it is not one before.
func NewWriter(w io.Writer) (*Writer, error) {
	out := &Writer{w: bufio.NewWriter(w)}
	return out, out.line(&line{Format: format, Version: Version})
}

// Write writes an execution.
func (w *Writer) Write(x *Execution) error {
	w.n++
	if err := w.line(&line{Execution: newExecution(&x.Record)}); err != nil {
		return err
	}
	for _, c := range x.Chunks {
		for _, l := range chunkLines(c) {
			if err := w.line(l); err != nil {
				return err
			}
		}
	}
	if len(x.Tail) == 0 {
		return nil
	}
	return w.line(&line{Tail: newTail(x.Tail)})
}

// Close ends the file. It does not close what it was written to.
func (w *Writer) Close() error {
	if err := w.line(&line{End: &end{w.n}}); err != nil {
		return err
	}
	return w.w.Flush()
}

func (w *Writer) line(l *line) error {
	b, err := l.encode()
	if err != nil {
		return err
	}
	_, err = w.w.Write(b)
	return err
}

// line is one line of a file. One of its fields is set, and Version with Format.
type line struct {
	Format    string     `json:"format,omitempty"`
	Version   int        `json:"version,omitempty"`
	Execution *execution `json:"execution,omitempty"`
	Entry     *entry     `json:"entry,omitempty"`
	Chunk     *chunk     `json:"chunk,omitempty"`
	Tail      *tail      `json:"tail,omitempty"`
	End       *end       `json:"end,omitempty"`
}

type end struct {
	Executions int `json:"executions"`
}

// encode returns the line with its line break.
func (l *line) encode() ([]byte, error) { return encode(l) }

// encode writes v as JSON, in one line and as little escaped as can be.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// decode reads what encode wrote, and nothing else.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value in it")
	}
	return nil
}

// Reader reads a file.
type Reader struct {
	r    *bufio.Reader
	at   int   // number of the line that was read last
	next *line // that was read too far
	n    int   // executions so far
	err  error // for ever
}

// NewReader begins to read a file. Of something else, or of a later version, it returns an ErrFormat.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{r: bufio.NewReader(r)}
	l, err := in.line()
	switch {
	case err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	case err != nil || l.Format != format:
		return nil, fmt.Errorf("%w: its first line does not begin with {\"format\":%q; chttp export makes such files", ErrFormat, format)
	case l.Version < 1 || l.Version > Version:
		return nil, fmt.Errorf("%w: it has version %d, and this program reads versions up to %d; use a newer one", ErrFormat, l.Version, Version)
	}
	return in, nil
}

// Next returns the next execution, and io.EOF behind the last. A file that was cut short ends with io.ErrUnexpectedEOF instead.
func (r *Reader) Next() (*Execution, error) {
	if r.err != nil {
		return nil, r.err
	}
	x, err := r.execution()
	r.err = err
	return x, err
}

func (r *Reader) execution() (*Execution, error) {
	l, err := r.line()
	switch {
	case err != nil:
		return nil, err
	case l.End != nil:
		return nil, r.finish(l.End)
	case l.Execution == nil:
		return nil, r.wrong(errors.New("an execution is to begin here, or the file to end"))
	}
	x := new(Execution)
	if err := l.Execution.record(&x.Record); err != nil {
		return nil, r.wrong(err)
	}
	for r.n++; ; {
		l, err := r.line()
		switch {
		case err != nil:
			return nil, err
		case l.Execution != nil || l.End != nil:
			r.next = l
			if len(x.Chunks) > 0 && x.Chunks[0].Number == 1 {
				x.Oplog = x.Chunks[0].Data
			}
			return x, nil
		}
		if err := x.add(l); err != nil {
			return nil, r.wrong(err)
		}
	}
}

// add takes a line of the execution.
func (x *Execution) add(l *line) (err error) {
	switch {
	case x.Tail != nil:
		return errors.New("it comes behind the execution's tail")
	case l.Tail != nil:
		if x.Tail, err = l.Tail.bytes(); err == nil && len(x.Tail) == 0 {
			err = errors.New("the tail is empty")
		}
		return err
	case l.Chunk != nil:
		return x.append(l.Chunk.Number, l.Chunk.Base64)
	case l.Entry != nil:
		return x.addEntry(l.Entry)
	}
	return errors.New("it is no part of an execution")
}

// append appends a chunk.
func (x *Execution) append(number int, data []byte) error {
	last := 0
	if n := len(x.Chunks); n > 0 {
		last = x.Chunks[n-1].Number
	}
	switch {
	case number <= last:
		return fmt.Errorf("chunk %d comes behind chunk %d", number, last)
	case number > x.Version:
		return fmt.Errorf("chunk %d comes with version %d of the record", number, x.Version)
	case len(data) == 0:
		return fmt.Errorf("chunk %d is empty", number)
	}
	x.Chunks = append(x.Chunks, store.Chunk{Number: number, Data: data})
	return nil
}

// finish checks the last line, and that nothing follows.
func (r *Reader) finish(e *end) error {
	if e.Executions != r.n {
		return r.wrong(fmt.Errorf("there are %d executions, and there were to be %d", r.n, e.Executions))
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(r.wrong(errors.New("something follows the end")), err)
	}
	return io.EOF
}

// line returns the next line.
func (r *Reader) line() (*line, error) {
	if l := r.next; l != nil {
		r.next = nil
		return l, nil
	}
	b, err := r.r.ReadBytes('\n')
	r.at++
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("line %d: the file was cut short: %w", r.at, io.ErrUnexpectedEOF)
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", r.at, err)
	}
	l := new(line)
	if err := decode(b, l); err != nil {
		return nil, r.wrong(err)
	}
	return l, nil
}

func (r *Reader) wrong(err error) error { return fmt.Errorf("line %d: %w: %w", r.at, ErrFormat, err) }
