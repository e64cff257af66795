#!/usr/bin/env bash
# Usage: run.sh BUILD_FOLDER: installs weir from it to a temporary place, builds the program beside this script against
# the installation, runs it, and checks that it needs no library for downloads, archives or pictures.
set -euo pipefail
build=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >/dev/null
cmake -S "$here" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/build" >/dev/null
"$work/build/predict"
# The JIT's plug-in comes with the installation and is found there.
if [ -e "$work"/prefix/lib*/weir_llvm.so ]; then
  if WEIR_BACKEND=llvm WEIR_JIT_CACHE=off "$work/build/predict" 2>&1 | grep "can't be used"; then
    echo "the installed plug-in is not used" >&2
    exit 1
  fi
fi
if ldd "$work/build/predict" | grep -E 'curl|archive|png|jpeg'; then
  echo "a program that only predicts links more than it needs" >&2
  exit 1
fi
