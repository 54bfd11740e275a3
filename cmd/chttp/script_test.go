package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certifiedhttp/chttp"
	"github.com/certifiedhttp/chttp/examples/escrow"
	"github.com/certifiedhttp/chttp/sqlitestore"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CI", os.Getenv("CI"))
			env.Setenv("N", strconv.Itoa(scriptLines))
			return stamps(env)
		},
		Condition: func(cond string) (bool, error) {
			if cond != "curl" && cond != "python3" {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			_, err := exec.LookPath(cond)
			if err != nil && os.Getenv("CI") == "true" {
				return false, fmt.Errorf("under CI %s must be there: apt-get install %s", cond, cond)
			}
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": cmdAwait, "again": cmdAgain, "lines": cmdLines, "received": cmdReceived, "party": cmdParty, "samefield": cmdSameField,
			"await-status": cmdAwaitStatus, "empty": cmdEmpty, "processes": cmdProcesses,
		},
	})
}

// stamps puts times for the Certified field into the environment: of now, of a week on, of long ago, and of a clock that is ahead.
func stamps(env *testscript.Env) error {
	now := time.Now()
	for name, t := range map[string]time.Time{
		"NOW": now, "UNTIL": now.Add(7 * 24 * time.Hour), "PAST": now.Add(-time.Hour), "AHEAD": now.Add(time.Hour), "MONTH": now.Add(30 * 24 * time.Hour),
	} {
		env.Setenv(name, "@"+strconv.FormatInt(t.Unix(), 10))
	}
	return nil
}

// cmdAwait waits for a file that a server in the background writes its address to, and puts the URL into the environment: await NAME.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await NAME")
	}
	for range 1000 {
		if b, err := os.ReadFile(ts.MkAbs(args[0] + ".addr")); err == nil && strings.HasSuffix(string(b), "\n") {
			ts.Setenv(args[0]+"_address", strings.TrimSpace(string(b)))
			ts.Setenv(args[0], "http://"+strings.TrimSpace(string(b)))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not start", args[0])
}

// cmdLines writes a file of JSON lines: lines FILE N.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"event":%d,"text":"line %d of many"}`+"\n", i, i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// cmdReceived checks what a server has done, from the log that it keeps: received LOG N says that there are N lines, and no two of
// the same message; with -distinct, that there are lines of N messages; received LOG >N waits until there are more than N lines.
func cmdReceived(ts *testscript.TestScript, neg bool, args []string) {
	distinct := len(args) > 0 && args[0] == "-distinct"
	if distinct {
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: received [-distinct] LOG N|>N")
	}
	more, waiting := strings.CutPrefix(args[1], ">")
	want, err := strconv.Atoi(more)
	ts.Check(err)
	for range 3000 {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		lines := strings.Fields(string(b))
		if waiting && len(lines) > want {
			return
		}
		if !waiting {
			seen := map[string]bool{}
			for _, l := range lines {
				seen[l] = true
			}
			if !distinct && len(lines) != want || len(seen) != want {
				ts.Fatalf("%s has %d lines, of %d messages; want %d", args[0], len(lines), len(seen), want)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never had more than %d lines", args[0], want)
}

// cmdParty writes the configuration of a party of the escrow: party NAME PEER=URL…. The secret is "secret", and there is little of all.
func cmdParty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: party NAME PEER=URL…")
	}
	p := escrow.Party{Name: args[0], File: ts.MkAbs(args[0] + ".db"), Secret: "secret", Peers: map[string]string{}}
	switch p.Name {
	case escrow.Bank:
		p.Opening = []escrow.Account{{Owner: "ann", Asset: escrow.Coins, Opening: 100}}
	case escrow.Shop:
		p.Opening = []escrow.Account{{Owner: "kim", Asset: "lamp", Opening: 3}}
	}
	for _, a := range args[1:] {
		name, url, _ := strings.Cut(a, "=")
		p.Peers[name] = url
	}
	b, err := json.Marshal(p)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".json"), b, 0o600))
}

// cmdAgain starts a server in the background again, where it was: again NAME FILE-WITH-ADDRESS.
func cmdAgain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: again NAME FILE-WITH-ADDRESS")
	}
	cmd := exec.Command("serve", "-addr", strings.TrimSpace(ts.ReadFile(args[1])), args[0])
	cmd.Dir = ts.MkAbs(".")
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// cmdSameField checks that two files with response headers have a field in common: samefield NAME FILE FILE.
func cmdSameField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: samefield NAME FILE FILE")
	}
	field := regexp.MustCompile(`(?mi)^` + regexp.QuoteMeta(args[0]) + `:.*$`)
	a, b := field.FindString(ts.ReadFile(args[1])), field.FindString(ts.ReadFile(args[2]))
	if a == "" || a != b {
		ts.Fatalf("%q and %q", a, b)
	}
}

