package chttptest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/certifiedhttp/chttp"
)

// codec is the node's codec, and looks whether what it writes comes back equal.
type codec struct {
	life  *life
	inner chttp.Codec
}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

func codecOf(c chttp.Codec) chttp.Codec {
	if c == nil {
		return jsonCodec{}
	}
	return c
}

// Marshal implements chttp.Codec.
func (c *codec) Marshal(v any) ([]byte, error) {
	b, err := c.inner.Marshal(v)
	if err != nil || v == nil {
		return b, err
	}
	if f := c.check(v, b); f != nil {
		c.life.note(f, b)
	}
	return b, nil
}

// Unmarshal implements chttp.Codec.
func (c *codec) Unmarshal(b []byte, v any) error { return c.inner.Unmarshal(b, v) }

// check returns what is wrong with v after it went through the codec, or nil.
func (c *codec) check(v any, b []byte) *finding {
	back := reflect.New(reflect.TypeOf(v))
	if err := c.inner.Unmarshal(b, back.Interface()); err != nil {
		return &finding{what: foundCoded, text: fmt.Sprintf("it cannot be read back into a %T: %v", v, err), line: codedLine()}
	}
	d := differ{codec: c.inner}
	d.compare("", reflect.ValueOf(v), back.Elem(), 0)
	if d.where == "" && d.why == "" {
		return nil
	}
	name := reflect.TypeOf(v).String()
	if d.where != "" {
		name += d.where
	}
	return &finding{what: foundCoded, text: fmt.Sprintf("%s %s", name, d.why), line: codedLine(), role: codedRole()}
}

// note keeps what was found until it is known what is recorded with it.
func (l *life) note(f *finding, b []byte) {
	tr := l.trial
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if l.over || len(b) == 0 {
		return
	}
	if l.coded == nil {
		l.coded = make(map[*byte]*finding)
	}
	l.coded[&b[0]] = f
	tr.coded = append(tr.coded, f)
}

// codedLine returns the line of the caller's code that has a value encoded.
func codedLine() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !ownFrame(f.Function) && !stdFile(f.File) {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return ""
		}
	}
}

// codedRole says what the value that is being encoded is, where that is no operation's result.
func codedRole() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		name := strings.TrimPrefix(f.Function, module+".")
		switch {
		case strings.HasSuffix(name, ".subscope"):
			return "the value of a branch or function"
		case strings.HasPrefix(name, "(*Function[") && strings.HasSuffix(name, ".run"):
			return "the outcome"
		case strings.HasPrefix(name, "(*Function[") && (strings.HasSuffix(name, ".Start") || strings.HasSuffix(name, ".Call")):
			return "the input"
		}
		if !more {
			return ""
		}
	}
}
