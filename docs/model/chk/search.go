package main

import (
	"fmt"
	"hash/maphash"
	"slices"
	"time"
)

// result is what a search found.
type result struct {
	states   int
	took     time.Duration
	broken   map[string][]string // property: the shortest trace to where it does not hold
	capped   bool                // there were more states than the search may look at
	happened [operations]bool
}

// search goes through the states of a variant, breadth first, so that traces are as short as can be. What lies behind a state that
// violates a property is not looked at.
type search struct {
	*variant
	known *table
	first map[uint64]state // the initial states
	res   result
}

// check searches at most most states, or until the property enough is broken.
func (v *variant) check(most int, enough string) result {
	s := &search{variant: v, known: newTable(), first: map[uint64]state{}, res: result{broken: map[string][]string{}}}
	began := time.Now()
	var level, next []state
	for _, st := range v.initial() {
		print := fingerprint(&st)
		s.known.add(print, 0)
		s.first[print] = st
		level = append(level, st)
	}
	for len(level) > 0 && !s.res.capped && s.res.broken[enough] == nil {
		next = next[:0]
		for i := range level {
			next = s.expand(&level[i], next)
			if s.known.n > most {
				s.res.capped = true
				break
			}
		}
		level, next = next, level
	}
	s.res.states, s.res.took = s.known.n, time.Since(began)
	return s.res
}

// expand appends the new successors of st to next.
func (s *search) expand(st *state, next []state) []state {
	from := fingerprint(st)
	none := true
	s.successors(st, func(to state, l label, bad string) {
		none = false
		s.res.happened[l.op] = true
		if bad != "" {
			s.broke(bad, from, l.String())
			return
		}
		if print := fingerprint(&to); s.known.add(print, from) {
			next = append(next, to)
		}
	})
	if none && st.calm == 1 && int(st.t) < s.ticks {
		s.broke("P5", from, "STUCK")
	}
	return next
}

// broke notes the first trace to where a property does not hold.
func (s *search) broke(property string, from uint64, last string) {
	if s.res.broken[property] == nil {
		s.res.broken[property] = append(s.trace(from), last)
	}
}

// trace finds the way to the state with the fingerprint again, from state to state.
func (s *search) trace(print uint64) []string {
	var way []uint64
	for ; print != 0; print = s.known.parent(print) {
		way = append(way, print)
	}
	slices.Reverse(way)
	at := s.first[way[0]]
	lines := []string{"start"}
	if !s.anyClock {
		lines[0] = fmt.Sprintf("start: client's clock = server's clock %+d", at.ahead)
	}
	for _, print := range way[1:] {
		var to *state
		s.successors(&at, func(next state, l label, _ string) {
			if to == nil && fingerprint(&next) == print {
				to = &next
				lines = append(lines, l.String())
			}
		})
		at = *to
	}
	return lines
}

var seed = maphash.MakeSeed()

// fingerprint stands for a state. Of ten million states two have the same one with a probability of less than one in a hundred thousand.
func fingerprint(s *state) uint64 { return maphash.Bytes(seed, s.bytes()) | 1 }

// table maps fingerprints, which are never 0, to those that they were reached from: open addressing, at most half full.
type table struct {
	keys, parents []uint64
	n             int
}

func newTable() *table { return &table{keys: make([]uint64, 1<<16), parents: make([]uint64, 1<<16)} }

// add is false when the key is there already.
func (t *table) add(key, parent uint64) bool {
	if 2*t.n > len(t.keys) {
		t.grow()
	}
	i := t.find(key)
	if t.keys[i] == key {
		return false
	}
	t.keys[i], t.parents[i] = key, parent
	t.n++
	return true
}

func (t *table) parent(key uint64) uint64 { return t.parents[t.find(key)] }

// find returns where key is, or where it belongs.
func (t *table) find(key uint64) int {
	mask := uint64(len(t.keys) - 1)
	i := key & mask
	for t.keys[i] != 0 && t.keys[i] != key {
		i = (i + 1) & mask
	}
	return int(i)
}

func (t *table) grow() {
	keys, parents := t.keys, t.parents
	t.keys, t.parents = make([]uint64, 2*len(keys)), make([]uint64, 2*len(keys))
	for i, key := range keys {
		if key != 0 {
			j := t.find(key)
			t.keys[j], t.parents[j] = key, parents[i]
		}
	}
}
