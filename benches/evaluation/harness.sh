#!/bin/bash
# Makes tests/fixtures/eval: runs lm-evaluation-harness and lighteval on one model, on the CPU in f32, without a network.
#
#   harness.sh MODEL SOURCE WORK
#
# MODEL is the Hugging Face folder that luthflow wrote of SmolLM2-135M-Instruct (its Q4_1 weights in f32; see
# tests/fixtures/eval/README.md). SOURCE holds the data sets as obtained, WORK is a scratch folder: the two Python environments,
# the sentence model of NLTK and the rows under non-commercial licences. LM_EVAL_TASKS and
# LIGHTEVAL_TASKS name some of the tasks, LM_EVAL_ROWS and LIGHTEVAL_ROWS other numbers of rows.
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
# How many rows: what the committed files were made with. More of them only make the files longer; drop a name for all of its rows.
ROWS=${LM_EVAL_ROWS-"gsm8k_chat=4 truthfulqa_fr_mc1=20 truthfulqa_fr_mc2=20 arc_challenge_chat=20 exams_fr=30"} \
    "$work/lm_eval/bin/python" "$here/lm_eval_golden.py" "$model" "$fixtures/data" "$work/data" "$fixtures/lm_eval" ${LM_EVAL_TASKS-}
ROWS=${LIGHTEVAL_ROWS-"mmlu_fr=20 arc_challenge_fr=30 hellaswag=20 hellaswag_fr=60 gpqa=6 math_500=4 ifeval=8 math_500_fr=4 ifeval_fr=8 exams_fr=15 arc_challenge_bos=6"} \
    "$work/lighteval/bin/python" "$here/lighteval_golden.py" "$model" "$fixtures/data" "$work/data" "$fixtures/lighteval" ${LIGHTEVAL_TASKS-}
