#!/bin/sh
# Tests the program as a user runs it: tests/cli_test.sh PROGRAM SECTION [FOLDER]
# A section is a function below. FOLDER holds the tiny tokenizer and model that `setup` trains and all sections share.
# Exit status: 0 all is well, 1 a check failed, 77 skipped.
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
section=$2
root=$(cd "$(dirname "$0")/.." && pwd)
shared=${CRESCENDO_SHARED:-$root/../shared}
case $shared in /*) ;; *) shared=$root/$shared ;; esac
case ${3:-} in
  "") home=$(mktemp -d) && trap 'rm -rf "$home"' EXIT ;;
  *) mkdir -p "$3" && home=$(cd "$3" && pwd) ;;
esac
here=$home/$section
rm -rf "$here" && mkdir -p "$here" && cd "$here" || exit 1
model=$home/setup/run/model
tokenizer=$home/setup/tokenizer/tokenizer
failures=0

bad() {
  echo "FAILED: $*"
  sed 's/^/    stderr: /' stderr
  failures=$((failures + 1))
}
# is WHAT COMMAND...: the command must succeed.
is() {
  what=$1
  shift
  "$@" >/dev/null || bad "$what"
}
# isnt WHAT COMMAND...: the command must fail.
isnt() {
  what=$1
  shift
  if "$@" >/dev/null; then bad "$what"; fi
}
# ok ARGUMENTS...: the program succeeds; its output is left in the files stdout and stderr.
ok() {
  "$program" "$@" >stdout 2>stderr </dev/null
  status=$?
  [ $status -eq 0 ] || bad "crescendo $*: exit $status, expected 0"
}
# refuses CODE PATTERN ARGUMENTS...: exit CODE, and exactly one error whose line matches PATTERN; nothing on stdout.
refuses() {
  code=$1 pattern=$2
  shift 2
  "$program" "$@" >stdout 2>stderr </dev/null
  status=$?
  [ $status -eq "$code" ] || bad "crescendo $*: exit $status, expected $code"
  [ "$(grep -c '^crescendo: error: ' stderr)" -eq 1 ] || bad "crescendo $*: not one line of error"
  grep '^crescendo: error: ' stderr | grep -q -e "$pattern" || bad "crescendo $*: the error does not say '$pattern'"
  [ ! -s stdout ] || bad "crescendo $*: an error, and yet output"
}
# Nothing, not even a temporary file, may stand at a place that a failed command was to write to.
absent() {
  for path in "$@"; do
    for left in "$path" "$path".*; do
      if [ -e "$left" ]; then bad "$left was left behind"; fi
    done
  done
}
# Names of working files that a write in progress has; none may remain.
no_leftovers() { is "working files were left in $1" [ -z "$(find "$1" -name '*.??????' -o -name '*.partial-*' | grep -v '\.jsonl$')" ]; }
# header FILE: the JSON in front of a safetensors file.
header() { head -c 2000 "$1" | tr -d '\000' | grep -a -o '{.*}' | head -n 1; }
# has_shape FILE TENSOR SHAPE
has_shape() { is "$1: $2 has not the shape [$3]: $(header "$1")" sh -c 'printf %s "$1" | grep -q "\"$2\":{[^}]*\"shape\":\[$3\]"' - "$(header "$1")" "$2" "$3"; }
# chunk FILE.png KEY: a number or word of the JSON in the picture's metadata.
chunk() { grep -a -o "\"$2\":[^,}]*" "$1" | head -n 1 | sed 's/^[^:]*://; s/"//g'; }
# zeros FILE TENSOR SHAPE BYTES: a safetensors file of one tensor of zeros.
zeros() {
  json="{\"$2\":{\"dtype\":\"F32\",\"shape\":[$3],\"data_offsets\":[0,$4]}}"
  length=${#json}
  { printf "$(printf '\\%03o\\%03o' $((length % 256)) $((length / 256)))\\000\\000\\000\\000\\000\\000" && printf %s "$json" && head -c "$4" /dev/zero; } >"$1"
}
# spoil FILE: makes the last number in a safetensors file of fp32 a NaN.
spoil() { printf '\377\377\377\377' | dd of="$1" bs=1 seek=$(($(wc -c <"$1") - 4)) conv=notrunc 2>/dev/null; }
# until_true SECONDS COMMAND...: waits for the command to succeed.
until_true() {
  tries=$(($1 * 10))
  shift
  while ! "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ $tries -le 0 ]; then
      bad "waited in vain for: $*"
      return 1
    fi
    sleep 0.1
  done
}
finish() {
  [ $failures -eq 0 ] || { echo "$section: $failures checks failed in $here"; exit 1; }
  exit 0
}

write_configs() {
  cat >tokenizer.json <<END
{"data": ["shapes:count=48,seed=1"],
 "tokenizer": {"base_channels": 8, "multipliers": [1], "residual_blocks": 1, "latent_channels": 2, "attention_levels": [],
               "middle": false, "middle_attention": false, "unshuffle": 4, "norm_groups": 4},
 "image_side": 32, "images": 64, "batch": 8, "lr": 5e-3, "lr_schedule": {"warmup_images": 8}, "held_out": 8,
 "scale_images": 16, "log_images": 16, "checkpoint_images": 32}
END
  cat >train.json <<END
{"data": "shapes:count=80,seed=1", "tokenizer": "$tokenizer",
 "model": {"width": 16, "encoder_blocks": 1, "decoder_blocks": 1, "heads": 2, "diffusion_width": 16,
           "diffusion_blocks": 1, "latent_channels": 2, "latent_height": 8, "latent_width": 8, "levels": 8, "patch": 2,
           "buffer_size": 2, "classes": 80},
 "train": {"images": 64, "batch": 8, "lr": 1e-2, "lr_schedule": {"warmup_images": 8}, "ema": 0.5, "log_images": 16,
           "sample_images": 0},
 "sampler": {"preset": "paper", "steps": 3, "diffusion_steps": [4, 8], "start_timestep": 700}}
END
}

# The model of all other sections: 16 tokens of 8 channels, 8 levels, pictures of 32 x 32.
setup() {
  write_configs
  ok tokenizer train tokenizer.json --out tokenizer --json
  is "tokenizer train reports no PSNR" grep -q '"psnr"' stdout
  ok train train.json --out run --json
  is "train reports no loss" grep -q '"loss"' stdout
  for file in config.json model.safetensors labels.txt tokenizer/config.json tokenizer/model.safetensors; do
    is "no run/model/$file" [ -s "run/model/$file" ]
  done
  no_leftovers .
}

# A bare command explains itself; every command has grouped help with two examples; misspelt words are named.
help() {
  refuses 2 'which command' && is "no list of commands" grep -q '^ *generate  *Make pictures' stderr
  refuses 2 'crescendo data' data && is "no list of data sets" grep -q '^ *shapes ' stderr
  refuses 2 "generat; did you mean generate" generat
  refuses 2 '--clas; did you mean --class' generate --clas 1
  refuses 2 'no command shape; did you mean shapes' data shape
  refuses 2 '--count' data shapes --out x
  refuses 2 'crescendo train configs/' train
  refuses 2 'configs/shapes-64-tokenizer' tokenizer train
  is "no pointer to the help of the subcommand" grep -q 'crescendo tokenizer train' stderr
  for command in generate train 'data shapes' 'data scenes' 'tokenizer train' 'tokenizer encode' 'tokenizer decode' \
    'tokenizer reconstruct' 'tokenizer filter' 'evaluate shapes' 'evaluate geneval' 'evaluate train-classifier' 'evaluate images' 'evaluate stats' \
    'evaluate merge' 'evaluate fid' 'evaluate compare' 'evaluate weights-info' 'evaluate fidelity' 'evaluate pack' \
    'evaluate unpack' 'evaluate captions' 'evaluate geneval-gen' 'evaluate geneval-score' 'evaluate geneval-summary' \
    'text tokenize' 'text encode' \
    convert inspect bench; do
    ok $command --help
    is "$command --help has no group Common" grep -q '^Common:' stdout
    is "$command --help has not two examples" [ "$(grep -c '^  crescendo ' stdout)" -eq 2 ]
    isnt "$command --help has an option without a description" grep -q '^  --[a-z-]*$' stdout
  done
  ok version --json
  is "version --json has no version" grep -q '"version": "[0-9]' stdout
  "$program" version --json >/dev/full 2>stderr
  is "a result that could not be written should exit 1" [ $? -eq 1 ]
  is "a full disk behind stdout was not told" grep -q '^crescendo: error: .*standard output' stderr
}

generate() {
  ok generate --model "$model" --class 'red circle' --seed 5 --out new/circle.png
  is "no picture" [ -s new/circle.png ]
  is "something went to stdout" [ ! -s stdout ]
  isnt "control characters on a stderr that is no terminal" grep -q "$(printf '\r')" stderr

  # Names or numbers, several of each, into a folder; one seed, one picture, whatever the batch.
  ok generate --model "$model" --class 'red circle' 3 -n 2 --seed 5 --batch 1 --out one --quiet
  is "--quiet spoke" [ ! -s stderr ]
  is "not four pictures" [ "$(ls one | wc -l)" -eq 4 ]
  ok generate --model "$model" --class 0 3 -n 2 --seed 5 --batch 3 --out three --json
  # Before AVX-512 a product rounds by its number of rows (seen: three bytes of one picture off by one). There latents
  # alone are compared, with room for rounding, by EncodePrompts.PicturesDoNotDependOnTheBatch.
  is "the batch changed which pictures there are" [ "$(ls one)" = "$(ls three)" ]
  if "$program" version --json | grep -q '"cpu_bf16": true'; then
    is "the batch changed the pictures" diff -r one three
  fi
  is "a folder and a file differ" cmp new/circle.png one/00000-red-circle-5.png
  isnt "two seeds gave one picture" cmp one/00000-red-circle-5.png one/00001-red-circle-6.png
  is "--json lists no file" grep -q 'three/00003-red-cross-8.png\|three/00003-.*-8.png' stdout
  no_leftovers .

  # The metadata makes the picture again.
  ok generate --model "$model" --class 'blue star' --seed 77 --steps 2 --cfg 2.5 --diffusion-steps 3:5 --temperature 0.9 \
    --solver ddim --no-mask --filter fourier --out first.png
  steps=$(grep -a -o '"diffusion_steps":\[[0-9,]*' first.png | sed 's/.*\[//; s/,/:/')
  is "--no-mask is not in the metadata" [ "$(chunk first.png mask)" = false ]
  ok generate --model "$model" --class "$(chunk first.png class_name)" --seed "$(chunk first.png seed)" \
    --steps "$(chunk first.png steps)" --cfg "$(chunk first.png cfg)" --diffusion-steps "$steps" \
    --temperature "$(chunk first.png temperature)" --solver "$(chunk first.png solver)" --no-mask \
    --filter "$(chunk first.png filter)" --out second.png
  is "the metadata did not make the picture again" cmp first.png second.png

  # Few steps: each option changes the picture.
  few="generate --model $model --class 1 --seed 1 --no-metadata --diffusion-steps 3:6"
  ok $few --solver dpmpp-2m --out few.png
  ok $few --solver dpmpp-2m-sde --out sde.png
  ok $few --solver dpmpp-2m --end-timestep 40 --out end.png
  ok $few --solver dpmpp-2m --cfg-schedule constant --out constant.png
  ok $few --solver dpmpp-2m --visible-level 2 --out visible.png
  ok $few --solver dpmpp-2m --dtype bf16 --out bf16.png
  ok $few --solver dpmpp-2m --int8 --out int8.png
  for other in sde end constant visible bf16 int8; do isnt "$other.png is few.png" cmp few.png $other.png; done

  ok bench --model "$model" --images 2 --check --json --quiet
  is "bench: the fast path gives another result" grep -q '"relative_difference": [0-9.]*e-0[5-9]' stdout
  is "bench does not say where the time goes" grep -q '"head_s"' stdout
  refuses 2 'images must be at least 1' bench --model "$model" --images 0
  refuses 2 'far-x' bench --size far-x
  ok generate --model "$model" --class 1 --seed 1 --int8 --out precise.png
  is "the metadata does not tell the precision" grep -q -a '"dtype":"fp32".*"int8":true' precise.png
  refuses 2 'not the plain execution' bench --model "$model" --plain --int8
  is "no text for other programs" grep -q -a 'parameters.*blue star' first.png
  ok generate --model "$model" --class 'blue star' --seed 77 --no-metadata --out bare.png
  isnt "--no-metadata left some" grep -q -a 'crescendo' bare.png

  # Sheets alone write no single pictures.
  ok generate --model "$model" --class 1 2 --seed 1 --grid grid.png --strip strip.png
  is "no sheets" [ -s grid.png -a -s strip.png ]
  ok generate --model "$model" --class 1 2 --seed 1 --strip predictions.png --strip-of predictions
  ok generate --model "$model" --class 1 2 --seed 1 --strip inputs.png --strip-of inputs
  is "a strip is one of predictions" cmp strip.png predictions.png
  isnt "a strip of inputs shows predictions" cmp strip.png inputs.png
  refuses 2 'strip-of must be predictions|inputs' generate --model "$model" --class 1 --strip x.png --strip-of x
  refuses 2 'give that, too' generate --model "$model" --class 1 --strip-of inputs --out x.png
  absent out

  # Noise is not drawn in silence, nor a black picture of numbers that are none.
  ok generate --class 'red circle' --diffusion-steps 25 --dry-run
  is "noise is not warned of" grep -q 'warning: outer step 1 takes 25 steps of ddpm from t = 999' stderr
  ok generate --class 'red circle' --dry-run
  is "a warning of nothing" [ ! -s stderr ]
  ok generate --model "$model" --class 1 --diffusion-steps 8 --start-timestep 999 --out noise.png
  is "one line of warning" [ "$(grep -c 'warning: outer step 1 takes 8 steps' stderr)" -eq 1 ]
  refuses 1 'NaN or infinite after outer step' generate --model "$model" --class 1 --cfg 1e38 --out x.png
  absent x.png

  # A seed that was drawn is told, and so is that of each picture.
  ok generate --model "$model" --class 1 --out drawn.png
  is "the drawn seed was not told" grep -q "^seed $(chunk drawn.png seed)\$" stderr

  # Ctrl-C keeps what was finished.
  "$program" generate --model "$model" --class 1 -n 2000 --batch 1 --seed 1 --out many >stdout 2>stderr </dev/null &
  until_true 20 sh -c 'ls many/00001-*'
  kill -INT $!
  wait $!
  is "an interrupted generate should exit 1" [ $? -eq 1 ]
  is "an interrupted generate should count its pictures" grep -q "stopped; $(ls many | wc -l) of 2000" stderr
  no_leftovers many
}

# --dry-run prints a plan and touches nothing.
plan() {
  steps() { grep -c '"level":' stdout; }
  ok generate --model "$model" --class 1 --dry-run --out dry
  is "the model's sampler has 3 steps" [ "$(steps)" -eq 3 ]
  absent dry
  for n in 1 2 8; do
    ok generate --model "$model" --class 1 --steps $n --dry-run
    is "--steps $n" [ "$(steps)" -eq $n ]
  done
  ok generate --model "$model" --class 1 --levels 0,3,7 --dry-run
  is "--levels 0,3,7" [ "$(grep '"level":' stdout | tr -dc '0-9.,' | sed 's/\.0//g')" = 0,3,7, ]
  ok generate --model "$model" --class 1 --steps 3 --diffusion-steps 10:30 --cfg 5 --dry-run
  is "inner steps 10, 20, 30" [ "$(grep '"inner_steps":' stdout | tr -dc '0-9\n' | tr '\n' ' ')" = '10 20 30 ' ]
  is "linear guidance 1, 3, 5" [ "$(grep '"guidance":' stdout | tr -dc '0-9.,')" = 1.0,3.0,5.0, ]
  ok generate --model "$model" --class 1 --steps 3 --cfg 5 --cfg-schedule constant --dry-run
  is "constant guidance" [ "$(grep '"guidance":' stdout | tr -dc '0-9.,')" = 5.0,5.0,5.0, ]
  ok generate --model "$model" --class 1 --preset published-nomask --levels 0,1,2,7 --dry-run
  is "the preset's 100 inner steps" [ "$(grep -c '"inner_steps": 100' stdout)" -eq 4 ]
  refuses 2 'needs more than the 8 levels' generate --model "$model" --class 1 --preset published-mask --dry-run
  # What train resolves is a config that resolves to itself.
  write_configs
  ok train train.json --out nowhere --set train.lr=0.25 --seed 9 --dry-run
  is "--set and --seed" grep -q '"seed": 9' stdout
  mv stdout resolved.json
  ok train resolved.json --out nowhere --dry-run
  is "--dry-run does not resolve to itself" cmp stdout resolved.json
  is "--set was lost" grep -q '"lr": 0.25' resolved.json
  # Every field of a config is an option of its own, with its help.
  ok train train.json --out nowhere --train.lr 0.25 --seed 9 --dry-run
  is "--train.lr is --set train.lr" cmp stdout resolved.json
  ok train train.json --out nowhere --sampler.preset fast --set sampler.cfg=2 --no-train.ema-warmup --dry-run
  is "a sampler of several options" grep -q '"preset": "fast"' stdout
  is "--set sampler.cfg" grep -q '"cfg": 2' stdout
  is "--no-train.ema-warmup" grep -q '"ema_warmup": false' stdout
  refuses 2 'train.lr' train train.json --out nowhere --train.lr quick --dry-run
  refuses 2 'asks nothing of the sampler' train train.json --out nowhere --set sampler.steps=0 --dry-run
  refuses 2 'asks nothing of the sampler' train train.json --out nowhere --sampler.steps 0 --dry-run
  ok train --help
  is "--help shows the objective" grep -q -- '--objective.mask' stdout
  ok tokenizer train tokenizer.json --loss.kl 0.5 --out nowhere --dry-run
  is "--loss.kl" grep -q '"kl": 0.5' stdout
  absent nowhere
  ok tokenizer train tokenizer.json --out nowhere --dry-run
  ok tokenizer reconstruct shapes --count 2 --model "$tokenizer" --out nowhere.png --dry-run
  ok data shapes --out nowhere --count 3 --dry-run
  ok evaluate shapes --model "$model" --dry-run
  is "evaluate plans 800 images" grep -q '"images": 800' stdout
  absent nowhere nowhere.png
}

# Tensors in and out: 3 steps, 16 tokens of 8 channels, latents of 2 x 8 x 8.
tensors() {
  ok generate --model "$model" --class 1 2 --seed 1 --no-decode --latents-out latents.safetensors --trace trace.safetensors
  has_shape latents.safetensors latents 2,2,8,8
  has_shape trace.safetensors inputs 3,2,16,8
  ok tokenizer decode latents.safetensors --model "$model" --out image.safetensors --json
  has_shape image.safetensors image 2,3,32,32
  ok tokenizer decode latents.safetensors --model "$tokenizer" --out pictures
  is "two pictures" [ "$(ls pictures | tr '\n' ' ')" = '000000.png 000001.png ' ]
  ok tokenizer encode pictures/000000.png pictures/000001.png --model "$tokenizer" --out moments.safetensors
  has_shape moments.safetensors moments 2,4,8,8
  ok tokenizer encode image.safetensors --model "$tokenizer" --out moments2.safetensors
  has_shape moments2.safetensors moments 2,4,8,8

  # With all noise given the seed does not matter; with some of it, it does.
  zeros init.safetensors noise_init 3,1,16,8 1536
  for seed in 1 2; do
    ok generate --model "$model" --class 1 --seed $seed --temperature 0 --no-mask --noise init.safetensors --no-decode \
      --latents-out given$seed.safetensors
    ok generate --model "$model" --class 1 --seed $seed --temperature 1 --no-mask --noise init.safetensors --no-decode \
      --latents-out drawn$seed.safetensors
  done
  is "the noise that was given was not used" cmp given1.safetensors given2.safetensors
  isnt "noise that was not given was not drawn" cmp drawn1.safetensors drawn2.safetensors
  zeros wrong.safetensors noise_init 3,1,16,9 1728
  refuses 1 'noise_init' generate --model "$model" --class 1 --noise wrong.safetensors --out x.png
  cp init.safetensors nan.safetensors && spoil nan.safetensors
  refuses 1 'nan.safetensors: of the 384 elements of noise_init 1 are NaN' generate --model "$model" --class 1 \
    --noise nan.safetensors --out x.png
  cp latents.safetensors nan.safetensors && spoil nan.safetensors
  refuses 1 'nan.safetensors: .* latents 1 are NaN' tokenizer decode nan.safetensors --model "$model" --out x
  cp image.safetensors nan.safetensors && spoil nan.safetensors
  refuses 1 'nan.safetensors: .* image 1 are NaN' tokenizer encode nan.safetensors --model "$model" --out x.safetensors
  zeros strange.safetensors noise_else 4 16
  refuses 1 'noise_else' generate --model "$model" --class 1 --noise strange.safetensors --out x.png
  absent x x.png x.safetensors
}

data() {
  ok data shapes --out set --count 84 --seed 3 --side 32 --json
  is "80 class folders" [ "$(find set -mindepth 1 -type d | wc -l)" -eq 80 ]
  is "84 pictures" [ "$(find set -name '*.png' | wc -l)" -eq 84 ]
  is "84 lines of metadata" [ "$(wc -l <set/metadata.jsonl)" -eq 84 ]
  ok data shapes --out more --count 90 --seed 3 --side 32
  is "a larger set does not begin with the smaller one" cmp 'set/red circle/000000.png' 'more/red circle/000000.png'
  refuses 2 'set: is there already' data shapes --out set --count 4
  ok data scenes --out scenes --count 4 --seed 3 --split heldout
  is "4 captions" [ "$(ls scenes/*.txt | wc -l)" -eq 4 ]
  refuses 2 'split must be' data scenes --out x --count 4 --split tran
  refuses 2 '--count' data shapes --out x --count 0
  "$program" data shapes --out stopped --count 2000000 --side 32 --seed 1 >stdout 2>stderr </dev/null &
  until_true 20 sh -c "ls stopped.partial-*/'red circle'/000000.png"
  kill -TERM $!
  wait $!
  is "an interrupted data should exit 1" [ $? -eq 1 ]
  is "what was finished is gone" [ "$(find stopped -name '*.png' | wc -l)" -eq "$(wc -l <stopped/metadata.jsonl)" ]
  no_leftovers .

  # Any folder of pictures will do to train on.
  write_configs
  rm set/metadata.jsonl
  ok train train.json --data set --out run --set train.images=16 --quiet
  is "the classes are not the folders" [ "$(head -n 1 run/model/labels.txt)" = 'black circle' ]
  printf 'not a picture' >'set/red circle/000999.jpg'
  refuses 1 'red circle/000999.jpg' train train.json --data set --out broken
  absent broken/model broken/checkpoint.safetensors broken/latents.safetensors
  head -c 300 'set/red circle/000000.png' >'set/red circle/000999.jpg'
  refuses 1 'red circle/000999.jpg' tokenizer train tokenizer.json --data set --out broken
  refuses 1 'red circle/000999.jpg' tokenizer reconstruct set --model "$tokenizer" --out pairs.png
  absent pairs.png broken/tokenizer

  # Up to so many of them may be left out; a cache knows them no more.
  ok train train.json --data set --out skipped --skip-bad 1 --set train.images=16
  is "the picture that is left out is not named" grep -q '1 of .* left out: .*red circle/000999.jpg' stderr
  ok train --resume --out skipped --set train.images=24
  is "the latents were not read from the cache" grep -q 'read from skipped/latents' stderr
  rm 'set/red circle/000999.jpg'

  # Resumed, a run says what has changed, and refuses what its weights stand for.
  mv 'set/red circle' 'set/red circlet'
  ok train --resume --out skipped --set train.images=32
  is "old latents under a new class" grep -q 'other class names.*encoded anew' stderr
  is "the new name is not spoken of" grep -q "called 'red circle'.*'red circlet'" stderr
  mv 'set/red circlet' 'set/a first one'
  refuses 2 "begun with class 0 'black circle', and now it is 'a first one'" train --resume --out skipped
  mv 'set/a first one' 'set/red circlet'
  refuses 2 'begun with flip=false' train --resume --out skipped --set flip=true
  refuses 2 'begun with --data set, and now it is --data shapes:count=80' \
    train --resume --out skipped --data shapes:count=80
  mv set moved
  ok train --resume --out skipped --data moved --set train.images=40
  mv moved set
  mkdir empty
  refuses 2 'empty: holds neither' train train.json --data empty --out broken
  refuses 2 'scenes has captions' train train.json --data scenes --out broken
  refuses 1 'empty holds no' tokenizer reconstruct empty --model "$tokenizer" --out pairs.png
  refuses 2 'nowhere: no such folder' train train.json --data nowhere --out broken
}

