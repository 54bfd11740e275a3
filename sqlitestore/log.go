package sqlitestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The write-ahead log, as https://www.sqlite.org/fileformat2.html#walformat describes it.
const (
	logHeader   = 32
	frameHeader = 24
	logMagic    = 0x377f0682 // and with the lowest bit, which says that checksums are of big-endian words
)

// checkLog finds damage in the middle of the write-ahead log at path. SQLite reads the log up to the first frame that is not as it was
// written, and takes what follows for the rest of a commit that a crash interrupted; commits that were acknowledged would be gone without
// a word. But where two commits follow each other, the first was synced before the second was written, so no crash has undone it. The
// last commit of a log, and where the log ends, nothing vouches for. It tells whether there are commits in the log.
func checkLog(path string) (commits bool, err error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case len(b) < logHeader:
		return false, nil
	}
	l := &log{order: binary.ByteOrder(binary.LittleEndian)}
	if b[3]&1 != 0 {
		l.order = binary.BigEndian
	}
	l.frames, l.size = b[logHeader:], frameHeader+int(binary.BigEndian.Uint32(b[8:]))
	if l.size <= frameHeader || l.size > frameHeader+1<<16 {
		l.size = frameHeader + 8192 // the header is damaged, and all files of ours have such pages
	}
	sum := l.sum(checksum{}, b[:24])
	good := 0
	if sum == stored(b[24:]) && binary.BigEndian.Uint32(b)&^1 == logMagic {
		l.salt = [8]byte(b[16:24])
		for good < l.count() && l.follows(good, sum) {
			sum = l.stored(good)
			commits = commits || l.commits(good)
			good++
		}
	} else if l.count() > 0 {
		l.salt = [8]byte(l.frame(0)[8:16])
	}
	chained := 0 // commits in a chain of frames, each of which is there whole
	for i := good; i < l.count(); i++ {
		if i > good && !l.follows(i, l.stored(i-1)) {
			chained = 0
		}
		if l.commits(i) {
			chained++
		}
		if chained == 2 {
			at := logHeader + good*l.size
			return true, fmt.Errorf("%w: %s is damaged at byte %d, and commits that follow would be lost; restore the store from a copy, or cut that file "+
				"there to go on without them", ErrCorrupt, path, at)
		}
	}
	return commits, nil
}

// log is the frames of a write-ahead log.
type log struct {
	order  binary.ByteOrder
	frames []byte
	size   int // of a frame
	salt   [8]byte
}

// checksum is that of a frame and all before it.
type checksum [2]uint32

func stored(b []byte) checksum {
	return checksum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

func (l *log) sum(c checksum, b []byte) checksum {
	for ; len(b) >= 8; b = b[8:] {
		c[0] += l.order.Uint32(b) + c[1]
		c[1] += l.order.Uint32(b[4:]) + c[0]
	}
	return c
}

func (l *log) count() int            { return len(l.frames) / l.size }
func (l *log) frame(i int) []byte    { return l.frames[i*l.size : (i+1)*l.size] }
func (l *log) stored(i int) checksum { return stored(l.frame(i)[16:]) }
func (l *log) commits(i int) bool    { return binary.BigEndian.Uint32(l.frame(i)[4:]) != 0 }

// follows tells whether a frame is whole, of this log and not of one before it, and behind one with that checksum.
func (l *log) follows(i int, before checksum) bool {
	f := l.frame(i)
	return [8]byte(f[8:16]) == l.salt && l.sum(l.sum(before, f[:8]), f[frameHeader:]) == stored(f[16:])
}
