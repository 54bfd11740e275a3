package conform

import (
	"fmt"
	"slices"
	"strings"
)

// Rule is a numbered rule of docs/protocol.md, or one of its sections, which is written §2.
type Rule struct {
	Name   string
	Says   string // in a few words
	Hidden string // why nothing of it can be seen from outside; "" for a rule that has checks
}

// ServerRules returns the rules that a server keeps, in the order of the protocol.
func ServerRules() []Rule { return slices.Clone(serverRules) }

// ClientRules returns the rules that a client keeps.
func ClientRules() []Rule { return slices.Clone(clientRules) }

var serverRules = []Rule{
	{"§1", "a request's fields are read as they may be written", ""},
	{"§2", "every answer says in Certified what became of the message", ""},
	{"S1", "authentication and size limits come first", ""},
	{"S2", "a message belongs to its principal", ""},
	{"S3", "the same id with another request is 422 key-reused", ""},
	{"S4", "a new message runs once, and is durable before its answer", ""},
	{"S5", "one that runs is waited for, then 202 running or 409", ""},
	{"S6", "one that is done is answered from the record, byte for byte", ""},
	{"S7", "'not now' is passed on with none, a crash is running", ""},
	{"S8", "an attempt out of its time is 412 stale-attempt", ""},
	{"S9", "a message that wants to be known for too long is refused", ""},
	{"S10", "overload is answered, with Retry-After and none", ""},
	{"S11", "two nodes on one store run a message once", ""},
	{"S12", "a client that goes away cancels nothing", ""},
	{"S13", "store names the store's incarnation", ""},
	{"A1", "acknowledgements are taken by header, by DELETE and in bulk", ""},
	{"A2", "what was acknowledged is 410 gone, later forgotten", ""},
	{"A3", "the message URL answers GET, HEAD and DELETE", ""},
	{"A4", "a lost or unreadable acknowledgement harms nothing", ""},
	{"A5", "an acknowledgement without at counts as until", ""},
	{"§6", "a plain Idempotency-Key: run once, replay, 422 on reuse", ""},
	{"§7", "errors are problem documents with a code", ""},
	{"§8", "discovery says what the server is", ""},
}

var clientRules = []Rule{
	{"§1", "a request says what it is: key, stamps, digest", ""},
	{"§2", "the client follows Certified, not the status code", ""},
	{"C1", "every attempt repeats the id and the bytes", ""},
	{"C2", "retries wait, one attempt at a time, until until", ""},
	{"C3", "a response is durable before anything depends on it", "what a client has on its disk is not seen from outside"},
	{"C4", "an unmarked answer of a certified peer is no outcome", ""},
	{"C5", "of a plain peer the status decides", ""},
	{"C6", "the end of a message is told as it is", "what a client tells its user is not seen from outside"},
	{"C7", "peers that do not de-duplicate get no key", "which peer the user marked so is not seen from outside"},
	{"C8", "at follows the peer's clock and never falls", ""},
	{"A1", "the client acknowledges what is done, and only that", ""},
	{"A5", "an acknowledgement's at is no earlier than any that was sent", ""},
	{"S13", "a peer whose store changes is sent nothing more", ""},
}

// chosen returns the rules of the list that have one of the names, as a person may write them; all of them without names.
func chosen(list []Rule, names []string) ([]Rule, error) {
	if len(names) == 0 {
		return slices.Clone(list), nil
	}
	all := make([]string, len(list))
	for i, r := range list {
		all[i] = r.Name
	}
	var wanted []string
	for _, name := range names {
		n := strings.ToUpper(strings.TrimSpace(name))
		if !slices.Contains(all, n) {
			n = "§" + n
		}
		if !slices.Contains(all, n) {
			return nil, fmt.Errorf("there is no rule %q to be tested here, only %s", name, strings.Join(all, " "))
		}
		wanted = append(wanted, n)
	}
	return slices.DeleteFunc(slices.Clone(list), func(r Rule) bool { return !slices.Contains(wanted, r.Name) }), nil
}
