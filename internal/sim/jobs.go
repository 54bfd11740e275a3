package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/certifiedhttp/chttp"
)

// job is something that is asked of the nodes from outside.
type job struct {
	w    *World
	i    int
	name string
	p    *Process
}

// kinds of jobs, and how often they are chosen.
var jobKinds = []struct {
	kind   string
	weight int
	do     func(j *job)
}{
	{"work", 10, (*job).work},
	{payName, 4, (*job).pay},
	{"cancel", 2, (*job).workAndCancel},
	{"put", 2, (*job).put},
	{"sendall", 1, (*job).sendAll},
	{"plain", 3, (*job).plainClient},
	{"hand", 4, (*job).handClients},
	{"edge", 1, (*job).edgeClients},
	{"twin", 1, (*job).twins},
}

// drive begins the world's jobs.
func (w *World) drive() {
	sum := 0
	for _, k := range jobKinds {
		sum += k.weight
	}
	for i := range w.cfg.Jobs {
		if w.cfg.Skip.has(i) {
			continue
		}
		n := w.luck.pick(sum, "job", "", i)
		for _, k := range jobKinds {
			if n -= k.weight; n < 0 {
				j := &job{w: w, i: i, name: fmt.Sprintf("%s%d", k.kind, i), p: w.processes[w.luck.pick(len(w.processes), "job's process", "", i)]}
				w.mu.Lock()
				w.jobs[j.name] = true
				w.mu.Unlock()
				w.wg.Go(func() { j.run(k.do) })
				break
			}
		}
	}
}

// run does the job at its time.
func (j *job) run(do func(*job)) {
	w := j.w
	at := time.Duration(w.luck.draw("job's time", "", j.i).Int64N(int64(w.cfg.Length)*4/5 + 1))
	j.pause(at)
	if w.ctx.Err() == nil {
		do(j)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.jobs, j.name)
	w.event("job %s is done", j.name)
}

// pause lets d pass, unless the world ends.
func (j *job) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-j.w.ctx.Done():
	}
}

// life returns a life of the process that serves; nil when the world ends.
func (j *job) life() *Life {
	for j.w.ctx.Err() == nil {
		j.w.mu.Lock()
		l := j.p.life
		ok := l.serving()
		j.w.mu.Unlock()
		if ok {
			return l
		}
		j.pause(500 * time.Millisecond)
	}
	return nil
}

// counts tells whether what a life returned is worth anything: it is not dead.
func (l *Life) counts() bool {
	l.p.w.mu.Lock()
	defer l.p.w.mu.Unlock()
	return !l.dead
}

// start starts the execution that the job is called, until it is told that it is stored.
func (j *job) start(in In) bool {
	w := j.w
	for try := 0; w.ctx.Err() == nil; try++ {
		l := j.life()
		if l == nil {
			return false
		}
		ctx, cancel := j.patience(l, try)
		exec, err := j.function(l).Start(ctx, l.node, j.name, in)
		cancel()
		w.mu.Lock()
		if !l.dead && err == nil {
			j.p.i5Shown(exec.ID(), j.name)
			w.event("%s is stored", j.name)
			w.mu.Unlock()
			return true
		}
		if !l.dead && errors.Is(err, chttp.ErrReused) {
			w.violate("I4", "%s is refused: %v", j.name, err)
		}
		w.mu.Unlock()
		j.pause(w.luck.span(50*time.Millisecond, 10*time.Second, "start again", j.name, try))
	}
	return false
}

