//go:build linux && (amd64 || arm64)

package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched are the system calls that the kernel holds.
var watched = map[int32]Op{
	unix.SYS_PREAD64: Read, unix.SYS_PWRITE64: Write, unix.SYS_FTRUNCATE: Truncate, unix.SYS_FSYNC: Sync, unix.SYS_FDATASYNC: Sync,
}

// Usable tells why there can be no drive on this machine.
func Usable() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and its listener with it
		listener, err := listen()
		if err == nil {
			err = unix.Close(listener)
		}
		result <- err
	}()
	return <-result
}

// Start starts cmd on the drive, which serves it until it has ended.
func (d *Drive) Start(cmd *exec.Cmd) error {
	started := make(chan error)
	go d.start(cmd, started)
	return <-started
}

// start starts cmd from a thread that has a listener, which the process inherits, and which ends with this goroutine.
func (d *Drive) start(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() { // this thread ends with the program
		defer runtime.UnlockOSThread()
		done := make(chan error)
		go d.start(cmd, done)
		started <- <-done
		return
	}
	listener, err := listen()
	if err != nil {
		started <- err
		return
	}
	if err := cmd.Start(); err != nil {
		unix.Close(listener)
		started <- err
		return
	}
	go d.serve(listener, cmd.Process)
	started <- nil
}

// listen has the kernel hold the watched calls of this thread, and of all that it starts.
func listen() (int, error) {
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	skipUnless := func(k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: k}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	// Of seccomp_data, the number of the call is first, and the architecture next.
	program := []unix.SockFilter{load(4), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch}, end(unix.SECCOMP_RET_ALLOW), load(0)}
	for number := range watched {
		program = append(program, skipUnless(uint32(number)), end(unix.SECCOMP_RET_USER_NOTIF))
	}
	program = append(program, end(unix.SECCOMP_RET_ALLOW))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("prctl: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// Once the drive has a call, no signal but a kill ends it: Go's own would have it made, and counted, again.
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return 0, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}

// notification is struct seccomp_notif of the kernel.
type notification struct {
	id          uint64
	pid, flags  uint32
	number      int32
	arch        uint32
	instruction uint64
	args        [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// call is a call that a process is about to make.
type call struct {
	op     Op
	path   string
	file   *os.File // its file, opened once more
	dir    bool
	offset int64 // of a truncation, the new size
	size   int
	pid    int
	buffer uint64
}

// serve decides on the calls of a process until it has ended.
func (d *Drive) serve(listener int, process *os.Process) {
	defer unix.Close(listener)
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			d.note(fmt.Errorf("poll: %w", err))
			return
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			if poll[0].Revents != 0 {
				return // nobody is left
			}
			continue
		}
		var n notification
		if errno := control(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); errno != 0 {
			if errno != unix.ENOENT && errno != unix.EINTR { // it died, or a signal came first
				d.note(fmt.Errorf("receive: %w", errno))
			}
			continue
		}
		res := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if v := d.decide(&n); v.kill {
			process.Kill()
			continue
		} else if v.errno != 0 {
			res.flags, res.errno = 0, -int32(v.errno)
		}
		if errno := control(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&res)); errno != 0 && errno != unix.ENOENT {
			d.note(fmt.Errorf("send: %w", errno))
		}
	}
}

func control(fd int, request uintptr, p unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p))
	return errno
}

func (d *Drive) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
}

// decide looks at the file of a call, and at nothing else of the process.
func (d *Drive) decide(n *notification) verdict {
	link := fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[0]))
	path, err := os.Readlink(link)
	if err != nil {
		return verdict{} // it died, or the kernel will say what is wrong
	}
	c := &call{op: watched[n.number], path: path, pid: int(n.pid), buffer: n.args[1]}
	switch c.op {
	case Read, Write:
		c.size, c.offset = int(n.args[2]), int64(n.args[3])
	case Truncate:
		c.offset = int64(n.args[1])
	}
	if !d.has(path) {
		return verdict{}
	}
	flags := os.O_RDWR
	info, err := os.Stat(link)
	if err == nil && info.IsDir() {
		c.dir, flags = true, os.O_RDONLY
	}
	if c.file, err = os.OpenFile(link, flags, 0); err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // it died
			d.note(err)
		}
		return verdict{}
	}
	defer c.file.Close()
	v := d.call(c)
	if v.part > 0 {
		if err := c.write(v.part); err != nil {
			d.note(err)
		}
	}
	return v
}

// write does the first so many bytes of a write.
func (c *call) write(part int) error {
	data := make([]byte, part)
	local := []unix.Iovec{{Base: &data[0], Len: uint64(part)}}
	remote := []unix.RemoteIovec{{Base: uintptr(c.buffer), Len: part}}
	if _, err := unix.ProcessVMReadv(c.pid, local, remote, 0); err != nil {
		return fmt.Errorf("read what is written: %w", err)
	}
	_, err := c.file.WriteAt(data, c.offset)
	return err
}
