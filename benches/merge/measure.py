"""What bench.sh runs. Each figure is the least of REPEAT runs, with the models in the page cache.

"Command" is `luthflow merge`: it compares the models with their digests, merges, makes the digest of the result, keeps it in its
cache and copies it out. "Merge" is the child process of it that merges, which is what MergeKit does. Its anonymous memory
is what it holds beside the mapped files, whose pages the system takes back when it needs them.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

folder, luthflow, python = sys.argv[1:4]
methods = sys.argv[4:] or ["linear", "slerp", "task_arithmetic", "ties", "dare_ties"]
repeat = int(os.environ.get("REPEAT", "3"))
os.chdir(folder)
results = os.environ.get("OUT", ".")
out, cache = os.path.join(results, "bench-out"), os.path.join(results, "bench-cache")


def config(method):
    sparse = {"weight": 0.5, "density": 0.5}
    plain = {"weight": 0.5}
    two = lambda p: [{"model": "q06-a", "parameters": p}, {"model": "q06-b", "parameters": p}]
    pair = [{"model": "q06-a"}, {"model": "q06-base"}]
    t = [{"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]}, {"value": 0.5}]
    made = {"merge_method": method, "dtype": "bfloat16", "base_model": "q06-base"}
    if method == "linear":
        del made["base_model"]
        made["models"] = [{"model": name, "parameters": plain} for name in ("q06-a", "q06-base")]
    elif method == "slerp":
        made |= {"models": pair, "parameters": {"t": t}}
    elif method == "nearswap":
        made |= {"models": pair, "parameters": {"t": 0.1}}
    elif method == "arcee_fusion":
        made["models"] = pair
    elif method in ("task_arithmetic", "nuslerp", "multislerp"):
        made["models"] = two(plain)
    elif method in ("karcher", "model_stock", "ram", "ramplus_tl", "sce"):
        made["models"] = [{"model": "q06-a"}, {"model": "q06-b"}]
        if method == "karcher":
            del made["base_model"]
    else:
        made["models"] = two(sparse)
    return made


def timed(command, stdin=None):
    """Wall, CPU, peak and anonymous memory of a program and its children; None if it failed."""
    began = time.time()
    done, anonymous = threading.Event(), [0]
    with open("err.log", "w") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE if stdin else None, stdout=subprocess.DEVNULL, stderr=errors)
    if stdin:
        process.stdin.write(stdin)
        process.stdin.flush()

    def watch():
        while not done.wait(0.02):
            try:
                with open(f"/proc/{process.pid}/status") as status:
                    lines = [line for line in status if line.startswith("RssAnon")]
                    anonymous[0] = max([anonymous[0]] + [int(line.split()[1]) for line in lines])
            except OSError:
                pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, use = os.wait4(process.pid, 0)
    wall = time.time() - began
    process.returncode = status
    done.set()
    watcher.join()
    if status != 0:
        print("FAILED:", " ".join(command)[:100], open("err.log").read()[-500:], file=sys.stderr)
        return None
    return wall, use.ru_utime + use.ru_stime, use.ru_maxrss / 1e6, anonymous[0] / 1e6


def best(run):
    runs = [run(i) for i in range(repeat)]
    return tuple(min(each) for each in zip(*runs)) if all(runs) else None


def clear():
    shutil.rmtree(out, ignore_errors=True)


def warm():
    """Reads the models, so that the system holds them: it gives pages back that nobody looked at for a while, and in a
    virtual machine the first look at a page that comes back is slow and counts as the program's own time."""
    for name in ("q06-base", "q06-a", "q06-b"):
        with open(os.path.join(name, "model.safetensors"), "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def command(method, i):
    clear()
    warm()
    with open("bench.yml", "w") as file:
        json.dump(config(method), file)
    return timed([luthflow, "--cache-dir", cache, "merge", "bench.yml", out, "--seed", str(42 + i)])


def alone(method):
    """The child process on its own, fed with the request that the command would send."""
    clear()
    warm()
    os.makedirs(out)
    made, inputs = config(method), {}
    places = [(f"models[{i}].model", model["model"]) for i, model in enumerate(made["models"])]
    base = made.get("base_model")
    if base and base not in [name for _, name in places]:
        places.insert(0, ("base_model", base))
    for place, name in places:
        path = os.path.abspath(name) + "/"
        inputs["config." + place] = [{"name": name, "label": name, "axes": {}, "path": path, "digest": None, "chosen": False}]
    fields = {"config": made, "nodes": {}, "seed": 42, "shard_size": 5_000_000_000, "precision": "mergekit"}
    where = os.path.abspath(out)
    request = {"kind": "merge", "fields": fields, "inputs": inputs, "out": where, "scratch": where, "threads": os.cpu_count()}
    return timed([luthflow, "node-worker"], (json.dumps(request) + "\n").encode())


def mergekit(method):
    clear()
    warm()
    with open("bench.yml", "w") as file:
        json.dump(config(method), file)
    flags = ["--no-copy-tokenizer", "--no-write-model-card", "--quiet", "--random-seed", "42", "-j", "1"]
    return timed([python, "-m", "mergekit.scripts.run_yaml", "bench.yml", out, *flags])


def show(name, figures):
    if figures:
        wall, cpu, peak, anonymous = figures
        print(f"{name:28s} {wall:8.2f} s wall {cpu:8.2f} s CPU {peak:6.2f} GB peak {anonymous:6.3f} GB anonymous  load {os.getloadavg()[0]:.1f}", flush=True)


# The models go into the cache once, and into the page cache.
shutil.rmtree(cache, ignore_errors=True)
for name in ("q06-base", "q06-a", "q06-b"):
    clear()
    with open("bench.yml", "w") as file:
        json.dump({"merge_method": "passthrough", "models": [{"model": name}]}, file)
    timed([luthflow, "--cache-dir", cache, "merge", "bench.yml", out])
copied = os.path.join(results, "copied")
show("copy of one model", best(lambda i: timed(["cp", "q06-base/model.safetensors", copied])))
os.remove(copied)
for method in methods:
    ours, merge = best(lambda i: command(method, i)), best(lambda i: alone(method))
    show(f"luthflow {method}", ours)
    show("  its merge alone", merge)
    if python and ours and merge:
        theirs = mergekit(method)
        show(f"mergekit {method}", theirs)
        if theirs:
            times = lambda mine, which: f"{theirs[which] / mine[which]:.1f}"
            print(f"  MergeKit takes, times the command: {times(ours, 0)} wall, {times(ours, 1)} CPU, {times(ours, 2)} memory; "
                  f"times the merge alone: {times(merge, 0)} wall, {times(merge, 1)} CPU, {times(merge, 2)} memory", flush=True)
clear()
shutil.rmtree(cache, ignore_errors=True)