tokenizer() {
  ok tokenizer reconstruct shapes:seed=3 --count 2 --size 32 --model "$tokenizer" --out pairs.png --json
  is "no PSNR" grep -q '"psnr"' stdout
  is "no pairs" [ -s pairs.png ]
  ok tokenizer reconstruct shapes:seed=3 --count 2 --size 32 --model "$model" --out pairs2.png
  is "not two pictures and a mean" [ "$(grep -c ' dB' stdout)" -eq 3 ]
  is "a model's tokenizer is another" cmp pairs.png pairs2.png
  # Real pictures under the filters: the model's levels, or as many as are asked for.
  ok tokenizer filter shapes:seed=3 --count 2 --size 32 --model "$model" --out levels.png --json
  is "not the 8 levels of the model" grep -q '"levels": 8' stdout
  is "not two pictures under two filters" [ "$(grep -c 'spatial"\|fourier"' stdout)" -eq 4 ]
  ok data shapes --count 1 --seed 5 --side 32 --out one
  ok tokenizer filter one --model "$tokenizer" --levels 4 --filter fourier --out four.png --json
  is "not one row" [ "$(grep -c 'spatial"\|fourier"' stdout)" -eq 1 ]
  is "no sheets of levels" [ -s levels.png -a -s four.png ]
  refuses 2 'levels must be in 1..8' tokenizer filter one --model "$tokenizer" --out x.png
  refuses 2 'filter must be' tokenizer filter one --model "$tokenizer" --filter gauss --out x.png
  refuses 2 'must end in .png' tokenizer filter one --model "$tokenizer" --out x.jpg
  write_configs
  ok tokenizer train tokenizer.json --init "$tokenizer" --set images=16 --out more
  is "no log" [ -s more/log.jsonl ]
  refuses 2 'other sizes' tokenizer train tokenizer.json --init "$tokenizer" --set tokenizer.base_channels=16 --out x
  ok tokenizer train tokenizer.json --init "$tokenizer" --init-partial --set tokenizer.decoder_blocks=3 \
    --set freeze_encoder=true --set images=16 --out deeper
  is "--init-partial does not say what it drew" grep -q '40 of 48 tensors' stderr
  refuses 2 'goes with --init' tokenizer train tokenizer.json --init-partial --out x
  refuses 2 'freeze_encoder.*encoder.conv_in' tokenizer train tokenizer.json --init "$tokenizer" --init-partial \
    --set tokenizer.base_channels=16 --set freeze_encoder=true --out x
  refuses 2 'goes with --init' tokenizer train tokenizer.json --set freeze_encoder=true --out x
  # The same encoder: latents of the one are latents of the other.
  ok data shapes --count 2 --seed 5 --out two
  ok tokenizer encode two/*/*.png --model "$tokenizer" --out latents.safetensors
  ok tokenizer encode two/*/*.png --model deeper/tokenizer --out frozen.safetensors
  is "freeze_encoder changed the latents" cmp latents.safetensors frozen.safetensors
  refuses 2 'latnt_channels.*latent_channels' tokenizer train tokenizer.json --set tokenizer.latnt_channels=3 --out x
  refuses 2 'multiples of 4' tokenizer reconstruct shapes --count 1 --size 33 --model "$tokenizer" --out x.png
  zeros wide.safetensors latents 1,2,6,20 960
  ok tokenizer decode wide.safetensors --model "$tokenizer" --tile 8 --out tiles
  is "no picture from tiles" [ -s tiles/000000.png ]
  refuses 2 'tile' tokenizer decode wide.safetensors --model "$tokenizer" --tile 3 --out x
  zeros three.safetensors latents 1,3,8,8 768
  refuses 1 '' tokenizer decode three.safetensors --model "$tokenizer" --out x.safetensors
  refuses 1 "no tensor 'image'" tokenizer encode three.safetensors --model "$tokenizer" --out x.safetensors
  refuses 2 'must end in .png' tokenizer reconstruct shapes --count 1 --model "$tokenizer" --out x.jpg
  absent x x.png x.jpg x.safetensors
}

