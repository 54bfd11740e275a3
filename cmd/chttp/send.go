package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/certifiedhttp/chttp"
)

type sendCommand struct {
	URL         string        `arg:"" help:"Where to: an http or https URL."`
	Data        *string       `short:"d" xor:"body" placeholder:"DATA" help:"The body, or @FILE for what is in a file."`
	Lines       string        `xor:"body" placeholder:"FILE" help:"A message for each line of a file of JSON lines; - is the standard input."`
	Raw         bool          `help:"Lines may be anything, not only JSON."`
	Header      []string      `short:"H" sep:"none" placeholder:"'NAME: VALUE'" help:"A header field; may be repeated. Credentials are not stored."`
	Method      string        `short:"X" default:"POST" help:"The method."`
	DB          string        `name:"db" default:"chttp.db" placeholder:"FILE" help:"The file that remembers the messages (${default})."`
	Batch       string        `placeholder:"NAME" help:"Name the messages, instead of by what they say."`
	Until       time.Duration `placeholder:"DURATION" help:"Give up what is not answered by then: 90s, 12h. Default: a day or a week."`
	Concurrency int           `default:"16" help:"Requests at once (${default})."`
	Plain       bool          `help:"The server does not know Idempotency-Key: send none. A message may then arrive twice."`
}

// Help is what follows the summary of the command.
func (*sendCommand) Help() string {
	return `Every message is stored in a file before it is sent, and sent again until it is answered. Killed or interrupted, run the same
command again: it goes on where it was. No line is lost, and none is sent as a second message, because the messages are named by
the URL, the headers and the data, or by --batch NAME and the number of the line. So the same command never sends twice;
to send the same again as another message, give it another --batch.

Examples:
  chttp send http://localhost:8080/orders -d '{"item":"lamp"}'
  chttp send http://localhost:8080/orders -d @order.json -H 'Authorization: Bearer …'
  chttp send http://localhost:8080/events --lines events.ndjson
  generate | chttp send http://localhost:8080/events --lines - --batch today

Exit status: 0 all were answered with 2xx or 3xx; 1 some were rejected, given up or are unknown; 2 the command is wrong;
130 interrupted.`
}

// reserved are the header fields that are not the user's to set, and what is.
var reserved = map[string]string{
	"Idempotency-Key": "--batch NAME", "Certified": "", "Certified-Ack": "", "Content-Digest": "", "Content-Length": "", "Host": "",
	"Accept-Encoding": "", "Connection": "", "Transfer-Encoding": "", "Prefer": "",
}

// credentials are the header fields that are added to each attempt and not stored.
var credentials = []string{"Authorization", "Proxy-Authorization", "Cookie"}

// Run sends.
func (s *sendCommand) Run(ctx context.Context, c *console) error {
	o, err := s.parse()
	if err != nil {
		return err
	}
	b, err := s.batch(c, o)
	if err != nil {
		return err
	}
	defer b.close()
	if b.count == 0 {
		return usage(fmt.Errorf("%s has no lines to send", s.Lines), "chttp send --help")
	}
	st, err := open(s.DB)
	if err != nil {
		return err
	}
	defer st.Close()
	logger := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelError}))
	node, err := chttp.New(st, &chttp.Options{Destination: o.destination(b.name), Logger: logger})
	if err != nil {
		return err
	}
	return (&delivery{
		sender: s, order: o, batch: b, store: st, node: node, console: c, tracker: newTracker(st, b), begin: time.Now(),
	}).run(ctx)
}

// order is the command line, checked: what all messages have in common.
type order struct {
	method      string
	url         *url.URL
	header      http.Header // stored
	credentials http.Header // not stored
	concurrency int
	plain       bool
}

