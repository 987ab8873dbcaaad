#!/bin/bash
# Makes tests/fixtures/eval: runs lm-evaluation-harness and lighteval on one model, on the CPU in f32, without a network.
#
#   harness.sh MODEL SOURCE WORK
#
# MODEL is the Hugging Face folder that luthflow wrote of SmolLM2-135M-Instruct (its Q4_1 weights in f32; see
# tests/fixtures/eval/README.md). SOURCE holds the data sets as obtained, WORK is a scratch folder: the two Python environments,
# the sentence model of NLTK and the rows under non-commercial licences. Takes about an hour and a half on two cores.
set -eu
model=$(realpath "$1"); source=$(realpath "$2"); mkdir -p "$3"; work=$(realpath "$3")
here=$(dirname "$(realpath "$0")"); fixtures=$here/../../tests/fixtures/eval
export NLTK_DATA=$work/nltk OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
for name in lm_eval lighteval; do
    [ -d "$work/$name" ] && continue
    python3 -m venv "$work/$name"
    "$work/$name/bin/pip" install -r "$here/$name.txt"
done
python3 "$here/data.py" "$source" "$fixtures/data" "$work/data"
python3 "$here/punkt.py" "$source/nlp_resources/punkt_english.json" "$NLTK_DATA"
export HF_HUB_OFFLINE=1
# Rows of the tasks whose answers are long to generate.
ROWS="gsm8k=100 ifeval_fr=100 gsm8k_chat=30 truthfulqa_fr_mc1=20 truthfulqa_fr_mc2=20" \
    "$work/lm_eval/bin/python" "$here/lm_eval_golden.py" "$model" "$fixtures/data" "$work/data" "$fixtures/lm_eval"
ROWS="math_500=30 ifeval=50 gpqa=30 ifeval_fr=30" \
    "$work/lighteval/bin/python" "$here/lighteval_golden.py" "$model" "$fixtures/data" "$work/data" "$fixtures/lighteval"
