"""What bench.sh runs: lm-evaluation-harness, then luthflow, on the same rows of one task after the other.

For each: seconds of the whole process and its greatest resident memory, and its own seconds: prompts, model and scores, without the
start of the program and the taking in of the model (with luthflow that is its node `scores`). Ratios: own seconds of both, luthflow's
whole process against lm-eval's own seconds, whole processes.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

model, data, python, luthflow, limit, threads = sys.argv[1:7]
HERE = os.path.dirname(os.path.abspath(__file__))
# ours in lm_eval_golden.py: luthflow's name
TASKS = {"arc_challenge": "arc-challenge", "hellaswag": "hellaswag", "mmlu": "mmlu", "mmlu_5shot": "mmlu", "gsm8k": "gsm8k"}
ONLY = os.environ.get("TASKS", " ".join(TASKS)).split()


def measured(command, environment):
    start = time.time()
    child = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE if "VERBOSE" not in os.environ else None)
    output = child.stdout.read().decode()
    problem = child.stderr.read().decode() if child.stderr else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed: {problem[-2000:]}")
    return time.time() - start, usage.ru_maxrss / 1024, output + problem


def of_lm_eval(task, scratch):
    command = [python, os.path.join(HERE, "lm_eval_golden.py"), model, data, data, scratch, task]
    seconds, memory, output = measured(command, {"OMP_NUM_THREADS": threads, "ROWS": f"{task}={limit}" if task != "mmlu_5shot" else "", "BATCH": os.environ.get("BATCH", "8")})
    own = float(re.search(r"in ([0-9.]+) s", output)[1])
    with open(os.path.join(scratch, task + ".jsonl"), encoding="utf-8") as file:
        header = json.loads(file.readline())
    return seconds, own, memory, header["totals"], header["rows"]


def of_luthflow(task, scratch):
    out = os.path.join(scratch, "out.json")
    # A cache of its own: nothing was answered before.
    rows = "40" if task == "mmlu_5shot" else limit
    command = [luthflow, "--cache-dir", os.path.join(scratch, "cache"), "eval", "--model", model, "--tasks", TASKS[task], "--limit", rows]
    command += ["--profile", "lm-eval", "--output", out, "--data", f"{TASKS[task]}={data}/{task.removesuffix('_5shot')}.jsonl"]
    if task == "mmlu_5shot":
        command += ["--shots", "5", "--examples", f"mmlu={data}/mmlu_dev.jsonl"]
    if task == "gsm8k":
        command += ["--examples", f"gsm8k={data}/gsm8k_train.jsonl", "--max-tokens", "256"]
    seconds, memory, told = measured(command + os.environ.get("LUTHFLOW_ARGS", "").split(), {"RAYON_NUM_THREADS": threads})
    with open(out, encoding="utf-8") as file:
        results = json.load(file)["results"][TASKS[task]]
    minutes, own, unit = re.search(r"done +scores +(?:(\d+) min )?([0-9.]+) (m?s)", re.sub("\x1b\\[[0-9;]*m", "", told)).groups()
    return seconds, 60 * int(minutes or 0) + float(own) / (1000 if unit == "ms" else 1), memory, results


def main():
    for task in ONLY:
        with tempfile.TemporaryDirectory() as scratch:
            wall, own, memory, totals, rows = of_lm_eval(task, scratch)
            print(f"{task}: lm-eval {own:.1f} s of {wall:.1f} s, {memory:.0f} MiB, {rows} rows {totals}", flush=True)
            if luthflow == "none":
                continue
            whole, ours, peak, results = of_luthflow(task, scratch)
            print(f"{task}: luthflow {ours:.1f} s of {whole:.1f} s, {peak:.0f} MiB, {results}")
            ratios = [own / ours, own / whole, wall / whole]
            print(f"{task}: own seconds {ratios[0]:.2f}, own against whole {ratios[1]:.2f}, whole {ratios[2]:.2f} times as fast", flush=True)


main()
