#!/usr/bin/env bash
# What the common steps of a curation cost: each alone over one file of JSON lines, from reading to writing, beside a Python program
# that does the same with its own string methods and `json` (orjson where it is installed). CPU seconds and wall seconds, as a
# Markdown table; the least of three runs each.
#
#   steps.sh LUTHFLOW PYTHON ROWS.jsonl
#
# ROWS.jsonl has `id` and `text`; `near.sh` leaves one in its folder. PYTHON needs nothing beside its own library.
set -euo pipefail
exec "$2" "$(dirname "$(realpath "$0")")/steps.py" "$(realpath "$1")" "$(realpath "$3")"
