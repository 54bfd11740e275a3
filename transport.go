package chttp

import "net/http"

// Transport makes certified calls for whichever execution the request's context belongs to; its zero value is ready. Give it to the
// http.Client of any SDK. A context that belongs to no execution is an error, so that nothing is sent uncertified by accident;
// within Do, with the context that Do gives, requests are plain HTTP.
type Transport struct {
	Outside http.RoundTripper // for requests that belong to no execution. Default: they fail with ErrNoExecution
}

// RoundTrip is Call, as a part of http.Client.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	e := envOf(req.Context())
	switch {
	case e.scope == nil && t.Outside != nil:
		return t.Outside.RoundTrip(req)
	case e.step != nil:
		return firstTransport(t.Outside, e.scope.x.node.opt.Transport).RoundTrip(req)
	}
	resp, err := Call(req.Context(), req)
	if err != nil && req.Body != nil {
		req.Body.Close() // as http.RoundTripper asks
	}
	return resp, err
}

func firstTransport(list ...http.RoundTripper) http.RoundTripper {
	for _, t := range list {
		if t != nil {
			return t
		}
	}
	return http.DefaultTransport
}

// Client returns a client whose requests are certified calls of the execution that their context belongs to. It follows no redirects and keeps no
// cookies: either would depend on more than the oplog.
func (n *Node) Client() *http.Client {
	return &http.Client{
		Transport:     &Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
