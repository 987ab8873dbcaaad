#!/bin/bash
# Near-duplicates by luthflow, datatrove, datasketch, rensa and text-dedup over the same French documents, end to end: reading, signatures,
# clusters, writing. CPU seconds, wall seconds, and whether the same rows go.
#
#   near.sh LUTHFLOW PYTHON FOLDER [DOCUMENTS]
#
# PYTHON is one with `datatrove[processing]==0.10.1 "xxhash<4" orjson datasketch==2.0.0 rensa` in it, TEXT_DEDUP_PYTHON in the
# environment one with `text-dedup==0.4.0`, which is left out without it. Documents are made of the novels in pipelines/data, a third
# of them copies, changed more or less; 100,000 unless said (150 MB in FOLDER). Others can be put there before, as `rows-100000.jsonl`
# with `id` and `text`. datatrove is given the cheapest tokenizer there is; as its users have it for French (`language="fra"`,
# spaCy) it is run on a tenth and named apart.
# Needs about ten minutes. The load average is printed because it decides what wall times are worth.
set -eu
exec "$2" "$(dirname "$(realpath "$0")")/near.py" "$(realpath "$1")" "$3" "${4:-100000}"
