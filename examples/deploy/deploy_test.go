package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/sqlitestore"
	"github.com/certifiedhttp/chttp/store"
)

// TestADeploymentIsCheckedAgainstWhatIsInFlight is the story that docs/deploying.md tells, with processes.
func TestADeploymentIsCheckedAgainstWhatIsInFlight(t *testing.T) {
	s := &shop{t: t, dir: t.TempDir()}
	s.build("v1", "v2", "broken")
	s.check("v1", "") // There is nothing yet.

	v1 := s.start("v1", "ann", "bob", "kim")
	s.await("running or waiting", func() bool { return s.recorded("ann") > 4 && s.recorded("bob") > 4 && s.recorded("kim") > 4 })
	s.checkAll()

	// The process was not disturbed: it goes on.
	s.pay("ann")
	s.await("sent by v1", func() bool { return s.state("ann") == "answered" })
	if s.there("ann.wrapped") || !s.there("ann.sent") {
		t.Error("v1 did not send what was paid")
	}

	if err := v1.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = v1.Wait()
	s.checkAll()

	v2 := s.start("v2")
	s.pay("bob")
	s.await("sent by v2", func() bool { return s.state("bob") == "answered" })
	if !s.there("bob.wrapped") || !s.there("bob.sent") {
		t.Error("v2 did not go on with what v1 began")
	}
	if err := v2.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := v2.Wait(); err != nil {
		t.Errorf("v2 ends with %v", err)
	}
	for _, note := range []string{"ann.seen", "bob.seen", "kim.seen", "kim.sent", "kim.wrapped"} {
		if s.there(note) {
			t.Errorf("a check, or somebody else, has done something: %s", note)
		}
	}

	// What the check has said is what happens.
	broken := s.start("broken")
	defer func() {
		_ = broken.Process.Kill()
		_ = broken.Wait()
	}()
	s.await("parked by the version that was not to be deployed", func() bool { return s.state("kim") == "parked" })
}

// TestTheDocumentShowsTheCheck keeps docs/deploying.md true.
func TestTheDocumentShowsTheCheck(t *testing.T) {
	source, err := os.ReadFile("deploy.go")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/deploying.md")
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?ms)^// check is nil.*?^}$`).Find(source)
	if len(function) == 0 || !bytes.Contains(document, append(append([]byte("```go\n"), function...), "\n```"...)) {
		t.Errorf("docs/deploying.md does not show\n%s", function)
	}
}

// shop is the directory in which versions of the shop run.
type shop struct {
	t   *testing.T
	dir string
}

func (s *shop) build(versions ...string) {
	s.t.Helper()
	for _, v := range versions {
		cmd := exec.CommandContext(s.t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(s.dir, v), "./"+v)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("build %s: %v\n%s", v, err, out)
		}
	}
}

func (s *shop) command(version string, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(s.dir, version), append([]string{"-db", filepath.Join(s.dir, "shop.db")}, args...)...)
}

// start runs a version until the test ends it.
func (s *shop) start(version string, orders ...string) *exec.Cmd {
	s.t.Helper()
	cmd := s.command(version, orders...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", version, log.Bytes())
		}
	})
	return cmd
}

// checkAll checks every version.
func (s *shop) checkAll() {
	s.t.Helper()
	s.check("v1", "")
	s.check("v2", "")
	source, err := os.ReadFile("broken/main.go")
	if err != nil {
		s.t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(source), `"look"`)
	line := strings.Count(before, "\n") + 1
	out := s.check("broken", fmt.Sprintf(`broken/main.go:%d`, line))
	for _, id := range []string{"ann", "bob", "kim"} {
		want := regexp.MustCompile(`operation 0\n +recorded: step "reserve"\n +now: step "look"\n +at: .*/broken/main\.go:\d+ \(id ` + id + `\)`)
		if inFlight := s.state(id) != "answered"; want.MatchString(out) != inFlight {
			s.t.Errorf("%s is in flight: %v; the check says\n%s", id, inFlight, out)
		}
	}
}

// check has a version say whether it can go on: with status 0, or, where something is wanted in what it says, with 1.
func (s *shop) check(version, want string) string {
	s.t.Helper()
	out, err := s.command(version, "-check").CombinedOutput()
	var exit *exec.ExitError
	switch {
	case want == "" && err != nil:
		s.t.Errorf("%s -check: %v\n%s", version, err, out)
	case want != "" && (!errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), want)):
		s.t.Errorf("%s -check: %v\n%s\nwant the status 1 and %q", version, err, out, want)
	}
	return string(out)
}

func (s *shop) pay(id string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, id+".paid"), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) there(note string) bool {
	_, err := os.Stat(filepath.Join(s.dir, note))
	return err == nil
}

// look lends do a node that looks into the shop's store, beside its process.
func (s *shop) look(do func(st *sqlitestore.Store, n *chttp.Node)) {
	s.t.Helper()
	path := filepath.Join(s.dir, "shop.db")
	if _, err := os.Stat(path); err != nil {
		return
	}
	st, err := sqlitestore.OpenReader(path)
	if err != nil {
		return // It is being made.
	}
	defer st.Close()
	n, err := chttp.New(st, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	do(st, n)
}

func (s *shop) state(id string) (state string) {
	s.t.Helper()
	s.look(func(_ *sqlitestore.Store, n *chttp.Node) {
		if i, err := n.Lookup(context.Background(), id); err == nil {
			state = i.State
		}
	})
	return state
}

// recorded returns how many changes were made to the record of an order.
func (s *shop) recorded(id string) (version int) {
	s.t.Helper()
	s.look(func(st *sqlitestore.Store, n *chttp.Node) {
		if list, err := st.List(context.Background(), store.Query{ID: id}); err == nil && len(list) == 1 {
			version = list[0].Version
		}
	})
	return version
}

// await waits until what is true, for a minute.
func (s *shop) await(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("nothing is %s after a minute: ann %s, bob %s, kim %s", what, s.state("ann"), s.state("bob"), s.state("kim"))
		}
	}
}
