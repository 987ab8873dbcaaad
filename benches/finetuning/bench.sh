#!/bin/bash
# luthflow and PyTorch fine-tuning the same model on the same tokens, one after the other.
#
#   bench.sh MODEL PYTHON [LUTHFLOW]
#
# MODEL is a Hugging Face folder in f32 (SmolLM2-135M-Instruct in docs/benchmarks.md), PYTHON has torch, transformers and peft.
# THREADS is taken from the environment, or all. Close other programs first: the load is printed because it decides what the
# figures are worth.
set -eu
model=$(realpath "$1"); python=$2; here=$(dirname "$(realpath "$0")")
luthflow=${3:-$here/../../target/release/luthflow}; threads=${THREADS:-$(nproc)}
run() { echo "== $* (load $(cut -d' ' -f1-3 /proc/loadavg))"; "$python" "$here/measure.py" "$model" "$threads" "$luthflow" "$@"; }
cat "$model"/*.safetensors > /dev/null
for kind in full lora; do
    run luthflow $kind
    run luthflow-selective $kind
    run luthflow-recompute $kind
    run sdpa $kind
    run eager $kind
done
