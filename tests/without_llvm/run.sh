#!/usr/bin/env bash
# Usage: run.sh SOURCE_FOLDER BUILD_FOLDER: configures and builds weir without LLVM, runs programs of that build and
# checks that the missing backend is named, not missed. Not optimised, which is quicker as a whole. The build folder is
# kept between runs.
set -euo pipefail
source=$1
build=$2

cmake -G Ninja -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Debug -DWEIR_WITH_LLVM=OFF -DWEIR_BUILD_TESTS=OFF -DWEIR_BUILD_BENCH=OFF \
  >/dev/null
cmake --build "$build" --target 01_graph 05_inside_the_jit >/dev/null
"$build/examples/01_graph" --quick >/dev/null
"$build/examples/05_inside_the_jit" --quick | grep -q 'by highway'
if ldd "$build/examples/01_graph" | grep -i llvm; then
  echo "a build without LLVM links it" >&2
  exit 1
fi
if message=$("$build/examples/01_graph" --quick --backend=llvm 2>&1); then
  echo "--backend=llvm was accepted by a build that has none" >&2
  exit 1
fi
"$build/examples/01_graph" --backend=list | grep -q 'auto: highway, then reference'
grep -q "this build has none" <<<"$message" || { echo "unexpected message: $message" >&2; exit 1; }
