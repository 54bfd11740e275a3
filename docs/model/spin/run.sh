#!/bin/sh
# Checks one variant of the Promela model: run.sh NAME [-DFLAG=VALUE ...]. It prints how many errors there are, and states.
cd "$(dirname "$0")" || exit 1
name=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp chttp.pml "$dir"
cd "$dir" || exit 1
spin -a "$@" chttp.pml && gcc -O2 -DSAFETY -DNOREDUCE -DCOLLAPSE -o pan pan.c || exit 1
./pan -m2000000 -E >out 2>err
printf '%-34s %s | %s | %s states\n' "$name" "$*" "$(grep -o 'errors: [0-9]*' out)" "$(awk '/states, stored/ { print $1 }' out)"
