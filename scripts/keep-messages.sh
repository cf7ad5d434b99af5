#!/bin/sh
# keep-messages.sh COMPILER ARGUMENTS... -o OBJECT: runs the compiler and keeps what it says in OBJECT.log, which check-cubins.mjs reads.
previous=
for argument; do
  if [ "$previous" = -o ]; then object=$argument; fi
  previous=$argument
done
"$@" 2>"$object.log"
code=$?
if [ $code -ne 0 ]; then cat "$object.log" >&2; fi
exit $code