// patience bounds how long a call waits: now and then for a moment only.
func (j *job) patience(l *Life, try int) (context.Context, context.CancelFunc) {
	d := 5 * time.Minute
	if j.w.luck.chance(0.1, "patience", j.name, try) {
		d = 3 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(j.w.ctx, d)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// function is what the job's execution is one of.
func (j *job) function(l *Life) *chttp.Function[In, string] {
	switch j.w.luck.pick(6, "function", j.name, 0) {
	case 0:
		return l.fns.brittle
	case 1:
		return l.fns.strange
	}
	return l.fns.work
}

// wait waits for the execution's outcome, or until it is parked for good.
func (j *job) wait() {
	w := j.w
	for try := 0; w.ctx.Err() == nil; try++ {
		l := j.life()
		if l == nil {
			return
		}
		ctx, cancel := j.patience(l, try)
		exec, err := j.function(l).Attach(ctx, l.node, j.name)
		var v string
		if err == nil {
			v, err = exec.Wait(ctx)
		}
		cancel()
		switch {
		case !l.counts():
		case w.i5Waited(l, j.name, v, err):
			return
		case errors.Is(err, chttp.ErrNotFound):
			w.wrong("I1", "%s was stored, and is not found: %v", j.name, err)
			return
		}
		j.pause(w.luck.span(time.Second, time.Minute, "wait again", j.name, try))
	}
}

func (j *job) work() {
	if j.start(In{Name: j.name, Depth: j.w.cfg.Depth}) {
		j.wait()
	}
}

func (j *job) pay() {
	if j.start(In{Name: j.name, Money: true}) {
		j.wait()
	}
}

// twins starts two executions that start others under one id: two different ones at the same time, or, one after the other, the same.
func (j *job) twins() {
	w := j.w
	same := w.luck.chance(0.5, "twins", j.name, 0)
	done := make(chan struct{})
	for i := range 2 {
		twin := &job{w: w, i: j.i, name: fmt.Sprintf("%s.%d", j.name, i), p: j.p}
		in := In{Name: twin.name, Twin: j.name}
		if same {
			in.Other = j.name + "~both"
		}
		w.mu.Lock()
		w.twins[twin.name] = true
		w.mu.Unlock()
		go func() {
			defer func() { done <- struct{}{} }()
			if same && i > 0 {
				twin.pause(w.luck.span(time.Millisecond, 5*time.Minute, "twin", j.name, 0))
			}
			if twin.start(in) {
				twin.wait()
			}
		}()
	}
	<-done
	<-done
}

// workAndCancel starts an execution and asks it to end after a while.
func (j *job) workAndCancel() {
	w := j.w
	if !w.has(Cancel) {
		j.work()
		return
	}
	if !j.start(In{Name: j.name, Depth: w.cfg.Depth}) {
		return
	}
	j.pause(w.luck.span(time.Millisecond, 2*time.Minute, "cancel", j.name, 0))
	w.mu.Lock()
	w.asked[j.name] = true
	w.mu.Unlock()
	for try := 0; w.ctx.Err() == nil; try++ {
		l := j.life()
		if l == nil {
			return
		}
		ctx, cancel := j.patience(l, try)
		exec, err := j.function(l).Attach(ctx, l.node, j.name)
		if err == nil {
			err = exec.Cancel(ctx, "changed my mind")
		}
		cancel()
		w.mu.Lock()
		if !l.dead && err == nil {
			if e := j.p.memory.named[j.name]; e == nil || !e.canceled && !e.ended {
				w.violate("I5", "%s: Cancel of %s returns, and it is not durable", j.p.name, j.name)
			}
			w.hit("fault: " + Cancel.String())
			w.event("%s is asked to end", j.name)
			l.dies(DieCode, 0.3, j.name, try, "after a cancellation")
			w.mu.Unlock()
			break
		}
		w.mu.Unlock()
		j.pause(time.Second)
	}
	j.wait()
}

// put puts a message until it is told that it is stored.
func (j *job) put() {
	w := j.w
	hosts := append(w.hosts(), dedupHost, nowhereHost)
	url := fmt.Sprintf("http://%s/%s?m=%s&d=%d", hosts[w.luck.pick(len(hosts), "put", j.name, 0)], routeA, j.name, w.cfg.Depth-1)
	j.store(func(ctx context.Context, l *Life) (id string, err error) {
		ctx = chttp.With(ctx, chttp.Policy{ID: idOf(j.name), Until: 20 * time.Minute, Labels: map[string]string{"m": j.name}})
		return l.node.Put(ctx, url, "text/plain", strings.NewReader(j.name))
	})
}

// store repeats do, which is told the same id every time, until it says that the message is stored.
func (j *job) store(do func(ctx context.Context, l *Life) (string, error)) {
	for try := 0; j.w.ctx.Err() == nil; try++ {
		l := j.life()
		if l == nil {
			return
		}
		ctx, cancel := j.patience(l, try)
		id, err := do(ctx, l)
		cancel()
		j.w.mu.Lock()
		counts := !l.dead
		if counts && err == nil {
			j.p.i5Shown(id, j.name)
		}
		j.w.mu.Unlock()
		if counts && err == nil {
			return
		}
		if counts && errors.Is(err, chttp.ErrReused) {
			j.w.wrong("I4", "%s is refused: %v", j.name, err)
		}
		j.pause(j.w.luck.span(50*time.Millisecond, 10*time.Second, "put again", j.name, try))
	}
}

// sendAll sends several messages at once, with ids of the node's: each try is another message.
func (j *job) sendAll() {
	w, try := j.w, 0
	j.store(func(ctx context.Context, l *Life) (string, error) {
		try++
		var reqs []*http.Request
		for i := range 3 {
			url := fmt.Sprintf("http://%s/%s?m=%s.%d.%d&d=0", hostOf(w.luck.pick(w.cfg.Nodes, "send all", j.name, i)), routeB, j.name, try, i)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(j.name))
			if err != nil {
				return "", err
			}
			reqs = append(reqs, req)
		}
		ids, err := l.node.SendAll(chttp.With(ctx, chttp.Policy{Until: 20 * time.Minute}), reqs...)
		if err != nil {
			return "", err
		}
		w.mu.Lock()
		for i, id := range ids[1:] {
			if !l.dead {
				j.p.i5Shown(id, fmt.Sprintf("%s.%d.%d", j.name, try, i+1))
			}
		}
		w.mu.Unlock()
		return ids[0], nil
	})
}