train() {
  write_configs
  # Stopped by a signal it keeps what it learned, and --resume goes on to the very weights of a run without a stop.
  "$program" train train.json --out stopped --set train.images=100000000 --quiet >stdout 2>stderr </dev/null &
  until_true 20 [ -s stopped/log.jsonl ]
  kill -TERM $!
  wait $!
  is "a stopped train should exit 1" [ $? -eq 1 ]
  is "a stopped train should say how to go on" grep -q -e '--resume' stderr
  images=$(grep -a -o '"images": [0-9]*' stopped/model/config.json | sed 's/.* //')
  is "no count of images" [ "${images:-0}" -ge 16 ]
  images=$((images + 32))
  ok train --resume --out stopped --set train.images=$images --json
  is "it did not train on to $images" grep -q "\"images\": $images" stdout
  ok train train.json --out straight --set train.images=$images --quiet
  for run in stopped straight; do ok generate --model $run/model --class 1 --seed 1 --out $run.png --no-metadata; done
  is "resumed and straight training differ" cmp stopped.png straight.png
  no_leftovers .

  refuses 2 'holds a training run' train train.json --out straight
  refuses 1 'nothing to resume' train train.json --out nowhere --resume
  refuses 1 'of another model' train train.json --out straight --resume --set model.width=32
  is "a refused --resume changed the recipe" grep -q '"width": 16' straight/recipe.json
  refuses 2 'contradict' train train.json --out straight --resume --init "$model"
  refuses 2 'contradict' train train.json --preset paper --out x
  refuses 2 'frozen needs a trained text.encoder' train --preset published-t2i --data x.jsonl --tokenizer kl16 --out x
  ok train --preset published --data x --tokenizer kl16 --out x --dry-run
  is "published does not mirror its pictures" grep -q '"flip": true' stdout
  ok train --preset paper-t2i --set text.encoder=x --data x.jsonl --tokenizer kl16 --out x --dry-run
  is "paper-t2i is not the paper's" grep -q '"ema": 0.99,' stdout

  # A rate at which training diverges spoils neither checkpoint nor model, and the advice that is given is good.
  cp -r straight fast
  refuses 1 "is that of $images images: lower train.lr (1e+06).* and --resume" train --resume --out fast \
    --set train.images=8000 --set train.lr=1e6 --set train.save_minutes=1e-9 --quiet
  is "divergence changed the checkpoint" cmp fast/checkpoint.safetensors straight/checkpoint.safetensors
  is "divergence changed the model" cmp fast/model/model.safetensors straight/model/model.safetensors
  ok train --resume --out fast --set train.images=$((images + 16)) --set train.lr=1e-3 --quiet
  # What a killed program left goes with the next one's work, and with nothing else.
  mv fast/options.json fast/options.json.partial-1-abcdef
  touch fast/mine.partial-final
  ok train --resume --out fast --set train.images=$((images + 24)) --quiet
  absent fast/options.json.partial-1-abcdef
  is "a foreign file was removed" rm fast/mine.partial-final

  # --init starts from a model's weights: with no learning rate they stay what they were.
  ok train train.json --out same --init "$model" --set train.lr=0 --set train.images=8 --set train.adamw.weight_decay=0
  ok generate --model same/model --class 1 --seed 1 --out same.png --no-metadata
  ok generate --model "$model" --class 1 --seed 1 --out first.png --no-metadata
  is "--init did not start from the model" cmp same.png first.png
  refuses 2 'other sizes' train train.json --out x --init "$model" --set model.width=32
  refuses 2 'goes with --init' train train.json --out x --init-partial
  ok train train.json --out part --init "$model" --init-partial --set model.diffusion_width=32 --set train.images=8 --verbose
  is "--init-partial does not say what it drew" grep -q 'drawn anew: diffloss.net.input_proj.weight' stderr
  is "--init-partial drew what fits" [ "$(grep -c 'drawn anew: encoder' stderr)" -eq 0 ]
  # A text model that begins with another's encoder, which is trained along, finds it when it is resumed.
  set -- train train.json --data scenes:count=24,seed=1 --set model.conditioning=text --set model.buffer_size=0 \
    --set model.text_hidden=16 --set model.text_length=24 --set text.layers=1 --set text.heads=2 \
    --set text.key_value_heads=1 --set text.intermediate=16 --quiet
  ok "$@" --out text --set train.images=16
  ok "$@" --out more --init text/model --set train.images=16
  ok "$@" --out more --resume --set train.images=32
  ok train --resume --out more --set train.images=48
  refuses 2 'a caption names a side' "$@" --out flipped --set flip=true
  ok generate --model more/model --prompt "a photo of a red circle" --out text.png
  # What the sampler would do otherwise than training did.
  ok train train.json --out others --set train.images=8 --set objective.mask=off --set sampler.visible_level=3
  is "masks that training did not have are not spoken of" grep -q 'objective.mask is off, model.masked true' stderr
  is "tokens that the sampler shows are not spoken of" grep -q 'objective.visible_level is 0, sampler.visible_level 3' stderr
  ok train train.json --out alike --set train.images=8
  is "a warning about masks where there is nothing to warn of" [ "$(grep -c 'objective\.' stderr)" -eq 0 ]
  # Masks by level: the sampler hides what training did, and so does a resumed run.
  ok train train.json --out level --set train.images=8 --set objective.mask=cosine --set objective.visible_level=6
  is "a warning about masks that the sampler shares" [ "$(grep -c 'objective\.' stderr)" -eq 0 ]
  ok train --resume --out level --set train.images=16
  ok generate --model level/model --class 1 --levels 0,3,6 --dry-run
  is "the sampler hides other tokens" [ "$(grep '"masked":' stdout | tr -dc '0-9,')" = 16,11,0, ]
  ok train train.json --out level2 --set train.images=8 --set objective.mask=cosine --set sampler.visible_level=3
  is "tokens that training hid are not spoken of" grep -q 'objective.visible_level is 0, sampler.visible_level 3' stderr
  # A model of the next level says so, and is sampled at every level without a filter.
  next="--set objective.target=next-level --set train.images=8"
  refuses 2 'a step at each of its levels, 0..7' train train.json --out x $next
  ok train train.json --out next $next --set sampler.steps=8
  ok generate --model next/model --class 1 --dry-run
  is "not the 8 levels" [ "$(grep -c '"level":' stdout)" -eq 8 ]
  is "a filter of what is filtered" [ "$(grep -c '"filter": null' stdout)" -eq 8 ]
  refuses 2 'a step at each of its levels' generate --model next/model --class 1 --steps 3 --out x.png
  ok train train.json --out finer --init next/model $next --set sampler.steps=8
  ok train train.json --out clean --init next/model --set train.images=8
  # Samples that are not finite end no training: there is no sheet, and a line that says why.
  ok train train.json --out away --set sampler.cfg=1e30 --set train.images=32 --set train.sample_images=32
  is "a sheet of nothing is not spoken of" grep -q 'warning: no samples at 32 images: .*NaN' stderr
  is "training died of its samples" grep -q 'trained on 32 images' stderr
  "$program" train train.json --out far --set train.lr=1e30 --set train.sample_images=32 >stdout 2>stderr </dev/null
  is "divergence is not named" grep -q 'training diverged before 32 images: .*nothing was saved yet' stderr
  absent far/checkpoint.safetensors far/model far/samples
  # Samples and scores of the classes that the detector knows.
  ok train train.json --out samples --set train.sample_images=64 --set sampler.steps=1 --set sampler.diffusion_steps=[1]
  is "no sheet of samples" [ -s samples/samples/0000000064.png ]
  is "no scores" grep -q '"colour"' samples/scores.jsonl

  sed 's/"batch"/"bach"/' train.json >misspelt.json
  refuses 2 "misspelt.json.train has no key 'bach'; did you mean 'batch'" train misspelt.json --out x
  refuses 2 "no key 'lrr'" train train.json --out x --set train.lrr=1
  refuses 2 'train.batch must be a whole number' train train.json --out x --set train.batch=many
  refuses 2 'key=value' train train.json --out x --set train.batch
  refuses 2 'model.classes=80' train train.json --out x --set model.classes=10
  refuses 2 'visible_level must be in 0' train train.json --out x --set objective.mask=cosine \
    --set objective.visible_level=99
  refuses 2 'not a multiple of heads' train train.json --out x --set model.heads=3
  refuses 2 'where to' train train.json
  refuses 2 'what to train on' train train.json --out x --set 'data=""'
  refuses 1 'absent.json' train absent.json --out x
  printf '{"train": ' >cut.json
  refuses 1 'cut.json is not valid JSON' train cut.json --out x
  absent x
}

