// Package drive is the disk under a process that a test runs. It stands between the process and the files of one directory: the
// kernel holds every read, write, truncation and sync until the drive has decided on it (seccomp, user notification), so it can count them
// over all threads, fail them, end the process in the middle of one, and lose power.
//
// It keeps what would be on the medium beside what the files hold: a write reaches the medium with the next sync of its file, and one
// whose sync failed does not, whatever later syncs say, unless it is written again. That is how Linux does it. When power is lost, of
// what was written and not synced some pages are there, some are not, and some are torn.
//
// It works on Linux 5.19 and later, on amd64 and arm64, for any user, where the seccomp system call is allowed. strace, which can inject
// faults too, counts calls for each thread alone, so a Go program's n-th sync has no number there; and it needs ptrace, which is forbidden
// more often.
package drive
