package chttptest

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"
)

// passage takes one request over the network, and does to it what it is to meet.
type passage struct {
	network *Network
	route   route // to the server
	fault   Fault
	client  *conn // this end of the client's connection
}

// letter is a request or an answer as it is on the wire.
type letter struct {
	raw  []byte
	head int // bytes of raw, to the empty line
}

// half returns the letter to the middle of its body, or of its head where it has none.
func (l letter) half() []byte {
	if body := len(l.raw) - l.head; body > 0 {
		return l.raw[:l.head+body/2]
	}
	return l.raw[:l.head/2]
}

// run is the whole way of the request.
func (p *passage) run() {
	defer p.client.Close()
	req, in, err := p.receive()
	if err != nil { // The client has left before it was done: nothing arrives.
		return
	}
	if !p.delay(p.fault.Delay) {
		return
	}
	switch p.fault.Kind {
	case LoseRequest:
		p.lost()
	case CutRequest:
		p.cutRequest(in)
	case BadGateway:
		p.badGateway(req)
	case LoseAnswer, CutAnswer, BadGatewayAfter:
		p.spoilAnswer(req, in)
	case Double:
		p.network.start(func() { p.again(req, in) })
		p.relay(in)
	default:
		p.relay(in)
	}
}

// receive reads the request from the client.
func (p *passage) receive() (*http.Request, letter, error) {
	var raw bytes.Buffer
	br := bufio.NewReader(io.TeeReader(p.client, &raw))
	req, err := http.ReadRequest(br)
	if err != nil {
		return nil, letter{}, err
	}
	head := raw.Len() - br.Buffered()
	if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		_, _ = io.WriteString(p.client, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return nil, letter{}, err
	}
	return req, letter{raw.Bytes(), head}, nil
}

// dial connects to the server.
func (p *passage) dial() (*conn, error) { return p.network.dial(p.network.ctx, p.route) }

// delay lets d pass, and tells whether the network is still there.
func (p *passage) delay(d time.Duration) bool {
	if d > 0 {
		p.network.count(func(c *Counts) { c.Delayed++ })
	}
	return p.network.sleep(d)
}

// done counts the fault: it has really happened.
func (p *passage) done() {
	p.network.count(func(c *Counts) { c.Faults[p.fault.Kind]++ })
}

// lost ends the passage of what was lost.
func (p *passage) lost() {
	p.done()
	if !p.fault.Silent {
		p.client.reset()
		return
	}
	p.network.count(func(c *Counts) { c.Silent++ })
	_, _ = io.Copy(io.Discard, p.client) // until the client gives up
}

// relay takes the request to the server, and what comes back to the client, while both stay.
func (p *passage) relay(in letter) {
	server, err := p.dial()
	if err != nil {
		p.client.reset()
		return
	}
	defer server.Close()
	if _, err := server.Write(in.raw); err != nil {
		p.client.reset()
		return
	}
	p.network.start(func() {
		_, _ = io.CopyBuffer(server, p.client, make([]byte, 512)) // The client says no more, unless it upgraded, but it may leave.
		server.Close()
	})
	answer := bufio.NewReader(server)
	if _, err = answer.Peek(1); err == nil && !p.delay(p.fault.AnswerDelay) {
		return
	}
	_, _ = io.Copy(p.client, answer)
}

// exchange takes the request to the server, and reads the answer to its end, whether or not the client stays.
func (p *passage) exchange(req *http.Request, in letter) (letter, error) {
	server, err := p.dial()
	if err != nil {
		return letter{}, err
	}
	defer server.Close()
	if _, err := server.Write(in.raw); err != nil {
		return letter{}, err
	}
	var raw bytes.Buffer
	br := bufio.NewReader(io.TeeReader(server, &raw))
	for {
		before := raw.Len() - br.Buffered()
		res, err := http.ReadResponse(br, req)
		if err != nil {
			return letter{}, err
		}
		if res.StatusCode/100 == 1 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		head := raw.Len() - br.Buffered()
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return letter{}, err
		}
		return letter{raw.Bytes()[before:], head - before}, nil
	}
}

// again takes the second copy of the request to the server.
func (p *passage) again(req *http.Request, in letter) {
	if !p.network.sleep(p.fault.Again) {
		return
	}
	if _, err := p.exchange(req, in); err == nil {
		p.done()
	}
}

// cutRequest takes half of the request to the server.
func (p *passage) cutRequest(in letter) {
	server, err := p.dial()
	if err == nil {
		_, err = server.Write(in.half())
		server.reset()
	}
	if err == nil {
		p.done()
	}
	p.client.reset()
}

// spoilAnswer has the server do its work, and the client not learn of it.
func (p *passage) spoilAnswer(req *http.Request, in letter) {
	out, err := p.exchange(req, in)
	if err != nil { // The server did not answer: there is nothing to spoil.
		p.client.reset()
		return
	}
	if p.fault.Kind == BadGatewayAfter {
		p.badGateway(req)
		return
	}
	if !p.delay(p.fault.AnswerDelay) {
		return
	}
	if p.fault.Kind == LoseAnswer {
		p.lost()
		return
	}
	p.done()
	_, _ = p.client.Write(out.half())
	p.client.reset()
}

// badGateway answers as a proxy that did not get an answer.
func (p *passage) badGateway(req *http.Request) {
	p.done()
	if !p.delay(p.fault.AnswerDelay) {
		return
	}
	const page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
	res := &http.Response{
		StatusCode: http.StatusBadGateway, ProtoMajor: 1, ProtoMinor: 1, Request: req, Close: true,
		Header:        http.Header{"Content-Type": {"text/html"}},
		ContentLength: int64(len(page)), Body: io.NopCloser(strings.NewReader(page)),
	}
	_ = res.Write(p.client)
}