# Raster and next-scale order by the commands of all others.
orders() {
  write_configs
  for order in raster next-scale; do
    set -- --set model.order=$order --set objective.mask=off --set objective.level_weight=false --sampler.preset $order \
      --sampler.diffusion-steps 4 --sampler.start-timestep 700
    [ $order = raster ] || set -- "$@" --model.scales 2,4,8 --model.residual --objective.scale-norm
    ok train train.json "$@" --out $order --set train.images=32 --quiet
    ok train --resume --out $order --set train.images=40 --quiet
    ok train train.json "$@" --resume --out $order --set train.images=48 --quiet
    ok inspect $order/model --json
    is "$order: not what inspect finds" grep -q "\"kind\": \"$order-class\"" stdout
    is "$order: not whole" grep -q '"problems": null' stdout
    ok generate --model $order/model --class 1 --dry-run
    is "$order: steps" [ "$(grep -c '"masked": 0' stdout)" = "$([ $order = raster ] && echo 16 || echo 3)" ]
    ok generate --model $order/model --class 1 --seed 1 --out $order.png --strip $order-strip.png
    ok bench --model $order/model --images 2 --check --json
    is "$order: no work counted" grep -q '"tflop_done": [0-9.e-]*[1-9]' stdout
  done
  is "scales that were not measured" [ "$(sed -n '/"scale_std"/,/]/p' next-scale/model/config.json | grep -c '[0-9]')" -eq 3 ]
  refuses 2 'levels does not apply' generate --model raster/model --class 1 --levels 0,1 --out x.png
  refuses 2 'the preset paper is for models of order far' generate --model raster/model --class 1 --preset paper --out x.png
  refuses 2 'set objective.mask=off, objective.level_weight=false' train train.json --set model.order=raster --out x
  set -- train train.json --set model.order=next-scale --out x
  refuses 2 'scales must be multiples of the patch, 2, got 3' "$@" --model.scales 3,8
  refuses 2 'scales must end at the side of the latent, 8, got 6' "$@" --model.scales 2,6
  refuses 2 'conditioned on a class, not on text' "$@" --set model.conditioning=text
  refuses 2 'belong to the order next-scale' train train.json --model.markov --out x
  absent x x.png
}

