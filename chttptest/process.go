package chttptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// jobVariable names the file with the job, in the environment of the processes of Options.Process.
const jobVariable = "CHTTPTEST_JOB"

// Limits of Options.Process: a process takes some 20 ms to start, and many times as long under the race detector.
const (
	mostProcessSingles = 24
	mostProcessPairs   = 4
	mostOutput         = 2000 // of a process that fails, in bytes
)

// processes does trials in which the process really dies.
func (p *proof) processes() {
	singles := slices.DeleteFunc(p.world.points(), func(at point) bool { return !outlives(at.moment) })
	singles = p.sample(singles, mostProcessSingles)
	plans := [][]point{nil}
	for _, at := range singles {
		plans = append(plans, []point{at})
	}
	for i := 0; i < len(singles); i += len(singles)/mostProcessPairs + 1 {
		plans = append(plans, []point{singles[i], singles[min(len(singles)-1, i+len(singles)/2)]})
	}
	for _, plan := range plans {
		if len(p.found) >= mostFindings || p.test.Failed() || !p.inProcesses(plan, true) {
			return
		}
	}
}

// outlives tells whether a death at the moment leaves the next process something that it is given back, or that a peer knows.
func outlives(m moment) bool {
	switch m {
	case momentBegunDurable, momentAnswerLost, momentDurable, momentEndedDurable:
		return true
	}
	return false
}

// inProcesses does a trial with a process for each life. It is false when it has found something.
func (p *proof) inProcesses(plan []point, otherEnv bool) bool {
	p.runs++
	tr := p.newTrial("process")
	tr.process = true
	tr.name = processPrefix + planText(plan)
	j := &job{Test: p.t.Name(), Number: p.number, World: saveWorld(p.world), Name: tr.name, Next: savePlan(plan), Begins: begins.Add(p.delay)}
	for lives := 0; ; lives++ {
		d, err := p.process(j, otherEnv)
		if err != nil {
			p.found = append(p.found, &finding{what: foundProcess, trial: tr, died: tr.died, text: err.Error()})
			return false
		}
		tr.lives = append(tr.lives, &life{trial: tr, trail: loadTrail(d.Trail)})
		if d.Found != nil {
			f := d.Found.load()
			f.trial, f.died = tr, tr.died
			p.found = append(p.found, f)
			return false
		}
		if !d.Died {
			return true
		}
		tr.died = append(tr.died, loadPlan(j.Next[:1])...)
		j.Events, j.Died, j.Next = append(j.Events, d.Events...), append(j.Died, j.Next[0]), j.Next[1:]
		j.Begins = d.Ended.Add(p.gap)
	}
}

// processPrefix stands before the points of a trial with processes, in Options.Only.
const processPrefix = "process:"

// process executes the test binary again, for one life. Its error says why that did not come to a result.
func (p *proof) process(j *job, otherEnv bool) (*deed, error) {
	p.jobs++
	dir := p.dir()
	file := filepath.Join(dir, fmt.Sprintf("job-%d", p.jobs))
	j.Result = file + "-result"
	if err := writeFile(file, j); err != nil {
		return nil, fmt.Errorf("write the job: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.opt.Patience+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run="+onlyTest(j.Test), "-test.count=1")
	cmd.Env = append(p.environment(otherEnv), jobVariable+"="+file)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	failed := cmd.Run()
	var d deed
	switch err := readFile(j.Result, &d); {
	case err == nil && failed == nil:
		return &d, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the result: %w", err)
	}
	text := out.String()
	if len(text) > mostOutput {
		text = "…" + text[len(text)-mostOutput:]
	}
	return nil, fmt.Errorf("%v\n%s", failed, strings.TrimSpace(text))
}

func (p *proof) dir() string {
	if p.files == "" {
		p.files = p.test.TempDir()
	}
	return p.files
}

// onlyTest returns what -test.run selects the one test by.
func onlyTest(name string) string {
	parts := strings.Split(name, "/")
	for i, s := range parts {
		parts[i] = "^" + regexp.QuoteMeta(s) + "$"
	}
	return strings.Join(parts, "/")
}

// kept are the environment variables that a process needs to start, or to be the same test.
var kept = regexp.MustCompile(`^(PATH|HOME|PWD|TMPDIR|TMP|TEMP|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|CI|GO.*|CGO_.*|LD_.*|DYLD_.*|SYSTEMROOT|WINDIR|COMSPEC|PATHEXT)$`)

// environment returns this process's environment; with other, variables that are not kept have other values.
func (p *proof) environment(other bool) []string {
	env := os.Environ()
	for i, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if other && name != "" && !kept.MatchString(strings.ToUpper(name)) && !slices.Contains(p.opt.Keep, name) {
			env[i] = fmt.Sprintf("%s=chttptest-%d", name, p.jobs)
		}
	}
	return append(env, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")) // Else the race detector waits a second before each exit.
}
