package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/certifiedhttp/chttp/internal/conform"
)

// What is printed of a test is largely what the tested server or client has sent.
func TestWhatIsTestedDoesNotSteerTheTerminal(t *testing.T) {
	var out bytes.Buffer
	c := &console{out: &out}
	hostile := "a\x1b[2J\x9b\xffb"
	rep := &conform.Report{Target: "http://x/", Profile: conform.ProfileCertified, Store: hostile, Lines: []conform.Line{
		{Rule: "S3", Verdict: conform.Fail, Why: hostile, Findings: []conform.Finding{
			{Rule: "S3", Claim: "it holds", Verdict: conform.Fail, Why: hostile, Script: hostile + "\n" + hostile, Seen: hostile},
			{Rule: "S3", Claim: "it holds", Verdict: conform.NotOffered, Why: hostile},
		}},
	}}
	if err := (&conformCommand{}).tell(c, rep); err == nil {
		t.Error("a failure is no error")
	}
	if strings.ContainsAny(out.String(), "\x1b\u009b") || !strings.Contains(out.String(), "FAIL") {
		t.Errorf("got %q", out.String())
	}
}
