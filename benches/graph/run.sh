#!/usr/bin/env bash
# No-op builds of graphs of trivial nodes: luthflow and its peers on one machine in one session. Prints a Markdown table.
#
#   benches/graph/run.sh [FOLDER]        FOLDER holds the graphs and the peers (default: /tmp/luthflow-bench)
#
# Peers are installed into FOLDER on the first call, by their ordinary clients. SHAPES picks shapes; LUTHFLOW, NINJA,
# TURBO, SNAKEMAKE and DVC pick sizes, as `1000,10000`; an empty one leaves a tool out. LUTHFLOW_PROGRAM is a program built
# before. The first call takes an hour or more, since 30,000 nodes really run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-/tmp/luthflow-bench}
mkdir -p "$folder/peers"
peers=$(cd "$folder/peers" && pwd)

if [ ! -x "$peers/bin/snakemake" ]; then
    python3 -m venv "$peers" && "$peers/bin/pip" install -q dvc==3.67.1 snakemake==9.27.1 ninja==1.13.2
fi
if [ ! -x "$peers/node_modules/.bin/turbo" ]; then
    (cd "$peers" && npm install --silent --no-save turbo@2.11.11 >/dev/null)
fi

program=${LUTHFLOW_PROGRAM:-}
if [ -z "$program" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" --bin luthflow
    program=$here/../../target/release/luthflow
fi
tools=()
add() { if [ -n "$3" ]; then tools+=("$1=$2,$3"); fi; }
add luthflow "$(realpath "$program")" "${LUTHFLOW-100,1000,10000,30000}"
add ninja "$peers/bin/ninja" "${NINJA-1000,10000,30000}"
add turbo "$peers/node_modules/.bin/turbo" "${TURBO-1000}"
add snakemake "$peers/bin/snakemake" "${SNAKEMAKE-100,1000}"
add dvc "$peers/bin/dvc" "${DVC-100,1000}"
exec python3 "$here/measure.py" "$folder/graphs" "${tools[@]}"
