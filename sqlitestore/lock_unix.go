//go:build unix

package sqlitestore

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes an flock on f, or tells that another has it. The kernel frees it when the last process that has f open dies.
func lockFile(f *os.File) (taken bool, err error) {
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return true, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}
