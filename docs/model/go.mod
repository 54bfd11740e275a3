// Module model checks the protocol's rules in the small. It is a module of its own: nothing that users build needs it.
module github.com/certifiedhttp/chttp/docs/model

go 1.26.0
