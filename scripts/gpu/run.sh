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

# Unpacks an archive unless its contents are there already; what an older one left is removed, or CMake would find deleted sources.
unpack() {
  archive="$folder/$1.tar.xz"
  stamp=$(cksum <"$archive")
  if [ -f "$work/.$1" ] && [ "$(cat "$work/.$1")" = "$stamp" ]; then return 0; fi
  echo "unpacking $1.tar.xz"
  mkdir -p "$work"
  shift_name=$1
  shift
  for old in "$@"; do rm -rf "$work/$old"; done
  (cd "$work" && cmake -E tar xf "$archive")
  echo "$stamp" >"$work/.$shift_name"
}

unpack runtime bin third_party node_modules
unpack project dist lib native scripts test

if ! "$work/bin/node" --version >/dev/null 2>&1; then
  echo "run.sh: the Node of this package does not start here:" >&2
  "$work/bin/node" --version >&2 || true
  exit 2
fi
exec "$work/bin/node" "$work/scripts/gpu/main.mjs" --folder "$folder" "$@"
