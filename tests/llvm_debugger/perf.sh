#!/usr/bin/env bash
# Usage: perf.sh PROGRAM: runs 05_inside_the_jit with WEIR_JIT_PERF=1 and checks that the jitdump holds kernels by the
# names that a person reads; where perf can record here, `perf inject` has to accept it too.
set -euo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export WEIR_JIT_PERF=1 JITDUMPDIR=$work WEIR_JIT_CACHE=off
kernel='conv2d_1.conv+bias+relu+pool'

recorded=no
if command -v perf >/dev/null && perf record -q -k 1 -o "$work/probe.data" true 2>/dev/null; then
  perf record -q -k 1 -o "$work/perf.data" "$program" --quick --backend=llvm >/dev/null 2>&1
  recorded=yes
else
  "$program" --quick --backend=llvm >/dev/null
fi
dump=$(find "$work" -name 'jit-*.dump' | head -n 1)
[ -n "$dump" ] || { echo "no jitdump was written" >&2; exit 1; }
[ "$(head -c 4 "$dump")" = DTiJ ] || { echo "$dump is no jitdump" >&2; exit 1; }
grep -aqF -- "$kernel" "$dump" || { echo "$dump does not name $kernel" >&2; exit 1; }
if [ $recorded = yes ]; then
  perf inject --jit -i "$work/perf.data" -o "$work/injected.data"
  find "$work" -name 'jitted-*.so' | grep -q . || { echo "perf inject made nothing of $dump" >&2; exit 1; }
  echo "perf inject took the jitdump"
else
  echo "the jitdump names its kernels; perf can't record here"
fi
