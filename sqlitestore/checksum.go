package sqlitestore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/certifiedhttp/chttp/store"
)

// SQLite finds damage to its B-trees but not to the values in them. Every row therefore carries CRC-32C sums, which each read
// compares: what the disk has changed is an error and never an answer. A record has three of them, since an update must make its
// own without reading the row:
//
//	fixed  key, run, function, created, certified, print
//	moved  version, state, due, bound, tail; 0 once acknowledged
//	blobs  head in the upper half, oplog in the lower
//
// What moved leaves out of an acknowledged record, state and bound, is also in an index, and Check compares the two.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the checksum of numbers and strings; each length is in it.
func sum(numbers []int64, texts []string, blob []byte) int64 {
	var buf [256]byte
	b := buf[:0]
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, t := range texts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t)))
		b = append(b, t...)
	}
	return int64(crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, blob))
}

func fixedSum(k store.Key, run uint64, function string, created int64, certified bool, print []byte) int64 {
	return sum([]int64{int64(run), created, bit(certified)}, []string{k.ID, k.Scope, function}, print)
}

func movedSum(version int, state store.State, due, bound int64, tail []byte) int64 {
	if state == store.Acknowledged {
		return 0
	}
	return sum([]int64{int64(version), int64(state), due, bound}, nil, tail)
}

func blobsSum(head, oplog []byte) int64 {
	return int64(uint64(crc32.Checksum(head, castagnoli))<<32 | uint64(crc32.Checksum(oplog, castagnoli)))
}

func chunkSum(k store.Key, n int64, data []byte) int64 {
	return sum([]int64{n}, []string{k.ID, k.Scope}, data)
}

func factSum(name string, value []byte) int64 { return sum(nil, []string{name}, value) }

// damaged is the error of a row whose checksum is not that of its values.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s differs from its checksum; restore the store from a copy", ErrCorrupt, fmt.Sprintf(format, args...))
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
