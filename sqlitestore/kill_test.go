package sqlitestore_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// victimEnv names the file of the victim: set, it makes the test binary commit until it is killed.
const victimEnv = "SQLITESTORE_VICTIM"

// batchOf is the n-th batch of a victim: three inserts, and updates of those before with a chunk.
func batchOf(token store.Token, n int) *store.Batch {
	b := &store.Batch{Token: token, Floor: int64(n), Facts: []store.Fact{{Name: "n", Value: fmt.Append(nil, n)}}}
	for i := range 3 {
		c := insert(fmt.Sprintf("%06d-%d", n, i))
		c.Head = make([]byte, 1<<(4*i)) // the last of them on overflow pages
		b.Changes = append(b.Changes, c)
		if n > 0 {
			b.Changes = append(b.Changes, store.Change{
				Key: store.Key{ID: fmt.Sprintf("%06d-%d", n-1, i)}, Run: 1, Version: 2, State: store.Answered, Chunk: []byte("chunk 2"),
			})
		}
	}
	return b
}

// victim goes on where the file ends and prints the number of each batch whose commit has returned.
func victim(path string) {
	err := func() error {
		s, err := sqlitestore.Open(path)
		if err != nil {
			return err
		}
		id, err := s.Join(ctx, 0)
		if err != nil {
			return err
		}
		for n := int(id.Floor); ; n++ { // the batch at the floor again, to see that it is done again
			report, err := s.Commit(ctx, batchOf(id.Token, n))
			if err != nil {
				return err
			}
			for _, r := range report.Results {
				if r.Status != store.Done {
					return fmt.Errorf("batch %d: %+v", n, r)
				}
			}
			fmt.Println(n)
		}
	}()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestAKillLosesNothingThatWasAcknowledged kills a process at random moments and keeps here what it said.
func TestAKillLosesNothingThatWasAcknowledged(t *testing.T) {
	path := newPath(t)
	said := -1
	for range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		// From the first line on, or for one in three from the start, so that opening is killed too.
		if wait := time.Duration(rand.IntN(60_000)) * time.Microsecond; rand.IntN(3) == 0 {
			time.AfterFunc(wait, func() { cmd.Process.Kill() })
		} else if lines.Scan() {
			said = max(said, number(t, lines.Text()))
			if _, err := sqlitestore.Open(path); !errors.Is(err, sqlitestore.ErrLocked) {
				t.Errorf("beside a live process: got %v, want %v", err, sqlitestore.ErrLocked)
			}
			time.AfterFunc(wait, func() { cmd.Process.Kill() })
		}
		for lines.Scan() {
			said = max(said, number(t, lines.Text()))
		}
		if err := cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("it ended by itself: %v", err)
		}
		holdsPrefix(t, path, said)
	}
	t.Logf("%d batches", said+1)
	if said < 10 {
		t.Errorf("only %d batches were committed", said+1)
	}
}

func number(t *testing.T, line string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(line, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// holdsPrefix checks that the file holds the batches 0 to n for some n not below said, each whole, and nothing else.
func holdsPrefix(t *testing.T, path string, said int) {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	check(t, s)
	records, err := s.List(ctx, store.Query{Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	last := len(records)/3 - 1
	if len(records)%3 != 0 || last < said {
		t.Fatalf("%d records of batches of three, and batch %d was acknowledged", len(records), said)
	}
	for i, r := range records {
		n := i / 3
		want := fmt.Sprintf("%06d-%d", n, i%3)
		version, state := 2, store.Answered
		if n == last {
			version, state = 1, store.Running
		}
		if r.ID != want || r.Version != version || r.State != state || len(r.Head) != 1<<(4*(i%3)) {
			t.Fatalf("record %d of batch %d: %s version %d %v", i%3, n, r.ID, r.Version, r.State)
		}
	}
	facts, err := s.Facts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) > 0 && (len(facts) != 1 || string(facts[0].Value) != fmt.Sprint(last)) {
		t.Fatalf("facts %s of batch %d", facts, last)
	}
}