evaluate() {
  ok evaluate shapes --model "$model" --seeds 1 --batch 80 --steps 1 --diffusion-steps 1 --json
  is "80 images" grep -q '"images": 80' stdout
  for part in colour shape both seconds_per_image; do is "no $part" grep -q "\"$part\"" stdout; done
  mv stdout first
  ok evaluate shapes --model "$model" --seeds 1 --batch 33 --steps 1 --diffusion-steps 1
  is "not five shares" [ "$(grep -c ' % ' stdout)" -eq 5 ]
  for line in seams 'FD (shapes classifier)' precision recall 'class score'; do
    is "no line $line" grep -q "^$line .*(real pictures " stdout
  done
  ok evaluate shapes --reconstruct --model "$root/models/shapes-64" --seeds 1 --real-images 100 --json
  is "does not say what was judged" grep -q '"reconstruct": true' stdout
  isnt "a sampler without sampling" grep -q '"sampler"' stdout
  refuses 2 '--reconstruct' evaluate shapes --reconstruct --model "$model" --cfg 2
  refuses 1 'has not the format crescendo-classifier-1' evaluate shapes --model "$model" --classifier "$model"
  # A classifier of one's own, and a training that measures itself with it.
  ok evaluate train-classifier --data shapes:count=400 --images 64 --held-out 80 --out own-classifier
  is "no classifier" [ -f own-classifier/config.json ]
  ok evaluate shapes --model "$model" --seeds 1 --steps 1 --diffusion-steps 1 --classifier own-classifier --real-images 100
  is "not the own classifier" grep -q '^FD (own classifier) ' stdout
  refuses 2 'has 0 classes' evaluate train-classifier --data scenes:count=40 --out no-classifier
  absent no-classifier
  refuses 2 'seeds must be at least 1' evaluate shapes --model "$model" --seeds 0
  # Pictures of the data through the tokenizer of the text model in the box, and no sampling at all.
  text_model=$root/models/shapes-text-64
  ok evaluate geneval --reconstruct --model "$text_model" --count 2 --images 3 --results ceiling.jsonl --json
  is "36 reconstructions" grep -q '"images": 36' stdout
  is "does not say what was judged" grep -q '"reconstruct": true' stdout
  is "not every single object came back" [ "$(grep -c '"tag":"single_object".*"correct":true' ceiling.jsonl)" -eq 6 ]
  isnt "a sampler without sampling" grep -q '"sampler"' stdout
  refuses 2 '--reconstruct' evaluate geneval --reconstruct --model "$text_model" --cfg 2
  refuses 2 '--reconstruct' evaluate geneval --reconstruct --model "$text_model" --text-encoder-device cpu
  refuses 2 'pictures of classes' evaluate geneval --reconstruct --model "$model"
}

