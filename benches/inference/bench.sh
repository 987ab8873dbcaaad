#!/bin/bash
# luthflow, transformers and llama.cpp on the same weights, one after the other.
#
#   bench.sh FOLDER [TORCH_PYTHON [LLAMA_PYTHON]]
#
# FOLDER holds one model several times: f32/ and bf16/ as Hugging Face folders (f16/ too if it is there), and f32.gguf, f16.gguf and
# bf16.gguf if llama.cpp is to run. TORCH_PYTHON has torch and transformers, LLAMA_PYTHON has xllamacpp; what is left out does
# not run. THREADS is taken from the environment, or all. Close other programs first: the load is printed because it
# decides what the figures are worth.
set -eu
folder=$1; torch=${2:-}; llama=${3:-}; threads=${THREADS:-$(nproc)}
here=$(dirname "$(realpath "$0")")
load() { echo "== $* (load $(cut -d' ' -f1-3 /proc/loadavg))"; }
cd "$here/../.."
cargo build --release --bench inference 2> /dev/null
bench=$(ls -t target/release/deps/inference-* | grep -v '\.d$' | head -1)
for format in f32 bf16 f16; do
    [ -d "$folder/$format" ] || continue
    cat "$folder/$format"/*.safetensors > /dev/null
    load "luthflow $format, prompt of 512"; "$bench" "$folder/$format" 512 8 "$threads"
    load "luthflow $format, 128 new tokens"; "$bench" "$folder/$format" 8 128 "$threads"
done
if [ -n "$torch" ]; then
    load "transformers f32, prompt of 512"; "$torch" "$here/peers.py" transformers "$folder/f32" "$threads" 512 8
    load "transformers f32, 128 new tokens"; "$torch" "$here/peers.py" transformers "$folder/f32" "$threads" 8 128
fi
[ -n "$llama" ] || exit 0
for format in f32 bf16 f16; do
    [ -f "$folder/$format.gguf" ] || continue
    load "llama.cpp $format, prompt of 512"; "$llama" "$here/peers.py" llama.cpp "$folder/$format.gguf" "$threads" 512 8 2> /dev/null
    load "llama.cpp $format, 128 new tokens"; "$llama" "$here/peers.py" llama.cpp "$folder/$format.gguf" "$threads" 8 128 2> /dev/null
done
