#!/usr/bin/env bash
# Reading every row of one data set in each format. A `source` with `on_bad_row: skip` looks into all rows and makes no values of
# them; a `curate` whose first step is `where: "id == 5"` makes values of all columns, and writes one row. Beside them Python makes
# its own values, with pyarrow (`to_pylist`), the json module and `datasets`. CPU seconds and rows a second, as a Markdown table.
#
#   PYTHON=python3 benches/curation/readers.sh [FOLDER] [ROWS]
#
# PYTHON needs pyarrow, datasets and zstandard. LUTHFLOW_PROGRAM is a program built before.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-/tmp/luthflow-readers}
program=${LUTHFLOW_PROGRAM:-$here/../../target/release/luthflow}
mkdir -p "$folder"
exec "${PYTHON:-python3}" "$here/readers.py" "$(realpath "$program")" "$folder" "${2:-100000}"