# value NAME: of a measure in the JSON report in stdout.
value() { awk -v name="\"$1\": {" 'index($0, name) { found = 1 } found && /"value":/ { gsub(/.*: |,/, ""); print; exit }' stdout; }
# near A B TOLERANCE
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { exit !(a != "" && b != "" && a - b <= t && b - a <= t) }'; }

# Measures of pictures through a network, here a small one that knows the colours of parts.
measures() {
  maker=$(dirname "$program")/tests/make_extractor
  [ -x "$maker" ] || { echo "needs $maker"; exit 77; }
  "$maker" net.ts
  unset CRESCENDO_INCEPTION
  n="--extractor net.ts --extractor-side 8"
  ok data shapes --out real --count 160 --side 32 --seed 1
  ok data shapes --out fake --count 160 --side 32 --seed 2
  ok evaluate stats real $n --out real.npz --features real.npy --json
  is "not 160 pictures of 48 features" grep -q '"dim": 48' stdout
  ok evaluate stats fake $n --out fake.npz --features fake.npy --logits fake-logits.npy

  ok evaluate images fake --against real $n --metrics fid,is,kid,prc,classes --kid-subset-size 50 --neighbours 1 \
    --nearest nearest.png --class-plot classes.svg --out report.json --json
  fid=$(value fid)
  is "the report differs from what was printed" cmp -s stdout report.json
  for name in fid is is_sorted kid precision recall density coverage; do is "no $name" [ -n "$(value $name)" ]; done
  is "no picture of neighbours" [ -s nearest.png ]
  is "no plot of classes" grep -q '<svg' classes.svg
  is "the work was left behind" [ ! -e report.json.work ]
  # The same number from statistics, features, a shuffled array, and under torch-fidelity's name.
  ok evaluate fid real.npz fake.npz --json && is "statistics: $fid is $(value fid)" near "$fid" "$(value fid)" 1e-6
  ok evaluate compare real.npy fake.npy --metrics fid,prc --json
  is "features: $fid is $(value fid)" near "$fid" "$(value fid)" 1e-6
  ok evaluate pack fake --out fake-pictures.npz
  ok evaluate images fake-pictures.npz --against real.npz $n --metrics fid --batch 7 --json
  is "an array: $fid is $(value fid)" near "$fid" "$(value fid)" 1e-5
  ok evaluate fidelity --input1 fake --input2 real -d --isc --fid --kid --prc --kid-subset-size 50 $n --json
  for key in inception_score_mean inception_score_std kernel_inception_distance_mean precision recall f_score; do
    is "no $key" grep -q "\"$key\":" stdout
  done
  is "fidelity: $fid is not in stdout" near "$fid" "$(sed -n 's/.*frechet_inception_distance": \([^,]*\).*/\1/p' stdout)" 1e-6
  ok evaluate images fake --against real.npz $n
  is "no table" grep -q '^FD (torchscript)' stdout

  # Parts make the whole.
  mkdir both && cp -r real fake both/
  ok evaluate stats both $n --out both.npz
  ok evaluate merge real.npz fake.npz --out merged.npz
  ok evaluate fid both.npz merged.npz --json && is "merged: $(value fid)" near 0 "$(value fid)" 1e-6

  # A model is scored as its pictures are, and a second run has nothing left to do.
  m="--model $model --num-images 6 --steps 1 --diffusion-steps 1 --metrics fid"
  ok evaluate images $m --against real.npz $n --samples drawn --work work --json
  fid=$(value fid)
  is "not six pictures" [ "$(ls drawn | wc -l)" -eq 6 ]
  ok evaluate images drawn --against real.npz $n --metrics fid --json
  is "the model's pictures: $fid is $(value fid)" near "$fid" "$(value fid)" 1e-9
  ok evaluate images $m --against real.npz $n --work work --json
  is "nothing was kept" grep -q 'going on after 6 of 6' stderr
  is "kept: $fid is $(value fid)" near "$fid" "$(value fid)" 1e-9
  refuses 2 'of other pictures' evaluate images $m --seed 5 --against real.npz $n --work work
  ok evaluate images $m --against real.npz $n --dry-run && is "no plan" grep -q '"plan"' stdout

  refuses 2 'which network?' evaluate stats real --out x.npz
  refuses 1 'net.ts' evaluate stats real --out x.npz --weights net.ts
  refuses 1 'report.json' evaluate stats real --out x.npz --extractor report.json
  refuses 2 'is neither statistics' evaluate fid real.npz nowhere
  refuses 2 '--metrics knows fid' evaluate images fake --against real.npz $n --metrics fit
  refuses 2 'compares with real pictures' evaluate images fake $n --metrics fid
  refuses 2 'prc needs at least 4 pictures' evaluate images fake --against real $n --count 3 --metrics prc
  refuses 2 'statistics do not hold them' evaluate images fake --against real.npz $n --metrics prc
  ok evaluate stats real --extractor net.ts --extractor-side 16 --out other.npz
  refuses 2 'cannot be compared' evaluate fid real.npz other.npz
  echo none >"fake/red circle/bad.png"
  refuses 1 '1 of 161 images cannot be read.*--skip-bad 1' evaluate stats fake $n --out x.npz
  ok evaluate stats fake $n --out x.npz --skip-bad 1 && rm x.npz
  ok evaluate weights-info net.ts --json && is "a script is no Inception" grep -q '"usable": false' stdout
  absent x.npz
  no_leftovers .
}

