#!/bin/bash
# lm-evaluation-harness (backend hf, CPU, f32) and luthflow on the same rows of the same model, one after the other.
#
#   bench.sh MODEL PYTHON [LUTHFLOW]
#
# MODEL is a Hugging Face folder in f32 (SmolLM2-135M-Instruct in docs/benchmarks.md); PYTHON has what lm_eval.txt names;
# LUTHFLOW may be "none", for lm-eval alone. From the environment: LIMIT (rows a task, 200), THREADS (2), BATCH of lm-eval (8),
# TASKS ("arc_challenge hellaswag mmlu mmlu_5shot gsm8k"), LUTHFLOW_ARGS (where its rows come from, if not the hub).
# Close other programs first: the load is printed because it decides what the figures are worth.
set -eu
model=$(realpath "$1"); python=$2; here=$(dirname "$(realpath "$0")")
luthflow=${3:-$here/../../target/release/luthflow}; threads=${THREADS:-2}
cat "$model"/*.safetensors > /dev/null
echo "load $(cut -d' ' -f1-3 /proc/loadavg), $threads threads, ${LIMIT:-200} rows"
"$python" "$here/bench.py" "$model" "$here/../../tests/fixtures/eval/data" "$python" "$luthflow" "${LIMIT:-200}" "$threads"
