-- Schema version 1. Migrations are append-only: a change of the schema is a new file.

-- One row an execution. Ids are ordered by time, so the primary key grows at its end, and the row is in the key's own B-tree: a
-- record is one insert there and one in an index. Small columns come before those that may spill to overflow pages.
-- fixed, moved and blobs are checksums; checksum.go says of what.
CREATE TABLE chttp_record (
	id        TEXT    NOT NULL,
	scope     TEXT    NOT NULL,
	run       INTEGER NOT NULL, -- a uint64, bit by bit
	version   INTEGER NOT NULL,
	state     INTEGER NOT NULL,
	certified INTEGER NOT NULL,
	chunked   INTEGER NOT NULL, -- 1 if chttp_chunk has rows of this record
	created   INTEGER NOT NULL,
	due       INTEGER NOT NULL,
	bound     INTEGER NOT NULL,
	fixed     INTEGER NOT NULL,
	moved     INTEGER NOT NULL,
	blobs     INTEGER NOT NULL,
	function  TEXT    NOT NULL,
	print     BLOB,
	tail      BLOB,
	head      BLOB,
	oplog     BLOB,             -- chunk number 1
	PRIMARY KEY (id, scope)
) STRICT, WITHOUT ROWID;

-- Without a rowid an index ends with the primary key, so this one is in the order of (due, id, scope). 1 running, 2 waiting.
CREATE INDEX chttp_due ON chttp_record (due) WHERE state <= 2;

-- What a sweep walks: the finished records, those ruled by the floor apart from those ruled by the clock.
CREATE INDEX chttp_bound ON chttp_record (certified, bound) WHERE state >= 4;

-- Chunks of oplogs with numbers above 1.
CREATE TABLE chttp_chunk (
	id    TEXT    NOT NULL,
	scope TEXT    NOT NULL,
	n     INTEGER NOT NULL,
	sum   INTEGER NOT NULL,
	data  BLOB    NOT NULL,
	PRIMARY KEY (id, scope, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE chttp_fact (
	name  TEXT    NOT NULL PRIMARY KEY,
	sum   INTEGER NOT NULL,
	value BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the node.
CREATE TABLE chttp_node (
	one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	name        TEXT    NOT NULL, -- public name of the store, renewed when it is restored from a copy
	secret      BLOB    NOT NULL,
	incarnation INTEGER NOT NULL,
	floor       INTEGER,          -- null until the first join
	sum         INTEGER NOT NULL
) STRICT;
