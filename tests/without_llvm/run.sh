#!/usr/bin/env bash
# Usage: run.sh SOURCE_FOLDER BUILD_FOLDER: configures and builds weir without LLVM, runs programs of that build and
# checks that the missing backend is named, not missed. The build folder is kept between runs.
set -euo pipefail
source=$1
build=$2

cmake -G Ninja -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DWEIR_WITH_LLVM=OFF -DWEIR_BUILD_TESTS=OFF -DWEIR_BUILD_BENCH=OFF \
  >/dev/null
cmake --build "$build" --target 01_graph 05_inside_the_jit >/dev/null
# Output is kept whole before it is looked at: a program whose reader leaves early ends with a broken pipe.
expect() {  # expect TEXT COMMAND...: the command succeeds and its output contains TEXT
  local text=$1 output
  shift
  output=$("$@" 2>&1) || { echo "failed: $*: $output" >&2; exit 1; }
  grep -q -- "$text" <<<"$output" || { echo "no '$text' in the output of $*: $output" >&2; exit 1; }
}
"$build/examples/01_graph" --quick >/dev/null
expect 'by highway' "$build/examples/05_inside_the_jit" --quick
expect 'auto: highway, then reference' "$build/examples/01_graph" --backend=list
if ldd "$build/examples/01_graph" | grep -i llvm; then
  echo "a build without LLVM links it" >&2
  exit 1
fi
if message=$("$build/examples/01_graph" --quick --backend=llvm 2>&1); then
  echo "--backend=llvm was accepted by a build that has none" >&2
  exit 1
fi
grep -q "this build has none" <<<"$message" || { echo "unexpected message: $message" >&2; exit 1; }
