//go:build linux && (amd64 || arm64)

package drive

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	pageSize   = 4096 // what the kernel writes back at once
	sectorSize = 512  // what a disk writes at once
)

// file is what the medium has of a file, where that is not what the file holds.
type file struct {
	made  birth
	size  int64           // on the medium
	pages map[int64]*page // by their number
}

// birth tells a file from another that had its name, or its inode, before.
type birth struct {
	inode uint64
	time  unix.StatxTimestamp
}

func birthOf(f *os.File) (birth, error) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st)
	if err == nil && st.Mask&unix.STATX_BTIME == 0 {
		err = errors.New("the file system does not say when a file was made; keep temporary files on another")
	}
	return birth{st.Ino, st.Btime}, err
}

// page is what the medium has of a page.
type page struct {
	old  []byte // shorter at the end of the file
	lost bool   // a sync of it failed: the kernel takes it for written
}

// account follows c, which is about to be done unless v says otherwise.
func (d *Drive) account(c *call, v verdict) error {
	whole := v.errno == 0 && !v.kill
	switch {
	case c.op == Read, c.dir:
		return nil
	case c.op == Sync:
		f, err := d.file(c)
		if err == nil {
			err = f.sync(c, whole)
		}
		return err
	case !whole && v.part == 0:
		return nil
	}
	f, err := d.file(c)
	if err != nil {
		return err
	}
	size := int64(c.size)
	if !whole {
		size = int64(v.part)
	}
	if c.op == Truncate {
		// Everything from there to the end, be it cut off or new.
		now, err := c.file.Stat()
		if err != nil {
			return err
		}
		size = max(now.Size()-c.offset, 0)
	}
	return f.touch(c, c.offset, size)
}

// file returns what is known of the file of c; a file that was made anew is on the medium as it is now.
func (d *Drive) file(c *call) (*file, error) {
	info, err := c.file.Stat()
	if err != nil {
		return nil, err
	}
	made, err := birthOf(c.file)
	if err != nil {
		return nil, err
	}
	f := d.files[c.path]
	if f == nil || f.made != made {
		f = &file{made: made, size: info.Size(), pages: make(map[int64]*page)}
		d.files[c.path] = f
	}
	return f, nil
}

// touch keeps what the medium has of the pages that a write changes.
func (f *file) touch(c *call, offset, size int64) error {
	if size == 0 {
		return nil
	}
	for n := offset / pageSize; n <= (offset+size-1)/pageSize; n++ {
		if p := f.pages[n]; p != nil {
			p.lost = false // written again, and the next sync counts
			continue
		}
		old := make([]byte, pageSize)
		k, err := c.file.ReadAt(old, n*pageSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		f.pages[n] = &page{old: old[:k]}
	}
	return nil
}

func (f *file) sync(c *call, done bool) error {
	for n, p := range f.pages {
		switch {
		case !done:
			p.lost = true
		case !p.lost:
			delete(f.pages, n)
		}
	}
	if !done {
		return nil
	}
	info, err := c.file.Stat()
	if err == nil {
		f.size = info.Size()
	}
	return err
}

// LosePower makes the files what the medium has, and returns how many pages that was about. No process may have them open. Of the pages
// that were written and not synced rnd chooses those that the medium has all the same, whole or in part.
func (d *Drive) LosePower(rnd *rand.Rand) (pages int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[path]
		pages += len(f.pages)
		if err := f.revert(path, rnd); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return pages, err
		}
	}
	clear(d.files)
	return pages, nil
}

func (f *file) revert(path string, rnd *rand.Rand) error {
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	info, err := w.Stat()
	if err != nil {
		return err
	}
	if made, err := birthOf(w); err != nil || made != f.made {
		return err // made anew, and not written yet
	}
	numbers := make([]int64, 0, len(f.pages))
	for n := range f.pages {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers) // so that one seed does the same again
	size := f.size
	if info.Size() < size && rnd.IntN(2) == 0 {
		size = info.Size() // it was cut, and the medium knows
	}
	for _, n := range numbers {
		p := f.pages[n]
		p.lost = p.lost || n*pageSize >= info.Size() // there is nothing new
		now := make([]byte, pageSize)
		if _, err := w.ReadAt(now, n*pageSize); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		kept := p.mix(now, rnd)
		if kept > 0 {
			size = max(size, min(info.Size(), n*pageSize+int64(kept)))
		}
		if _, err := w.WriteAt(now, n*pageSize); err != nil {
			return err
		}
	}
	if err := w.Truncate(size); err != nil {
		return err
	}
	return w.Close()
}

// mix makes of what a page holds what the medium has of it, and returns how far it is new.
func (p *page) mix(now []byte, rnd *rand.Rand) (kept int) {
	fate := rnd.IntN(3) // the old page, the new one, or some sectors of each
	for at := 0; at < pageSize; at += sectorSize {
		if !p.lost && (fate == 1 || fate == 2 && rnd.IntN(2) == 0) {
			kept = at + sectorSize
			continue
		}
		sector := now[at : at+sectorSize]
		clear(sector)
		if at < len(p.old) {
			copy(sector, p.old[at:])
		}
	}
	return kept
}
