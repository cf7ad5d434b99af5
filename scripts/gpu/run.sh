#!/bin/sh
# Builds this package on a machine with an NVIDIA GPU, checks it there and measures it. Needs the CUDA toolkit (nvcc), a C++ compiler and CMake; no
# network, no Node, no root. `./run.sh --help` lists the options; results/summary.md is the outcome.
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
work="$folder/work"

if ! command -v cmake >/dev/null 2>&1; then
  echo "run.sh: cmake is not on PATH; it unpacks and builds this package (3.22 or newer)" >&2
  exit 2
fi

# unpack NAME FOLDER...: unpacks NAME.tar.xz unless its contents are there already. Removes the folders before, since CMake would find sources that
# are no longer there.
unpack() {
  name=$1
  shift
  stamp=$(cksum <"$folder/$name.tar.xz")
  if [ -f "$work/.$name" ] && [ "$(cat "$work/.$name")" = "$stamp" ]; then return 0; fi
  echo "unpacking $name.tar.xz"
  mkdir -p "$work"
  for old in "$@"; do rm -rf "${work:?}/$old"; done
  (cd "$work" && cmake -E tar xf "$folder/$name.tar.xz")
  echo "$stamp" >"$work/.$name"
}

unpack runtime bin third_party node_modules
unpack project demo dist lib native scripts test

if ! "$work/bin/node" --version >/dev/null 2>&1; then
  echo "run.sh: the Node of this package does not start here:" >&2
  "$work/bin/node" --version >&2 || true
  exit 2
fi
exec "$work/bin/node" "$work/scripts/gpu/main.mjs" --folder "$folder" "$@"
