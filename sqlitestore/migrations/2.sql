-- What is due is found without a look at the table: a row that cannot be read, or that is not there, does not stop the walk, and is missed.
DROP INDEX chttp_due;
CREATE INDEX chttp_due ON chttp_record (due, id, scope, state) WHERE state <= 2;