func (s *sendCommand) parse() (*order, error) {
	wrong := func(format string, args ...any) (*order, error) {
		return nil, usage(fmt.Errorf(format, args...), "chttp send --help")
	}
	o := &order{method: strings.ToUpper(s.Method), header: http.Header{}, credentials: http.Header{}, concurrency: s.Concurrency, plain: s.Plain}
	var err error
	o.url, err = url.Parse(s.URL)
	switch {
	case err != nil:
		return wrong("the URL is wrong: %w", err)
	case o.url.Scheme != "http" && o.url.Scheme != "https" || o.url.Host == "":
		return nil, usage(fmt.Errorf("%q is not an http or https URL", s.URL), "chttp send http://"+strings.TrimPrefix(s.URL, "//"))
	case o.method == http.MethodGet || o.method == http.MethodHead:
		return wrong("a message asks a server to do something; %s is for asking what is there: use curl", o.method)
	case !token(o.method):
		return wrong("%q is not a method", s.Method)
	case s.Until < 0 || s.Concurrency < 1:
		return wrong("--until and --concurrency must be positive")
	case s.Batch != "" && (len(s.Batch) > 100 || !batchName(s.Batch)):
		return wrong("a batch is named by at most 100 letters, digits, - and _, not by %q", s.Batch)
	case s.Raw && s.Lines == "":
		return wrong("--raw is about --lines")
	}
	for _, h := range s.Header {
		name, value, found := strings.Cut(h, ":")
		name, value = http.CanonicalHeaderKey(name), strings.TrimSpace(value)
		instead, taken := reserved[name]
		switch {
		case !found || !token(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return nil, usage(fmt.Errorf("%q is not a header field", h), "-H 'Name: value'")
		case taken && instead != "":
			return nil, usage(fmt.Errorf("%s is set by chttp, from the name of the batch", name), instead)
		case taken:
			return wrong("%s is set by chttp", name)
		case slices.Contains(credentials, name):
			o.credentials.Add(name, value)
		default:
			o.header.Add(name, value)
		}
	}
	return o, nil
}

func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

func batchName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// batch reads what is to be sent, and says in o what it is.
func (s *sendCommand) batch(c *console, o *order) (*batch, error) {
	kind := "application/json"
	var body []byte
	switch {
	case s.Lines != "" && s.Raw:
		kind = "text/plain; charset=utf-8"
	case s.Lines == "":
		var err error
		if body, err = s.body(); err != nil {
			return nil, usage(err, "chttp send --help")
		}
		switch {
		case json.Valid(body):
		case utf8.Valid(body):
			kind = "text/plain; charset=utf-8"
		default:
			kind = "application/octet-stream"
		}
	}
	if o.header.Get("Content-Type") == "" && (s.Lines != "" || s.Data != nil) {
		o.header.Set("Content-Type", kind)
	}
	n := naming{o.method, o.url.String()}
	for _, k := range slices.Sorted(maps.Keys(o.header)) {
		n = append(n, k+": "+strings.Join(o.header[k], ", "))
	}
	if s.Lines == "" {
		return oneMessage(body, s.Batch, n), nil
	}
	b, err := manyMessages(s.Lines, c.in, s.Raw, s.Batch, n)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, usage(err, "chttp send --help")
	case err != nil:
		return nil, usage(fmt.Errorf("nothing was sent: %w", err), "correct it, or --raw to send lines that are not JSON")
	}
	return b, nil
}

func (s *sendCommand) body() ([]byte, error) {
	if s.Data == nil {
		return nil, nil
	}
	if name, ok := strings.CutPrefix(*s.Data, "@"); ok {
		return os.ReadFile(name)
	}
	return []byte(*s.Data), nil
}

// batchLabel and secretLabel are labels of each message: its batch, and whether credentials belong to it.
const (
	batchLabel  = "batch"
	secretLabel = "credentials"
)

// destination says how messages are delivered: those of this batch with its credentials, those that an earlier command left in the file
// without, and if they need some, not now.
func (o *order) destination(batch string) func(context.Context, *http.Request) (chttp.Destination, error) {
	return func(ctx context.Context, _ *http.Request) (chttp.Destination, error) {
		d := chttp.Destination{Concurrency: o.concurrency}
		m, _ := chttp.From(ctx)
		if m.Labels[batchLabel] != batch {
			if m.Labels[secretLabel] != "" {
				return d, fmt.Errorf("it needs credentials, which are not stored: run the command of batch %s again", m.Labels[batchLabel])
			}
			return d, nil
		}
		d.Plain = o.plain
		d.Authorize = func(req *http.Request) error {
			for k, v := range o.credentials {
				req.Header[k] = v
			}
			return nil
		}
		return d, nil
	}
}

// request makes the request of the message in the given line.
func (o *order) request(ctx context.Context, b *batch, line int, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, o.method, o.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = o.header.Clone()
	req.Header.Set("Idempotency-Key", b.id(line))
	return req, nil
}
