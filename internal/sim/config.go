package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is a world before it begins. Draw makes one of a seed; what shrinking leaves of it has the same seed and less of the rest, and
// the same things go wrong in it where they are still there.
type Config struct {
	Seed     uint64
	Nodes    int           // processes, each a node
	Jobs     int           // what is asked of them from outside: executions, messages, clients
	Skip     Skip          // jobs that are left out
	Ops      int           // operations of one program, at the most
	Depth    int           // of programs that call programs
	Length   time.Duration // of the time in which faults happen
	Resident int           // Options.MaxResident; 0: its default
	Scale    float64       // of the rates at which faults happen
	Faults   Faults
}

// Fault is a kind of thing that goes wrong.
type Fault uint

// The faults.
const (
	Lose       Fault = iota // a request does not arrive
	Deaf                    // an answer does not arrive
	Double                  // a request arrives twice, the second time perhaps hours later
	Slow                    // a request takes its time, so that others overtake it
	Reset                   // a connection breaks, before or after the work
	Refuse                  // a connection is not made
	Gateway                 // a proxy answers 502, before or after the work
	Unmarked                // a proxy answers 200 for a server, or takes the mark from its answer
	Garble                  // a request or an answer is changed or cut short on its way
	DieCommit               // a process dies before or after a commit
	DieRead                 // a process dies when it reads its store
	DieRequest              // a process dies around a request, on either side
	DieCode                 // a process dies in user code
	Stop                    // a process is stopped in order, and started again
	Fence                   // a second process takes over the store while the first still lives
	Outage                  // a process that died stays dead for long
	Unsure                  // a commit answers that it is unknown whether it was done, and was or was not
	Full                    // a store has no room for a while
	Fail                    // a commit is refused, nothing was done
	Unread                  // a read of a store fails
	Rot                     // a record is damaged for a while
	Lag                     // a commit takes its time
	Skew                    // clocks differ, by less than the skew
	Jump                    // clocks jump to and fro, within the skew
	Far                     // clocks jump by hours
	Panic                   // programs panic
	NotNow                  // handlers answer 429 and 503
	Diverge                 // programs do something else when they are run again
	Cancel                  // executions are cancelled
	Strange                 // functions are not registered in some lives of a process
	faultKinds
)

// Faults is a set of faults.
type Faults uint64

var faultNames = [faultKinds]string{
	"lose", "deaf", "double", "slow", "reset", "refuse", "gateway", "unmarked", "garble", "die-commit", "die-read", "die-request", "die-code",
	"stop", "fence", "outage", "unsure", "full", "fail", "unread", "rot", "lag", "skew", "jump", "far", "panic", "not-now", "diverge", "cancel", "strange",
}

// String returns the fault's name.
func (f Fault) String() string { return faultNames[f] }

// Has tells whether f is in the set.
func (s Faults) Has(f Fault) bool { return s>>f&1 == 1 }

// Without returns s without f.
func (s Faults) Without(f Fault) Faults { return s &^ (1 << f) }

const allFaults Faults = 1<<faultKinds - 1

// String lists the faults.
func (s Faults) String() string {
	switch s & allFaults {
	case allFaults:
		return "all"
	case 0:
		return "none"
	}
	var list []string
	for f := range faultKinds {
		if s.Has(f) {
			list = append(list, f.String())
		}
	}
	return strings.Join(list, "+")
}

func parseFaults(text string) (Faults, error) {
	switch text {
	case "all":
		return allFaults, nil
	case "none":
		return 0, nil
	}
	var s Faults
	for name := range strings.SplitSeq(text, "+") {
		f := slices.Index(faultNames[:], name)
		if f < 0 {
			return 0, fmt.Errorf("there is no fault %q", name)
		}
		s |= 1 << f
	}
	return s, nil
}

