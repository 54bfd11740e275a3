package chttptest

import (
	"encoding/gob"
	"os"
	"path/filepath"
	"time"

	"github.com/certifiedhttp/chttp/internal/record"
	"github.com/certifiedhttp/chttp/store"
)

// What processes of Options.Process tell each other, in files.

// job is what a process is to do: one life of a trial.
type job struct {
	Test   string // the test, and the how many-th proof in it
	Number int
	World  savedWorld
	Name   string
	Died   []savedPoint
	Next   []savedPoint
	Begins time.Time // by the fake clock
	Events []event   // of earlier lives
	Result string    // the file for the deed
}

// deed is what has become of a job.
type deed struct {
	Events []event
	Died   bool // at the point that was planned
	Found  *savedFinding
	Trail  []savedOperation
	Ended  time.Time
}

// event is what a store has done: a Join, or a batch.
type event struct {
	Floor int64
	Batch *store.Batch
}

type savedSite struct {
	Realm, ID, Scope string
	Seq              int
}

type savedPoint struct {
	Site   savedSite
	Moment string
}

type savedOperation struct {
	Site            savedSite
	Function        string
	Kind            record.Kind
	Name            string
	Print, Content  []byte
	Line            string
	At, Deadline    time.Time
	Recorded, Stray bool
	Message         string
	Begin, End      *record.Entry
}

type savedExecution struct {
	Realm, ID, Function string
	State               store.State
	Tail                []byte
	Entries             []record.Entry
}

type savedBirth struct {
	Realm, ID string
	Run       uint64
	Created   int64
}

type savedWorld struct {
	Realm, ID  string // of the root
	Order      []savedOperation
	Executions []savedExecution
	Born       []savedBirth
	Answer     string
	Took       time.Duration
	Deadlines  bool
}

type savedFinding struct {
	What     int
	Ref, Now *savedOperation
	Realm    string
	ID       string
	Text     string
	Line     string
	Role     string
}

func saveSite(s site) savedSite { return savedSite{s.key.Scope, s.key.ID, s.scope, s.seq} }

func (s savedSite) load() site {
	return site{key: store.Key{Scope: s.Realm, ID: s.ID}, scope: s.Scope, seq: s.Seq}
}

func savePlan(plan []point) (list []savedPoint) {
	for _, p := range plan {
		list = append(list, savedPoint{saveSite(p.site), string(p.moment)})
	}
	return list
}

func loadPlan(list []savedPoint) (plan []point) {
	for _, p := range list {
		plan = append(plan, point{p.Site.load(), moment(p.Moment)})
	}
	return plan
}

func saveOperation(op *operation) savedOperation {
	return savedOperation{
		Site: saveSite(op.site), Function: op.function, Kind: op.kind, Name: op.name, Print: op.print, Content: op.content, Line: op.line,
		At: op.at, Deadline: op.deadline, Recorded: op.recorded, Stray: op.stray, Message: op.message, Begin: op.begin, End: op.end,
	}
}

func (s *savedOperation) load() *operation {
	return &operation{
		site: s.Site.load(), function: s.Function, kind: s.Kind, name: s.Name, print: s.Print, content: s.Content, line: s.Line,
		at: s.At, deadline: s.Deadline, recorded: s.Recorded, stray: s.Stray, message: s.Message, begin: s.Begin, end: s.End,
	}
}

func saveTrail(trail []*operation) (list []savedOperation) {
	for _, op := range trail {
		list = append(list, saveOperation(op))
	}
	return list
}

func loadTrail(list []savedOperation) (trail []*operation) {
	for i := range list {
		trail = append(trail, list[i].load())
	}
	return trail
}

func saveWorld(w *world) savedWorld {
	s := savedWorld{Realm: w.root.Scope, ID: w.root.ID, Order: saveTrail(w.order), Answer: w.answer, Took: w.took, Deadlines: w.deadlines}
	for key, x := range w.executions {
		s.Executions = append(s.Executions, savedExecution{key.Scope, key.ID, x.function, x.state, x.tail, x.entries})
	}
	for key, b := range w.born {
		s.Born = append(s.Born, savedBirth{key.Scope, key.ID, b.run, b.created})
	}
	return s
}

func (s *savedWorld) load() *world {
	w := &world{
		root: store.Key{Scope: s.Realm, ID: s.ID}, order: loadTrail(s.Order), answer: s.Answer, took: s.Took, deadlines: s.Deadlines,
		ops: make(map[site]*operation), executions: make(map[store.Key]*stored), born: make(map[store.Key]birth),
	}
	for _, op := range w.order {
		w.ops[op.site] = op
	}
	for _, x := range s.Executions {
		key := store.Key{Scope: x.Realm, ID: x.ID}
		w.executions[key] = &stored{key: key, function: x.Function, state: x.State, tail: x.Tail, entries: x.Entries}
	}
	for _, b := range s.Born {
		w.born[store.Key{Scope: b.Realm, ID: b.ID}] = birth{b.Run, b.Created}
	}
	return w
}

func saveFinding(f *finding) *savedFinding {
	s := &savedFinding{What: int(f.what), Realm: f.key.Scope, ID: f.key.ID, Text: f.text, Line: f.line, Role: f.role}
	if f.ref != nil {
		op := saveOperation(f.ref)
		s.Ref = &op
	}
	if f.now != nil {
		op := saveOperation(f.now)
		s.Now = &op
	}
	return s
}

func (s *savedFinding) load() *finding {
	f := &finding{what: what(s.What), key: store.Key{Scope: s.Realm, ID: s.ID}, text: s.Text, line: s.Line, role: s.Role}
	if s.Ref != nil {
		f.ref = s.Ref.load()
	}
	if s.Now != nil {
		f.now = s.Now.load()
	}
	return f
}

// writeFile writes v so that the file is there only when it is whole.
func writeFile(name string, v any) error {
	f, err := os.CreateTemp(filepath.Dir(name), "part")
	if err != nil {
		return err
	}
	if err := gob.NewEncoder(f).Encode(v); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func readFile(name string, v any) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return gob.NewDecoder(f).Decode(v)
}
