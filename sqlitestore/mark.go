package sqlitestore

import (
	"fmt"
	"io"
)

// mark is how far a store has come, kept beside it in the lock file, so that an older copy that is put in its place is known for one, and so
// is a file without its log. It is written after the commits that bring a store further, of which one comes every half minute while a
// node runs. Nothing rests on its being written: it is never ahead of what is durable, and what cannot be read is no mark.
type mark struct {
	name        string
	incarnation uint64
	floor       int64
}

func (m mark) sum() int64 { return sum([]int64{int64(m.incarnation), m.floor}, []string{m.name}, nil) }

// markFormat is its name, the version of the format, the values and their checksum.
const markFormat = "chttp-mark 1 %s %d %d %d\n"

// readMark returns the mark in the lock file, of no name if there is none.
func (s *Store) readMark() (m mark) {
	var sum int64
	text, err := io.ReadAll(io.NewSectionReader(s.lock, 0, 200))
	if err == nil {
		_, err = fmt.Sscanf(string(text), markFormat, &m.name, &m.incarnation, &m.floor, &sum)
	}
	if err != nil || sum != m.sum() {
		return mark{}
	}
	return m
}

// setMark notes that the store has come as far as m.
func (s *Store) setMark(m mark) {
	if m == s.marked || s.lock == nil {
		return
	}
	s.marked = m
	_, _ = s.lock.WriteAt(fmt.Appendf(nil, markFormat, m.name, m.incarnation, m.floor, m.sum()), 0)
}

// checkMark refuses an older copy of the store that the mark is of. It looks without writing: the last connection that could would put the
// log into the file when it is closed.
func (s *Store) checkMark() error {
	m := s.readMark()
	if m.name == "" {
		return nil
	}
	c, err := connect(s.path, readOnly)
	if err != nil {
		return nil // whoever opens it for writing says why
	}
	defer c.Close()
	row, err := c.ask(nodeSQL)
	if err != nil {
		return nil
	}
	n, err := scanNode(row)
	if err != nil || n.name != m.name || n.incarnation >= m.incarnation && n.floor >= m.floor {
		return nil
	}
	return fmt.Errorf("%w: %s has been opened %d times and had been opened %d times, its floor is %d and had been %d; put the newer file back, with the "+
		"-wal that belongs to it, or remove %s-lock to go on with this one, which has forgotten what was promised since",
		ErrOlder, s.path, n.incarnation, m.incarnation, n.floor, m.floor, s.path)
}
