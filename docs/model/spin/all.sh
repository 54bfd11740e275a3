#!/bin/sh
# Checks every row of the Promela table: no errors in the first two, one in each of the others.
cd "$(dirname "$0")" || exit 1
failed=0
expect() {
	want=$1
	shift
	line=$(./run.sh "$@")
	echo "$line"
	case $line in *"errors: $want "*) ;; *) echo "expected errors: $want"; failed=1 ;; esac
}
expect 0 fixed
expect 0 "fixed, at may fall, largest named" -DLOWER=1
expect 1 "F not durable" -DFDUR=0
expect 1 "F on arrival only" -DFCOMMIT=0
expect 1 "ack names less" -DSMALL=1
expect 1 "ack names last, at falls" -DLAST=1 -DLOWER=1
expect 1 "at forgotten in a crash" -DPRESUME=0
expect 1 "deleted at F >= bound-1" -DSLACK=1
exit $failed
