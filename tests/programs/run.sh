#!/usr/bin/env bash
# Usage: run.sh CASE FOLDER-OF-PROGRAMS WORK-FOLDER [LIBRARY-THAT-REFUSES-MEMORY]
#
# What programs do where a terminal, a reader or a path lets them down: nothing that was trained is lost, and a wrong
# path is told of before the training. Pictures are generated: the environment keeps the programs from the network.
set -euo pipefail
programs=$2
work=$3/$1
rm -rf "$work"
mkdir -p "$work"
train=("$programs/02_cifar10" --quick "--out=$work/out")

fail() { echo "FAILED: $*" >&2; cat "$work"/*.txt >&2 || true; exit 1; }
loads() { "$programs/06_predict" "--model=$1" "--image=$work/out/picture.png" >"$work/predict.txt" 2>&1 || fail "$1 is no model"; }

# SIGINT while the steps of the first epoch are being made: the model has the steps, but no epoch. The picture is written
# right before the training; a line of the log only when an epoch has ended.
wait_for_steps() {
  for _ in $(seq 2400); do
    [ -e "$work/out/picture.png" ] && break
    kill -0 "$1" 2>/dev/null || fail "the program ended before its first epoch"
    sleep 0.05
  done
  sleep 1
}
interrupt_in_first_epoch() {
  wait_for_steps "$1"
  kill -INT "$1"
}

case "$1" in
  closed_pipe)
    # `head` leaves after the first line.
    "${train[@]}" "--save=$work/model" 2>"$work/errors.txt" | head -1 >"$work/first.txt"
    [ "${PIPESTATUS[0]}" -eq 0 ] || fail "the program ended with ${PIPESTATUS[0]}"
    [ -s "$work/out/curves.png" ] || fail "no curves"
    loads "$work/model"
    ;;
  interrupt)
    # A shell without job control starts what runs in the background with SIGINT ignored; env takes that back.
    env --default-signal=INT "${train[@]}" "--save=$work/model" >"$work/log.txt" 2>&1 &
    pid=$!
    interrupt_in_first_epoch "$pid"
    wait "$pid" || fail "the program ended with $?"
    grep -q "Epoch 2/" "$work/log.txt" && fail "it went on"
    [ -e "$work/out/curves.png" ] && fail "curves of no epoch"
    loads "$work/model"
    ;;
  ignored_interrupt)
    (trap '' INT; exec "${train[@]}" "--save=$work/model") >"$work/log.txt" 2>&1 &
    pid=$!
    interrupt_in_first_epoch "$pid"
    wait "$pid" || fail "the program ended with $?"
    grep -q "Epoch 2/2" "$work/log.txt" || fail "it did not go on"
    loads "$work/model"
    ;;
  error_in_training)
    # The first large block of memory that is asked for behind the first steps (the validation's batch) is refused once.
    WEIR_TEST_REFUSE_WHEN="$work/refuse" LD_PRELOAD="$4" "${train[@]}" --backend=highway "--save=$work/model" \
      >"$work/log.txt" 2>&1 &
    pid=$!
    wait_for_steps "$pid"
    touch "$work/refuse"
    if wait "$pid"; then fail "the program did not end with an error"; fi
    [ -e "$work/refuse" ] && fail "no memory was refused"
    grep -q "^error: " "$work/log.txt" || fail "no message"
    [ -e "$work/out/curves.png" ] && fail "it went on"
    loads "$work/model"
    ;;
  wrong_arguments)
    echo text >"$work/file"
    mkdir "$work/other" && echo text >"$work/other/text"
    refused() {  # EXPECTED-TEXT ARGUMENT...
      local text=$1; shift
      if timeout 60 "$programs/02_cifar10" --quick "$@" >"$work/log.txt" 2>&1; then fail "accepted: $*"; fi
      grep -q "Epoch 1/" "$work/log.txt" && fail "trained before it complained: $*"
      grep -q -- "$text" "$work/log.txt" || fail "no '$text' for: $*"
      grep -q "^error: " "$work/log.txt" || fail "no message: $*"
    }
    refused "is a file" "--out=$work/out" "--save=$work/file"
    refused "no part of a saved model" "--out=$work/out" "--save=$work/other"
    refused "$work/file/model" "--out=$work/out" "--save=$work/file/model"
    refused "$work/file/out" "--out=$work/file/out"
    refused "$work/file/trace" "--out=$work/out" "--profile=$work/file/trace"
    refused "number of epochs" "--out=$work/out" --epochs=-1
    refused "batch_size -1" "--out=$work/out" --batch_size=-1
    refused "is no flag" "--out=$work/out" 25
    ;;
  set_user_id)
    # Whoever starts a program that works for another has no say in what it loads, writes and computes with.
    cp "$(command -v id)" "$work/id"
    [ "$(id -u)" -eq 0 ] && chown nobody "$work/id" && chmod u+s "$work/id" && [ "$("$work/id" -u)" != 0 ] ||
      { echo "skipped: there are no set-user-id programs here"; exit 77; }
    cp "$programs/01_graph" "$work/program"
    chown nobody "$work/program"
    mkdir -m 777 "$work/dump"
    run() { env WEIR_BACKEND=none WEIR_THREADS=none WEIR_CACHE_BYTES=none WEIR_LLVM_LIBRARY=/nowhere WEIR_JIT_CACHE=/nowhere \
      "WEIR_DUMP=$work/dump" "$work/program" --quick >"$work/log.txt" 2>&1; }
    run && fail "the environment is not asked"
    chmod u+s "$work/program"
    run || fail "the environment is asked"
    [ -z "$(ls "$work/dump")" ] || fail "something was dumped"
    ;;
  *) echo "unknown case $1" >&2; exit 2 ;;
esac
