#!/bin/sh
# Runs the command lines of the documents with --dry-run: sh tests/docs_commands_test.sh PROGRAM
#
# A command line is a line of a code block that begins with `crescendo` or `build/crescendo`, with the lines that continue
# it. The program must accept all of it, so an option, value or field that does not exist fails. Files that the documents
# suppose (trained models, published checkpoints) are stand-ins made here.
set -eu
program=$(realpath "$1")
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

ln -s "$top/configs" "$top/models" .
class_model=$top/models/shapes-64 text_model=$top/models/shapes-text-64
for run in shapes first photos; do mkdir -p runs/$run && ln -s "$class_model" runs/$run/model; done
for run in text more third fourth fifth sixth seventh eighth ninth tenth; do
  mkdir -p runs/$run && ln -s "$text_model" runs/$run/model
done
for run in tokenizer photos-tokenizer vq; do mkdir runs/$run && ln -s "$class_model/tokenizer" runs/$run/tokenizer; done
ln -s "$class_model/tokenizer/model.safetensors" kl16.ckpt
ln -s "$class_model/labels.txt" .
"$program" convert "$class_model" --to pth --out checkpoint-last.pth --quiet
"$program" train configs/shapes-64.json --out runs/shapes --dry-run >runs/shapes/recipe.json  # as a run begun so
ln -s "$class_model" far-base
echo '{"prompt": "a red circle"}' >coco-30k.jsonl

# Prints FILE:LINE and the command, continued lines joined and comments taken off.
commands_of() {
  awk '
    FNR == 1 { fence = joined = 0 }
    /^```/ { fence = !fence; next }
    joined || ((fence || /^    /) && /^ *(build\/)?crescendo /) {
      sub(/^ +/, "")
      sub(/ +#.*/, "")
      line = joined ? line " " $0 : FILENAME ":" FNR " " $0
      joined = sub(/ *\\$/, "", line)
      if (!joined) print line
    }' "$@"
}

run() {  # FILE:LINE COMMAND
  case $2 in
    *"--class 207"*) set -- "$1" "$(echo "$2" | sed 's/--class 207/--class 7/') --dry-run" ;;  # the stand-in has 80 classes
    *"crescendo inspect "*) ;;                                                                # it has no --dry-run
    *) set -- "$1" "$2 --dry-run" ;;
  esac
  output=$(echo "$1.stderr" | tr / _)
  where=$1
  eval "set -- $2"
  shift
  "$program" "$@" >/dev/null 2>"$output" </dev/null && return
  { echo "$where: crescendo $*"; sed 's/^/    /' "$output"; } >>failures
}

(cd "$top" && commands_of README.md docs/*.md models/*/README.md) >commands
touch failures
while read -r at command; do
  run "$at" "$command" &
  running=$((${running:-0} + 1))
  [ $((running % 2)) -ne 0 ] || wait  # two at a time
done <commands
wait
cat failures
count=$(wc -l <commands)
[ "$count" -ge 40 ] || { echo "only $count command lines found: wrong place?"; exit 1; }
[ ! -s failures ] || exit 1
echo "docs: $count command lines are accepted"