packing() {
  ok data shapes --out pictures --count 20 --side 16 --seed 1
  ok evaluate pack pictures --out s.npz --no-shuffle --json
  is "20 pictures with classes" grep -q '"labels": true' stdout
  ok evaluate unpack s.npz --out back
  is "not 20 pictures" [ "$(ls back | wc -l)" -eq 20 ]
  is "another picture came back" cmp -s "$(find pictures -name '*.png' | LC_ALL=C sort | head -n 1)" back/00000.png
  ok evaluate unpack s.npz --out classes --by-class && is "no class" [ -s classes/0019/00019.png ]
  ok evaluate pack pictures --out shuffled.npz && isnt "it was not shuffled" cmp -s s.npz shuffled.npz
  refuses 2 'must end in .npz' evaluate pack pictures --out s.zip
  refuses 1 'exists already' evaluate unpack s.npz --out back
  refuses 2 '--no-shuffle' evaluate pack pictures --out x.npz --no-shuffle --shuffle-seed 2

  cat >captions.json <<END
{"images": [{"id": 3, "file_name": "3.jpg"}, {"id": 1, "file_name": "1.jpg"}],
 "annotations": [{"id": 9, "image_id": 1, "caption": "a dog\n"}, {"id": 8, "image_id": 3, "caption": " a cat "},
                 {"id": 7, "image_id": 1, "caption": "two dogs"}]}
END
  ok evaluate captions captions.json --count 2 --out list.jsonl
  is "no protocol" grep -q '^one-per-image/seed0/2/[0-9a-f]*$' stdout
  is "not the captions" [ "$(sed 's/.*"prompt":"\([^"]*\)".*/\1/' list.jsonl | sort | tr '\n' ,)" = 'a cat,two dogs,' ]
  refuses 1 'has 2 images with captions, 3 were asked for.*--count' evaluate captions captions.json --count 3 --out x
  absent x x.npz
}

geneval_files() {
  text_model=$root/models/shapes-text-64
  cat >prompts.jsonl <<END
{"tag": "single_object", "include": [{"class": "circle", "count": 1}], "prompt": "a photo of a circle"}
{"tag": "colors", "include": [{"class": "heart", "count": 1, "color": "red"}], "prompt": "a photo of a red heart"}
END
  # One at a time: another number in a batch rounds otherwise.
  g="evaluate geneval-gen prompts.jsonl --model $text_model --images 2 --batch 1 --steps 1 --diffusion-steps 1 --out made"
  ok $g
  is "no picture" [ -s made/00001/samples/0001.png ]
  is "no prompt" grep -q '"color":"red"' made/00001/metadata.jsonl
  is "every prompt begins with seed 42" [ "$(chunk made/00000/samples/0001.png seed)" = "$(chunk made/00001/samples/0001.png seed)" ]
  cp made/00001/samples/0000.png first.png
  rm made/00001/samples/0000.png
  ok $g --json && is "the lacking one was not drawn alike" cmp -s made/00001/samples/0000.png first.png
  is "what was there was drawn again" grep -q '3 of 4 pictures are there already' stderr
  refuses 2 'made otherwise' $g --seed 1
  for p in 00000 00001; do
    for i in 0000 0001; do
      echo "{\"filename\": \"made/$p/samples/$i.png\", \"detections\": [{\"class\": \"heart\", \"box\": [1, 1, 9, 9], \"score\": 0.9, \"color\": \"red\"}]}"
    done
  done >found.jsonl
  ok evaluate geneval-score made --detections found.jsonl --out results.jsonl
  is "two of four are right" grep -q '% correct images: 50.00%' stdout
  mv stdout first
  ok evaluate geneval-summary results.jsonl && is "the summary differs" cmp -s stdout first
  ok evaluate geneval-score made --detections results.jsonl --threshold 0.95 --json
  is "none is sure enough" grep -q '"overall": 0.0' stdout
  head -n 3 found.jsonl >fewer.jsonl
  refuses 1 '1 of 4 pictures have no line of detections' evaluate geneval-score made --detections fewer.jsonl
}

bad_input() {
  g="generate --model $model --out x.png"
  refuses 2 "no class 'red circel'; did you mean 'red circle'" $g --class 'red circel'
  refuses 2 '0 to 79, got 80' $g --class 80
  refuses 2 'which classes' $g
  refuses 2 'steps must be in 1..8 .*, got 0' $g --class 1 --steps 0
  refuses 2 'draft_timestep is no longer\|has no option --draft' $g --class 1 --draft-timestep 500
  refuses 2 'levels must increase, got 3 after 3' $g --class 1 --levels 0,3,3
  refuses 2 'levels must be in 0..7 for this model, got 8' $g --class 1 --levels 0,8
  refuses 2 "levels takes numbers with commas" $g --class 1 --levels 0,x
  refuses 2 'contradict' $g --class 1 --levels 0,3 --steps 2
  refuses 2 'contradict' $g --class 1 --mask --no-mask
  refuses 2 'contradict' $g --class 1 --quiet --verbose
  refuses 2 "did you mean paper" $g --class 1 --preset papre
  refuses 2 'cfg' $g --class 1 --cfg -1
  refuses 2 'device must be' $g --class 1 --device gpu
  refuses 2 'dtype must be' $g --class 1 --dtype fp64
  refuses 2 'seed' $g --class 1 --seed -1
  refuses 2 'at least 1, got 0' $g --class 1 --batch 0
  refuses 2 'names one file, but 2 images' $g --class 1 2
  refuses 2 'written as PNG' generate --model "$model" --class 1 --out x.jpg
  refuses 2 'must end in .png' generate --model "$model" --class 1 --grid x.gif
  refuses 2 'no-decode' $g --class 1 --no-decode
  refuses 1 "no model 'absent'" generate --model absent --class 1 --out x.png

  # Models with something wrong: one message with the file's name, and no picture.
  broken() { rm -rf broken && cp -r "$model" broken; }
  b="generate --model broken --class 1 --out x.png"
  broken && rm broken/model.safetensors && refuses 1 'broken/model.safetensors' $b
  broken && head -c 20000 "$model/model.safetensors" >broken/model.safetensors && refuses 1 'broken/model.safetensors' $b
  broken && head -c 5 "$model/model.safetensors" >broken/model.safetensors && refuses 1 'broken/model.safetensors' $b
  broken && head -c 500 "$model/tokenizer/model.safetensors" >broken/tokenizer/model.safetensors &&
    refuses 1 'broken/tokenizer/model.safetensors' $b
  broken && sed 's/"width": 16/"width": 32/' "$model/config.json" >broken/config.json && refuses 1 'broken/model.safetensors' $b
  broken && sed 's/"width"/"widht"/' "$model/config.json" >broken/config.json && refuses 1 "broken/config.json.*widht.*width" $b
  broken && printf '{' >broken/config.json && refuses 1 'broken/config.json is not valid JSON' $b
  broken && spoil broken/model.safetensors && refuses 1 'broken/model.safetensors: .* are NaN' $b
  is "bf16 hid a NaN" sh -c '! "$@" 2>/dev/null' - "$program" $b --dtype bf16
  broken && spoil broken/tokenizer/model.safetensors && refuses 1 'broken/tokenizer/model.safetensors: .* are NaN' $b
  broken && rm -r broken/tokenizer && refuses 1 'broken has no tokenizer' $b
  broken && sed 1d "$model/labels.txt" >broken/labels.txt && refuses 1 'labels.txt has 79 lines' $b

  # Places that cannot be written to are found before the work.
  printf x >file
  refuses 1 'file/x.png' generate --model "$model" --class 1 --out file/x.png
  refuses 1 'file/deep' generate --model "$model" --class 1 --out file/deep/
  refuses 1 'file/x' generate --model "$model" --class 1 --latents-out file/x.safetensors --no-decode
  mkdir folder.png
  refuses 1 'folder.png: it is a folder' generate --model "$model" --class 1 --grid folder.png
  refuses 1 '/dev/null: it is no regular file' generate --model "$model" --class 1 --trace /dev/null --no-decode
  refuses 1 'file' data shapes --out file/x --count 2
  refuses 1 'file' train "$home/setup/train.json" --out file/x
  refuses 1 'file' tokenizer reconstruct shapes --count 1 --model "$model" --out file/x.png
  is "/dev/null is no device any more" [ -c /dev/null ]
  is "a file in the way was touched" [ "$(cat file)" = x ]
  absent x.png x.jpg x.gif out/
}

# Numbers are decimal and in range, and what no memory holds is refused before anything is made.
numbers() {
  g="generate --model $model --class 1 --dry-run"
  ok $g --seed 0042 -n 010
  is "--seed 0042 is not 42" grep -q '"seed": 42,' stdout
  is "-n 010 is not 10" grep -q '"images": 10,' stdout
  ok $g --levels 0,03,007
  ok $g --seed 18446744073709551615
  is "the largest seed" grep -q '"seed": 18446744073709551615' stdout
  refuses 2 'run beyond 18446744073709551615' $g --seed 18446744073709551615 -n 2
  refuses 2 '^crescendo: error: --seed must be at most 18446744073709551615, got 18446744073709551616$' \
    $g --seed 18446744073709551616
  refuses 2 '^crescendo: error: --seed must be at least 0, got -1$' $g --seed -1
  for wrong in 1e3 0x10 +5 ' 5' '5 ' 1.5 five 1,000; do
    refuses 2 'seed must be a whole number' $g --seed="$wrong"
  done
  refuses 2 'seed must be a whole number' $g --seed ''
  for option in -n --batch --threads --steps --visible-level --start-timestep; do
    refuses 2 "$option must be at most [0-9]*, got 99999999999999999999" $g $option 99999999999999999999
  done
  for wrong in nan inf -inf 1e999 0x1p3 3,5; do
    refuses 2 'cfg must be a finite number' $g --cfg="$wrong"
  done
  refuses 2 'temperature must be a finite number' $g --temperature nan
  refuses 2 'count must be a whole number' data shapes --out x --count 1e3
  for wrong in 0,99999999999999999999 0,-1 0,+1 '0, 1' 0,,1 0x1; do
    refuses 2 'levels takes numbers' $g --levels="$wrong"
  done
  refuses 2 'diffusion-steps takes' $g --diffusion-steps 10:-20
  refuses 2 'seed must be at least 0' train "$home/setup/train.json" --out x --seed -1
  refuses 2 'seed must be at most 9223372036854775807' train "$home/setup/train.json" --out x \
    --set train.seed=9223372036854775808
  refuses 2 'count must be at most 100000000' data shapes --out x --count 99999999999
  refuses 2 'tile must be at least 4' tokenizer decode x.safetensors --tile 3 --out x

  # More than there is memory for.
  refuses 1 'images in batches of 8 needs .* of memory' $g -n 10000000000
  refuses 1 'needs .* of memory' $g -n 9223372036854775807 --batch 9223372036854775807
  refuses 1 'needs .* of memory' $g -n 100000000 --batch 100000000
  refuses 1 'needs .* of memory' evaluate shapes --model "$model" --seeds 9223372036854775807
  refuses 1 'needs .* of memory' evaluate geneval --model "$root/models/shapes-text-64" --images 99999999999
  refuses 1 'needs .* of memory' bench --model "$model" --images 99999999999
  refuses 1 'far-h with a batch of 99999999999 needs .* of memory' bench --size far-h --images 99999999999
  ok $g --batch 99999999999
  absent x out
}

# Names in any bytes, class names that are numbers, and text files as editors save them.
names() {
  latin=$(printf 'caf\351')
  is_utf8() { is "$1 is not UTF-8" iconv -f UTF-8 -t UTF-16 "$1"; }
  with_labels() { rm -rf m && cp -r "$model" m && cat >m/labels.txt; }
  first=$(head -n 1 "$model/labels.txt")

  # A mark, other line ends and blank lines at the end are no part of names; UTF-16 is read.
  { printf '\357\273\277' && sed "s/\$/$(printf '\r')/" "$model/labels.txt" && printf '\r\n\n'; } | with_labels
  ok generate --model m --class "$first" --seed 1 --out first.png
  is "the first class is not number 0" [ "$(chunk first.png class)" = 0 ]
  iconv -f UTF-8 -t UTF-16 "$model/labels.txt" | with_labels
  ok generate --model m --class "$first" --seed 1 --out wide.png
  is "UTF-16 made another picture" cmp first.png wide.png
  iconv -f UTF-8 -t UTF-32 "$model/labels.txt" | with_labels
  refuses 1 'labels.txt: is UTF-32 text' generate --model m --class 1 --out x.png

  # Bytes that are no UTF-8, in a class name, in the model folder and in the folder of pictures.
  LC_ALL=C sed "1s/.*/$latin/" "$model/labels.txt" | with_labels
  rm -rf "$latin" && mv m "$latin"
  ok generate --model "$latin" --class "$latin" 2 --seed 1 --out "$latin.out" --json
  is_utf8 stdout
  is_utf8 stderr
  is "no two pictures" [ "$(ls "$latin.out" | wc -l)" -eq 2 ]
  refuses 2 'no class' generate --model "$latin" --class "$(printf 'x\ny\351')" --out x.png
  is_utf8 stderr
  ok inspect "$latin" --json
  ok convert "$latin" --out again
  ok convert again --to pth --out "$latin.pth"
  ok convert "$latin.pth" --out back
  ok generate --model again --class 2 --seed 1 --out again.png
  { cat "$model/labels.txt" | sed "3s/.*/$(printf '\033')[31m/"; } | with_labels
  refuses 1 'labels.txt: the class name .* has a control character' generate --model m --class 1 --out x.png

  # A name wins over a number.
  seq 80 -1 1 | with_labels
  ok generate --model m --class 10 --seed 1 --out ten.png
  is "the class named 10 is number 70" [ "$(chunk ten.png class)/$(chunk ten.png class_name)" = 70/10 ]
  ok generate --model m --class id:10 --seed 1 --out number.png
  is "id:10 is number 10" [ "$(chunk number.png class)/$(chunk number.png class_name)" = 10/70 ]
  sed 's/^blue circle$/red circle/' "$model/labels.txt" | with_labels
  refuses 2 "'red circle' stands 2 times in labels.txt, with the numbers" generate --model m --class 'red circle' --out x.png

  # What viewers read from a picture.
  odd='v2, CFG scale: 12, Seed: 5'
  cp -r "$model" "$odd"
  ok generate --model "$odd" --class 1 --seed 7 --out odd.png
  is "the model's name is not in quotes" grep -q -a 'Seed: 7, .*Model: "v2, CFG scale: 12, Seed: 5"' odd.png

  # Class folders: a name that no line can hold is refused before the work, one in other bytes is trained on.
  write_configs
  ok data shapes --out set --count 80 --seed 3 --side 32
  rm set/metadata.jsonl
  mv 'set/red circle' "set/$latin"
  ok train train.json --data set --out "run$latin" --set train.images=8 --quiet
  ok generate --model "run$latin/model" --class "$latin" --seed 1 --out trained.png
  mv "set/$latin" "$(printf 'set/red\ncircle')"
  refuses 1 'red.ncircle. has a control character' train train.json --data set --out x
  { printf '\357\273\277' && cat train.json; } >marked.json
  ok train marked.json --out x --dry-run
  iconv -f UTF-8 -t UTF-16LE train.json | { printf '\377\376' && cat; } >wide.json
  ok train wide.json --out x --dry-run
  iconv -f UTF-8 -t UTF-16LE train.json >unmarked.json
  refuses 1 'unmarked.json: holds zero bytes' train unmarked.json --out x --dry-run
  absent x x.png
}

# A limit on the size of files stands in for a full disk: every write beyond it fails half way.
disk() {
  limited() {
    (
      trap '' XFSZ
      ulimit -f "$1"
      shift
      exec "$program" "$@" >stdout 2>stderr </dev/null
    )
    status=$?
    [ $status -eq 1 ] || bad "crescendo $*: exit $status, expected 1"
    [ "$(grep -c '^crescendo: error: cannot write\|^crescendo: error: .*cannot be written' stderr)" -eq 1 ] || bad "crescendo $*: no clear message"
  }
  limited 1 generate --model "$model" --class 1 -n 9 --seed 1 --grid grid.png
  absent grid.png
  mkdir pictures && printf old >pictures/x.png
  limited 1 generate --model "$model" --class 1 --seed 1 --strip pictures/x.png
  is "the old picture is gone" [ "$(cat pictures/x.png)" = old ]
  is "something was left" [ "$(ls pictures)" = x.png ]
  limited 1 generate --model "$model" --class 1 -n 20 --no-decode --latents-out latents.safetensors
  limited 1 data shapes --out set --count 600 --side 64
  absent latents.safetensors set
  is "a working folder was left" [ -z "$(ls -d set* 2>/dev/null)" ]
  limited 16 train "$home/setup/train.json" --out run
  is "half a run was left" [ -z "$(ls run 2>/dev/null)" ]
  limited 16 tokenizer train "$home/setup/tokenizer.json" --out tok
  absent tok/tokenizer/model.safetensors tok/tokenizer/config.json
}

# Photos of the shared data: through a tokenizer and back, and a short training on them.
photos() {
  photos=$shared/data/imagenet-sample
  if [ ! -d "$photos" ]; then
    echo "skipped: needs $photos; CRESCENDO_SHARED names the folder that holds data/"
    exit 77
  fi
  write_configs
  ok tokenizer reconstruct "$photos" --count 3 --size 64 --model "$tokenizer" --out pairs.png --json
  is "not three photos" [ "$(grep -c '"image":' stdout)" -eq 3 ]
  is "no pairs" [ -s pairs.png ]
  classes=$(ls "$photos/train" | wc -l)
  ok train train.json --data "$photos" --set flip=true --set model.classes="$classes" --set model.latent_height=16 \
    --set model.latent_width=16 --set model.patch=4 --set train.images=64 --out run --json
  is "the classes are not the folders" [ "$(wc -l <run/model/labels.txt)" -eq "$classes" ]
  ok generate --model run/model --class "$(head -n 1 run/model/labels.txt)" --seed 1 --out photo.png
  is "no picture" [ -s photo.png ]
}

case $section in
  setup | help | generate | plan | tensors | data | tokenizer | train | orders | evaluate | measures | packing | geneval_files | bad_input | numbers | names | disk | photos) ;;
  *)
    echo "no section '$section'" >&2
    exit 2
    ;;
esac
touch stderr
if [ "$section" != setup ] && [ ! -d "$model" ]; then
  (section=setup here=$home/setup && mkdir -p "$here" && cd "$here" && setup)
fi
$section
finish
