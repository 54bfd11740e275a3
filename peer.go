package chttp

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/certifiedhttp/chttp/store"
)

// peer is what is known of an authority, or of a part of one that Destination.Name tells apart (C4). What is learned becomes durable
// with the next batch, before what was learned with it counts.
type peer struct {
	name string
	node *Node

	mu    sync.Mutex // guards what follows
	known knowledge
	told  bool // the clock's offset was reported
}

// knowledge is the durable part.
type knowledge struct {
	Certified bool   `json:"certified,omitzero"` // it has echoed until
	Store     string `json:"store,omitzero"`
	Offset    int64  `json:"offset,omitzero"` // its clock minus ours, seconds
	Paused    string `json:"paused,omitzero"` // why nothing is sent to it
}

const peerFact = "peer "

// offsetCounts is how far apart clocks are before the offset is applied (C8).
const offsetCounts = 30 // seconds

// learn takes over what an earlier process learned.
func (c *courier) learn(facts []store.Fact) {
	for _, f := range facts {
		name, ok := strings.CutPrefix(f.Name, peerFact)
		if !ok {
			continue
		}
		p := c.peer(name)
		var k knowledge
		if err := json.Unmarshal(f.Value, &k); err != nil {
			c.node.opt.Logger.Error("chttp: what was known of a peer cannot be read, and is learned again", "peer", name, "err", err)
			continue
		}
		p.known = k
		if p.known.Paused != "" {
			c.node.opt.Logger.Error("chttp: nothing is sent to this peer: see 'chttp resume'", "peer", name, "why", p.known.Paused)
		}
	}
}

// peerOf returns what is known of the peer that m goes to. A gateway can have several behind one authority, each with a store of its own.
func (c *courier) peerOf(m *message, o *Destination) *peer {
	if name := firstOf(m.dest, o.Name); name != "" {
		return c.peer(m.authority() + "#" + name)
	}
	return c.peer(m.authority())
}

func (c *courier) peer(name string) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[name]
	if p == nil {
		p = &peer{name: name, node: c.node}
		c.peers[name] = p
	}
	return p
}

// certified tells whether the peer is known to be certified.
func (p *peer) certified() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known.Certified
}

// paused says why nothing is sent to the peer; "" if it is.
func (p *peer) paused() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known.Paused
}

// heard learns from a certified answer that came at the time now.
func (p *peer) heard(v *verdict, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.known
	k.Certified = k.Certified || v.Until != 0
	if v.Store != "" {
		if k.Store != "" && k.Store != v.Store {
			// S13: the peer was restored from a copy and may have forgotten what it did.
			k.Paused = "its store changed from " + k.Store + " to " + v.Store + ": it was restored from a copy, and may do again what it did after the copy was made"
			p.node.opt.Logger.Error("chttp: nothing more is sent to this peer: see 'chttp resume'", "peer", p.name, "why", k.Paused)
		}
		k.Store = v.Store
	}
	if off := v.Now - now.Unix(); v.Now != 0 && (off > offsetCounts || off < -offsetCounts) {
		if d := off - k.Offset; d > offsetCounts || d < -offsetCounts {
			k.Offset = off
			if !p.told {
				p.told = true
				p.node.opt.Logger.Warn("chttp: clocks differ; attempts to this peer are stamped by its clock", "peer", p.name, "seconds", off)
			}
		}
	} else if v.Now != 0 {
		k.Offset = 0
	}
	p.set(k)
}

// pause has nothing more sent to the peer.
func (p *peer) pause(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.known
	k.Paused = why
	p.set(k)
	p.node.opt.Logger.Error("chttp: nothing more is sent to this peer: see 'chttp resume'", "peer", p.name, "why", why)
}

// set keeps k; called with p.mu held.
func (p *peer) set(k knowledge) {
	if k == p.known {
		return
	}
	p.known = k
	value, err := json.Marshal(k)
	if err != nil {
		return // of strings and numbers only
	}
	p.node.journal.put(func(j *journal) {
		j.facts = append(j.facts, store.Fact{Name: peerFact + p.name, Value: value})
	})
}

// offset returns the peer's clock minus ours.
func (p *peer) offset() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.known.Offset) * time.Second
}
