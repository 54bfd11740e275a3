//go:build linux && (amd64 || arm64)

package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Op is what a process does to a file.
type Op int

// The operations.
const (
	Read Op = iota
	Write
	Truncate
	Sync
	ops
)

// String returns the operation's name.
func (o Op) String() string { return [...]string{"read", "write", "truncate", "sync"}[o] }

// Fault is what befalls some calls of an operation.
type Fault struct {
	Op     Op
	Suffix string        // of the file's name. Default: any file of the drive
	First  int           // the first call that fails, from 1, counted from when the fault is armed. Default: 1
	Times  int           // how many calls fail. Default: all that follow, until the fault is lifted
	Errno  syscall.Errno // what they return. Default: none, and the process is killed before the call, once
	Half   bool          // of a write, a part is done all the same
}

func (f *Fault) String() string {
	what := "kill"
	if f.Errno != 0 {
		what = f.Errno.Error()
	}
	return fmt.Sprintf("%s at %s %d of *%s", what, f.Op, f.First, f.Suffix)
}

// Drive is the disk below one directory. New makes one. It is used by one process after the other, or by several at once, and is safe for
// concurrent use. What is in the directory when the drive is made is on the medium.
type Drive struct {
	dir string

	mu     sync.Mutex // guards what follows
	room   int64      // for all files together; 0: no limit
	fault  *Fault
	passed int           // calls that the fault could have befallen, since it was armed
	hits   int           // calls that it befell
	hit    chan struct{} // closed at the first
	counts [ops]int
	files  map[string]*file
	errs   []error
}

// New makes a drive of the directory.
func New(dir string) (*Drive, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	return &Drive{dir: dir, files: make(map[string]*file)}, nil
}

// Arm lets f happen from now on, in place of any other fault. The channel is closed when it has happened for the first time.
func (d *Drive) Arm(f Fault) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.First = max(f.First, 1)
	if f.Errno == 0 {
		f.Times = 1
	}
	d.fault, d.passed, d.hits, d.hit = &f, 0, 0, make(chan struct{})
	return d.hit
}

// Lift ends the fault and returns how many calls it befell.
func (d *Drive) Lift() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = nil
	return d.hits
}

// Limit makes room for so many bytes of all files together, shared memory apart. A write for which there is none fails with ENOSPC. 0 is no
// limit.
func (d *Drive) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = bytes
}

// Count returns how many calls of op there have been.
func (d *Drive) Count(op Op) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[op]
}

// Err returns what went wrong with the drive itself.
func (d *Drive) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.errs) == 0 {
		return nil
	}
	return d.errs[0]
}

// verdict is what becomes of a call.
type verdict struct {
	kill  bool
	errno syscall.Errno // 0: the kernel does it
	part  int           // of a write that fails or is short, so many bytes are written first
}

// has tells whether a file is on the drive. Shared memory is not: it is the memory of processes.
func (d *Drive) has(path string) bool {
	return path == d.dir || strings.HasPrefix(path, d.dir+"/") && !strings.HasSuffix(path, "-shm")
}

// call decides on a call that a process is about to make.
func (d *Drive) call(c *call) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[c.op]++
	v := d.judge(c)
	if v == (verdict{}) && !d.fits(c) {
		v.errno = syscall.ENOSPC
	}
	if v.kill && v.part == 0 {
		return v
	}
	if err := d.account(c, v); err != nil {
		d.errs = append(d.errs, fmt.Errorf("%s of %s: %w", c.op, c.path, err))
	}
	return v
}

// fits tells whether there is room for what c makes its file longer by.
func (d *Drive) fits(c *call) bool {
	if d.room == 0 || c.op != Write {
		return true
	}
	var used, longer int64
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !d.has(path) {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		used += info.Size()
		if path == c.path {
			longer = max(0, c.offset+int64(c.size)-info.Size())
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.errs = append(d.errs, err)
	}
	return longer == 0 || used+longer <= d.room
}

func (d *Drive) judge(c *call) verdict {
	f := d.fault
	if f == nil || c.op != f.Op || !strings.HasSuffix(c.path, f.Suffix) {
		return verdict{}
	}
	d.passed++
	if d.passed < f.First || f.Times > 0 && d.hits == f.Times {
		return verdict{}
	}
	if d.hits++; d.hits == 1 {
		close(d.hit)
	}
	v := verdict{kill: f.Errno == 0, errno: f.Errno}
	if f.Half {
		v.part = c.size / 2
	}
	return v
}
