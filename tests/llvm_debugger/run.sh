#!/usr/bin/env bash
# Usage: run.sh PROGRAM: runs 05_inside_the_jit in gdb, which is to stop in a kernel by the name that a person reads and
# to show it in a backtrace. Skipped (77) where there is no gdb, or it may not trace.
set -euo pipefail
program=$1
command -v gdb >/dev/null || { echo "skipped: there is no gdb"; exit 77; }
gdb -q -batch -nx -ex run --args /bin/true 2>&1 | grep -q 'exited normally' || { echo "skipped: gdb can't run programs here"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel='conv2d_1.conv+bias+relu+pool'
cat >"$work/commands" <<COMMANDS
set breakpoint pending on
set debuginfod enabled off
break -function $kernel
run
backtrace 4
kill
quit
COMMANDS
output=$(WEIR_JIT_CACHE=off gdb -q -batch -nx -x "$work/commands" --args "$program" --quick --backend=llvm --threads=1 2>&1) || true
for text in "Breakpoint 1, .*$kernel" "#0 .*$kernel" "#[1-3] .*weir::"; do
  grep -Eq -- "${text//+/\\+}" <<<"$output" || { echo "no '$text' in:" >&2; tail -n 40 <<<"$output" >&2; exit 1; }
done
echo "gdb stopped in $kernel"
