#!/bin/sh
# script/bench products [OTHER]: rates of single products on this machine, then whole pictures by the program and, in
# turns with it, by OTHER, such as the program of another commit. Medians of RUNS (5) runs, seconds a picture.
set -eu
other=${1:-}
runs=${RUNS:-5}
build/crescendo version
build/bench/bm_crescendo --benchmark_filter='^products/' --benchmark_min_time=0.2 --benchmark_format=csv 2>/dev/null |
  awk -F, '/^"products/ { gsub(/"/, ""); printf "%-55s %9.1f GFLOP/s\n", $1, $(NF - 1) }' || true

seconds() { "$@" --json | sed -n 's/.*"s_per_image": *\([0-9.e-]*\).*/\1/p'; }
median() { sort -g | awk '{ x[NR] = $1 } END { printf "%.4f", x[int((NR + 1) / 2)] }'; }

times=$(mktemp -d)
trap 'rm -r "$times"' EXIT
while read -r what; do
  for run in $(seq "$runs"); do
    # shellcheck disable=SC2086
    seconds build/crescendo bench $what >>"$times/this"
    # shellcheck disable=SC2086
    [ -z "$other" ] || seconds "$other" bench $what >>"$times/other"
  done
  printf '%-70s %s s' "$what" "$(median <"$times/this")"
  [ -z "$other" ] || printf ', the other %s s' "$(median <"$times/other")"
  echo
  rm -f "$times"/*
done <<PICTURES
--model shapes-64 --preset fast
--model shapes-64 --preset fast --dtype bf16
--model shapes-64 --preset fast --int8
--model shapes-64 --preset fast --images 16
--size far-b --preset turbo --no-mask
--size far-b --preset turbo --no-mask --dtype bf16
--size far-b --preset turbo --no-mask --dtype bf16 --int8
PICTURES
