#!/usr/bin/env bash
# Usage: run.sh SOURCE_FOLDER BUILD_FOLDER PROGRAMS: builds 06_predict as a static program (WEIR_STATIC), holds it to
# its size, and has it say the same as the one of PROGRAMS (a folder with examples of an ordinary build) about a picture and
# a model that 02_cifar10 there makes; then installs the build to a temporary place and builds a program of a user's
# against it, which is static too. The build folder is kept between runs.
set -euo pipefail
source=$1
build=$2
programs=$3
max_bytes=$((12 << 20))  # stripped

cmake -G Ninja -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DWEIR_STATIC=ON >/dev/null
cmake --build "$build" --target 06_predict >/dev/null
program=$build/examples/06_predict
if file=$(ldd "$program" 2>&1); then
  echo "$program needs shared libraries: $file" >&2
  exit 1
fi
strip -s "$program" -o "$build/06_predict"
bytes=$(stat -c %s "$build/06_predict")
echo "06_predict, static and stripped: $bytes bytes, at most $max_bytes allowed"
[ "$bytes" -le "$max_bytes" ]

out=$build/model
[ -f "$out/picture.png" ] || "$programs/02_cifar10" --quick --save="$out/model" --out="$out" >/dev/null
for folder in "$build" "$programs"; do
  "$folder/06_predict" --model="$out/model" --image="$out/picture.png" --top=10 >"$out/$(basename "$folder").txt"
done
cmp "$out/$(basename "$build").txt" "$out/$(basename "$programs").txt"
cat "$out/$(basename "$build").txt"
if message=$("$build/06_predict" --model="$out/model" --image="$out/model/config.json" 2>&1); then
  echo "a file that is no picture was accepted" >&2
  exit 1
fi
grep -q "neither PNG nor JPEG" <<<"$message" || { echo "unexpected message: $message" >&2; exit 1; }

cmake --build "$build" >/dev/null
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix/weir" >/dev/null
cmake -S "$source/tests/install" -B "$prefix/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix/weir" >/dev/null
cmake --build "$prefix/build" >/dev/null
if file=$(ldd "$prefix/build/predict" 2>&1); then
  echo "a program that uses the static package needs shared libraries: $file" >&2
  exit 1
fi
"$prefix/build/predict"
