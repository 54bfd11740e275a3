package main

import (
	"runtime"
	"runtime/debug"

	"github.com/certifiedhttp/chttp/internal/record"
)

// protocolVersion is the version of the wire protocol that this program speaks.
const protocolVersion = 1

type versionCommand struct{}

type versions struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Protocol int    `json:"protocol"`
	Record   int    `json:"record"`
}

// Run prints the version.
func (*versionCommand) Run(c *console) error {
	v := versions{Version: "(devel)", Go: runtime.Version(), Protocol: protocolVersion, Record: record.Version}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	if c.json {
		return c.document(v)
	}
	c.printf("chttp %s, protocol %d, record format %d, %s\n", v.Version, v.Protocol, v.Record, v.Go)
	return nil
}
