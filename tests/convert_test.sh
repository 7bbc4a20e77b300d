#!/bin/sh
# convert and inspect as a user runs them: convert_test.sh PROGRAM SECTION, from the top of the checkout.
# Sections: bad_input (needs nothing), published (needs $CRESCENDO_SHARED/fixtures, else it is skipped).
set -u
program=$1
section=$2
shared=${CRESCENDO_SHARED:-../shared}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failures=0

fail() {
  echo "FAIL: $*" >&2
  failures=$((failures + 1))
}

# refuses CODE PART COMMAND...: the command ends with CODE and a message that holds PART, and writes no $dir/out.
refuses() {
  code=$1 part=$2
  shift 2
  "$program" "$@" >"$dir/stdout" 2>"$dir/stderr"
  got=$?
  [ $got -eq "$code" ] || fail "exit code $got, not $code: $*"
  head -n 1 "$dir/stderr" | grep -q '^crescendo: error: ' || fail "no error line: $*: $(cat "$dir/stderr")"
  grep -qF -- "$part" "$dir/stderr" || fail "'$part' is not in: $(cat "$dir/stderr")"
  [ ! -e "$dir/out" ] || fail "something was written: $*"
}

# works COMMAND...: it ends with 0.
works() {
  "$program" "$@" >"$dir/stdout" 2>"$dir/stderr" || fail "$*: $(cat "$dir/stderr")"
}

# says PART: the last output of works() holds it.
says() { grep -qF -- "$1" "$dir/stdout" || fail "'$1' is not in: $(cat "$dir/stdout")"; }

bad_input() {
  golden=tests/golden/io_zip.pth
  head -c 3000 $golden >"$dir/cut.pth"
  refuses 1 "cut.pth" convert "$dir/cut.pth" --out "$dir/out"
  refuses 1 "cut.pth" inspect "$dir/cut.pth"
  head -c 1000 tests/golden/io_legacy.pth >"$dir/cut_legacy.pth"
  refuses 1 "cut short" convert "$dir/cut_legacy.pth" --out "$dir/out"
  echo "no checkpoint at all" >"$dir/text.pth"
  refuses 1 "neither a PyTorch checkpoint nor safetensors" convert "$dir/text.pth" --out "$dir/out"
  : >"$dir/empty.pth"
  refuses 1 "neither a PyTorch checkpoint nor safetensors" convert "$dir/empty.pth" --out "$dir/out"
  refuses 1 "no model" convert "$dir/absent.pth" --out "$dir/out"
  printf '\200\002\212\012\154\374\234\106\371\040\152\250\120\031.\200\002M\351\003.\200\002}.cos\nsystem\n(tR.' >"$dir/evil.pth"
  refuses 1 "'os.system'" convert "$dir/evil.pth" --out "$dir/out"
  refuses 1 "'os.system'" inspect "$dir/evil.pth"
  # A header whose tensor lies beyond the file, and one of 2^63 elements.
  safetensors() {
    printf "\\$(printf %o $((${#1} % 256)))\\0\\0\\0\\0\\0\\0\\0%s" "$1"
  }
  safetensors '{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}' >"$dir/x.safetensors"
  refuses 1 "leave the 0 bytes of data" convert "$dir/x.safetensors" --out "$dir/out"
  safetensors '{"a":{"dtype":"U8","shape":[4294967296,2147483648],"data_offsets":[0,0]}}' >"$dir/x.safetensors"
  refuses 1 "63 bits" inspect "$dir/x.safetensors"

  refuses 1 "holds no" convert tests/golden/io_zip.pth --weights raw --out "$dir/out"
  refuses 1 "NumPy arrays" convert tests/golden/io_numpy.npz --out "$dir/out"
  refuses 2 "is a KL-VAE, not a model" convert models/shapes-64/tokenizer --heads 4 --out "$dir/out"
  refuses 2 "--to pth is for models" convert models/shapes-64/tokenizer --to pth --out "$dir/out"
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n' >"$dir/kl16.ckpt"
  refuses 1 "a Git LFS pointer, not the file itself of 7 bytes" inspect "$dir/kl16.ckpt"
  refuses 1 "a Git LFS pointer" convert "$dir/kl16.ckpt" --out "$dir/out"
  refuses 1 "a Git LFS pointer" tokenizer reconstruct shapes --count 1 --model "$dir/kl16.ckpt" --out "$dir/x.png"
  refuses 1 "crescendo convert $golden" generate --model $golden --class 1 --out "$dir/out"
  refuses 2 "--out" convert "$dir/text.pth"
  refuses 2 "--to must be dir or pth" convert "$dir/text.pth" --to onnx --out "$dir/out"
  refuses 2 "--weights must be ema|raw" convert "$dir/text.pth" --weights both --out "$dir/out"
  refuses 2 "contradict" convert "$dir/text.pth" --to pth --labels x --out "$dir/out"
  refuses 2 "--heads" convert "$dir/text.pth" --heads 0 --out "$dir/out"

  works inspect $golden --verbose
  says "transposed"
  works inspect tests/golden/io_numpy.npz --json
  says '"fid-statistics"'
  works inspect models/shapes-64/tokenizer
  says "kl-vae"
}

published() {
  fixtures=$shared/fixtures
  [ -d "$fixtures" ] || exit 77
  far=$fixtures/far_micro/checkpoint-last.pth
  vae=$fixtures/vae_micro/kl16.ckpt
  text=$fixtures/t2i_micro/checkpoint-last.pth
  refuses 1 "give --heads N" convert "$far" --out "$dir/out"
  works convert "$vae" --out "$dir/tokenizer" --json
  says '"latent_scale": 0.2325'
  works inspect "$dir/tokenizer"
  says "kl-vae"
  refuses 1 "is a model, not a KL-VAE" convert "$far" --heads 4 --tokenizer "$far" --out "$dir/out"
  seq 999 >"$dir/labels.txt"
  refuses 1 "has 999 lines, the model 1000 classes" convert "$far" --heads 4 --labels "$dir/labels.txt" --out "$dir/out"

  seq -f "class %g" 0 999 >"$dir/labels.txt"
  works convert "$far" --heads 4 --tokenizer "$vae" --labels "$dir/labels.txt" --out "$dir/far"
  refuses 1 "exists already" convert "$far" --heads 4 --out "$dir/far"
  works convert "$far" --heads 4 --tokenizer "$dir/tokenizer" --labels "$dir/labels.txt" --out "$dir/same"
  diff -r "$dir/far" "$dir/same" >/dev/null || fail "a tokenizer's folder and its file are not the same"
  works convert "$dir/far" --to pth --out "$dir/far.pth"
  works convert "$dir/far.pth" --tokenizer "$vae" --labels "$dir/labels.txt" --out "$dir/again"
  diff -r "$dir/far" "$dir/again" >/dev/null || fail "converting there and back changes something"
  works inspect "$far"
  says "far-class"
  works inspect "$dir/far" --json
  says '"preset": "published-mask"'
  works generate --model "$dir/far" --class "class 207" 360 --diffusion-steps 1 --steps 1 --preset paper --seed 1 --out "$dir/images"
  [ "$(ls "$dir/images" | wc -l)" -eq 2 ] || fail "two pictures were asked for"

  works convert "$text" --out "$dir/text"
  refuses 1 "lacks tokenizer.json" convert "$text" --text-encoder "$fixtures/qwen2_micro" --out "$dir/out"
}

"$section"
[ $failures -eq 0 ]
