// Package chttp gives both ends of a plain HTTP call a durable memory, so that what must happen once happens once: not lost when a
// process dies, not doubled when a client tries again.
//
// A Node is a process's durable identity, on a store: a file (package sqlitestore) or memory, for tests (package memstore). It does
// three things.
//
//   - Fire and forget: Node.Put and Node.Send store a message and deliver it, across crashes.
//   - Resumable functions: a function wrapped by Resumable runs again after a crash, and its operations, such as Persist, Do and Post,
//     return what they returned before.
//   - Resumable servers: Node.Handler records a handler's answers by message id, and finishes what it accepted; the handler has the
//     same operations.
//
// Between two nodes a call is exactly once in effect (docs/protocol.md). A peer that knows only the Idempotency-Key header, or
// nothing of the kind, gets what it can do (docs/guarantees.md).
package chttp

import "github.com/certifiedhttp/chttp/store"

// ID names a message or an execution: 1 to 255 visible ASCII characters without " \ , ;
type ID = string

// Store is store.Store: the contract and its types live in package store, since only drivers use them.
type Store = store.Store