// Draw returns the world of a seed. Not every fault is in every world: some hide others.
func Draw(seed uint64) Config {
	k := luck(seed)
	c := Config{
		Seed: seed, Nodes: 2 + k.pick(2, "nodes", "", 0), Jobs: 8 + k.pick(9, "jobs", "", 0), Ops: 4 + k.pick(7, "ops", "", 0),
		Depth: 1 + k.pick(3, "depth", "", 0), Length: time.Duration(20+k.pick(60, "length", "", 0)) * time.Minute,
		Scale: [...]float64{0.5, 1, 2}[k.pick(3, "scale", "", 0)],
	}
	if k.chance(0.4, "resident", "", 0) {
		c.Resident = 2 + k.pick(4, "resident", "", 1)
		c.Depth = min(c.Depth, 2) // Each round through so little memory takes its time.
	}
	share := [...]float64{0.35, 0.6, 1}[k.pick(3, "share", "", 0)]
	for f := range faultKinds {
		if k.chance(share, "fault", f.String(), 0) {
			c.Faults |= 1 << f
		}
	}
	return c
}

// String is what ParseConfig reads.
func (c Config) String() string {
	return fmt.Sprintf("seed=%d nodes=%d jobs=%d skip=%v ops=%d depth=%d length=%v resident=%d scale=%v faults=%v",
		c.Seed, c.Nodes, c.Jobs, c.Skip, c.Ops, c.Depth, c.Length, c.Resident, c.Scale, c.Faults)
}

// ParseConfig reads what Config.String wrote. What is left out is as Draw has it.
func ParseConfig(text string) (c Config, err error) {
	fields := make(map[string]string)
	for field := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return c, fmt.Errorf("%q is not of the form name=value", field)
		}
		fields[name] = value
	}
	seed, err := strconv.ParseUint(fields["seed"], 10, 64)
	if err != nil {
		return c, fmt.Errorf("seed: %w", err)
	}
	c = Draw(seed)
	var errs []error
	for name, value := range fields {
		errs = append(errs, c.set(name, value))
	}
	return c, errors.Join(errs...)
}

func (c *Config) set(name, value string) (err error) {
	switch name {
	case "seed":
	case "nodes":
		c.Nodes, err = strconv.Atoi(value)
	case "jobs":
		c.Jobs, err = strconv.Atoi(value)
	case "skip":
		c.Skip, err = parseSkip(value)
	case "ops":
		c.Ops, err = strconv.Atoi(value)
	case "depth":
		c.Depth, err = strconv.Atoi(value)
	case "resident":
		c.Resident, err = strconv.Atoi(value)
	case "length":
		c.Length, err = time.ParseDuration(value)
	case "scale":
		c.Scale, err = strconv.ParseFloat(value, 64)
	case "faults":
		c.Faults, err = parseFaults(value)
	default:
		err = errors.New("there is no such field")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Smaller returns worlds with less in them than c, those first that leave out most.
func (c Config) Smaller() (list []Config) {
	add := func(change func(*Config)) {
		d := c
		change(&d)
		if d != c {
			list = append(list, d)
		}
	}
	add(func(d *Config) { d.Jobs = max(1, c.Jobs/2) })
	add(func(d *Config) { d.Nodes = max(1, c.Nodes-1) })
	add(func(d *Config) { d.Length = max(time.Minute, c.Length/2).Round(time.Second) })
	add(func(d *Config) { d.Depth = max(1, c.Depth-1) })
	add(func(d *Config) { d.Ops = max(1, c.Ops/2) })
	add(func(d *Config) { d.Resident = 0 })
	for i := range min(c.Jobs, 64) {
		add(func(d *Config) { d.Skip = c.Skip.with(i) })
	}
	for f := range faultKinds {
		add(func(d *Config) { d.Faults = c.Faults.Without(f) })
	}
	return list
}

// Skip is a set of the first 64 jobs.
type Skip uint64

func (s Skip) with(job int) Skip { return s | 1<<job }

// has tells whether a job is in the set.
func (s Skip) has(job int) bool { return job < 64 && s>>job&1 == 1 }

// String lists the jobs.
func (s Skip) String() string {
	var list []string
	for i := range 64 {
		if s.has(i) {
			list = append(list, strconv.Itoa(i))
		}
	}
	return strings.Join(list, ",")
}

func parseSkip(text string) (s Skip, err error) {
	for field := range strings.SplitSeq(text, ",") {
		if field == "" {
			continue
		}
		i, err := strconv.ParseUint(field, 10, 6)
		if err != nil {
			return 0, err
		}
		s = s.with(int(i))
	}
	return s, nil
}
