#!/bin/bash
# The same merges by luthflow and by MergeKit, one after the other, over the same files; prints times, CPU, memory, ratios.
#
#   bench.sh FOLDER LUTHFLOW [PYTHON] [METHOD...]
#
# FOLDER holds the models that gen06.py makes. PYTHON is one with mergekit 0.1.5 in it; without it only luthflow runs.
# Close other programs first: the load average is printed because it decides what the times are worth.
set -eu
folder=$1; luthflow=$(realpath "$2"); python=${3:-}; shift $(( $# < 3 ? $# : 3 ))
methods=${*:-linear slerp task_arithmetic ties dare_ties}
cd "$folder"
t='[{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}, {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}, {value: 0.5}]'
config() {
    case $1 in
        linear) echo "{merge_method: linear, dtype: bfloat16, models: [{model: q06-a, parameters: {weight: 0.5}}, {model: q06-base, parameters: {weight: 0.5}}]}" ;;
        slerp) echo "{merge_method: slerp, dtype: bfloat16, base_model: q06-base, models: [{model: q06-a}, {model: q06-base}], parameters: {t: $t}}" ;;
        task_arithmetic) echo "{merge_method: task_arithmetic, dtype: bfloat16, base_model: q06-base, models: [{model: q06-a, parameters: {weight: 0.5}}, {model: q06-b, parameters: {weight: 0.5}}]}" ;;
        *) echo "{merge_method: $1, dtype: bfloat16, base_model: q06-base, models: [{model: q06-a, parameters: {weight: 0.5, density: 0.5}}, {model: q06-b, parameters: {weight: 0.5, density: 0.5}}]}" ;;
    esac
}
timed() { # name, command...
    local name=$1; shift
    /usr/bin/env python3 - "$name" "$@" <<'P'
import os, resource, subprocess, sys, time
began = time.time()
code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=open('err.log', 'w')).returncode
wall = time.time() - began
use = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f'{sys.argv[1]:26s} {wall:8.2f} s wall {use.ru_utime + use.ru_stime:8.2f} s CPU {use.ru_maxrss / 1e6:6.2f} GB  load {os.getloadavg()[0]:.1f}' + ('' if code == 0 else f'  FAILED ({code}), see err.log'), flush=True)
P
}
# The models go into the cache once; what is timed after that is the merge, its digest, and the copy out of the cache.
rm -rf bench-cache out
echo '{merge_method: passthrough, models: [{model: q06-base}]}' > warm.yml
for model in q06-base q06-a q06-b; do
    echo "{merge_method: passthrough, models: [{model: $model}]}" > warm.yml
    "$luthflow" --cache-dir bench-cache merge warm.yml out > /dev/null 2>&1; rm -rf out
done
cat q06-*/model.safetensors > /dev/null
timed "copy of one model" cp q06-base/model.safetensors copied; rm -f copied
for method in $methods; do
    config "$method" > "$method.yml"
    rm -rf out; timed "luthflow $method" "$luthflow" --cache-dir bench-cache merge "$method.yml" out; rm -rf out
    if [ -n "$python" ]; then
        timed "mergekit $method" "$python" -m mergekit.scripts.run_yaml "$method.yml" out --no-copy-tokenizer --quiet --random-seed 42 -j 1
        rm -rf out
    fi
done
rm -rf bench-cache