// cmdAwaitStatus sends a certified request until its answer has a status: await-status STATUS URL BODY ID CERTIFIED.
func cmdAwaitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: await-status STATUS URL BODY ID CERTIFIED")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	got := 0
	for range 500 {
		req, err := http.NewRequest(http.MethodPost, args[0], strings.NewReader(args[1]))
		ts.Check(err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl sends it
		req.Header.Set("Idempotency-Key", strconv.Quote(args[2]))
		req.Header.Set("Certified", strings.TrimPrefix(args[3], "Certified: "))
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		resp.Body.Close()
		if got = resp.StatusCode; got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s is answered with %d, want %d", args[2], got, want)
}

// cmdEmpty checks that a directory is empty: empty DIR.
func cmdEmpty(ts *testscript.TestScript, neg bool, args []string) {
	all, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if neg || len(all) > 0 {
		ts.Fatalf("%s holds %v", args[0], all)
	}
}

// cmdProcesses waits until so many parties of this script's demonstrations run: processes N.
func cmdProcesses(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if runtime.GOOS != "linux" {
		ts.Logf("processes cannot be counted on %s", runtime.GOOS)
		return
	}
	got := -1
	for range 1000 {
		if got = parties(ts.MkAbs(".")); got == want && !neg {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%d processes, want %d", got, want)
}

// parties counts the processes of parties whose files are in dir.
func parties(dir string) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		b, _ := os.ReadFile(name)
		if args := strings.Split(string(b), "\x00"); len(args) > 2 && args[1] == "escrow-party" && strings.HasPrefix(args[2], dir) {
			n++
		}
	}
	return n
}

// serveMain is a small server with a durable memory, for scripts: serve [-plain] [-required] NAME. It writes its address to NAME.addr, keeps
// its store in NAME.db, and for each request that it does, a line in NAME.log.
func serveMain() {
	plain := flag.Bool("plain", false, "without a memory")
	required := flag.Bool("required", false, "a request must have a key")
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	flag.Parse()
	name := flag.Arg(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	effects, err := os.OpenFile(name+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	handler := http.Handler(fiveLines(effects))
	if !*plain {
		st, err := sqlitestore.Open(name + ".db")
		if err != nil {
			log.Fatal(err)
		}
		defer st.Close()
		node, err := chttp.New(st, nil)
		if err != nil {
			log.Fatal(err)
		}
		handler = node.Handler("serve", handler, &chttp.HandlerOptions{
			RequireKey: *required, Wait: 500 * time.Millisecond,
			Principal: func(r *http.Request) (string, error) {
				if user, _, ok := r.BasicAuth(); ok {
					return user, nil
				}
				return "anybody", nil
			},
		})
		done := make(chan error, 1)
		go func() { done <- node.Run(ctx) }()
		defer func() {
			if err := <-done; err != nil {
				log.Fatal(err)
			}
		}()
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: handler}
	go srv.Serve(l)
	defer srv.Close()
	if err := os.WriteFile(name+".addr", []byte(l.Addr().String()+"\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	<-ctx.Done()
}

// fiveLines is the handler: it notes what it was sent, and answers with the body and a number that is another one each time. /slow takes
// its time, /status/N answers so, /panic does that.
func fiveLines(effects io.Writer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "" {
			body = append(body, " (with credentials)"...)
		}
		switch status, ok := strings.CutPrefix(r.URL.Path, "/status/"); {
		case ok:
			n, _ := strconv.Atoi(status)
			w.WriteHeader(n)
			return
		case r.URL.Path == "/slow":
			time.Sleep(3 * time.Second)
		}
		here, _ := chttp.From(r.Context())
		fmt.Fprintf(effects, "%s:%q\n", here.ID, strings.ReplaceAll(string(body), " ", "_"))
		w.Header().Set("X-Number", strconv.FormatInt(time.Now().UnixNano(), 36))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "got %s\n", body)
	}
}

// A leftover of a script would be another script's surprise.
func TestScriptsAreThere(t *testing.T) {
	all, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(all) < 8 {
		t.Errorf("found %d scripts: %v", len(all), err)
	}
}
