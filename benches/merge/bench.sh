#!/bin/bash
# The same merges by luthflow and by MergeKit over the same files: wall time, CPU, memory, and their ratios.
#
#   bench.sh FOLDER LUTHFLOW [PYTHON] [METHOD...]
#
# FOLDER holds the models that gen06.py makes. PYTHON is one with mergekit 0.1.5 in it; without it only luthflow runs.
# REPEAT=N runs each N times (3) and keeps the least of each figure. OUT=FOLDER says where results go: a folder in
# memory (/dev/shm) where the disk is slower than the merge, so that the disk is not what is measured.
# Close other programs first: the load average is printed because it decides what the times are worth.
set -eu
here=$(dirname "$(realpath "$0")")
folder=$1; luthflow=$(realpath "$2"); python=${3:-}; shift $(( $# < 3 ? $# : 3 ))
exec /usr/bin/env python3 "$here/measure.py" "$folder" "$luthflow" "$python" "$@"
