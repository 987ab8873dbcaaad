"""Measures how long tools take over a graph of trivial nodes in which nothing changed, one after the other on one machine.

measure.py FOLDER luthflow=PROGRAM[,SIZE...] [ninja=...] [turbo=...] [snakemake=...] [dvc=...]

Per tool, shape and size: the graph is written and brought up to date once (graphs that lie in FOLDER already are used as
they are), then looked at again some times. The figures are those of the look with the least CPU time, which other work
on the machine disturbs least: CPU seconds (user and system, children included), wall seconds, and the peak memory of the
largest process.
"""

import datetime
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = os.environ.get("SHAPES", "wide chain diamond").split()

# What brings a graph up to date, and what looks at it again.
COMMANDS = {
    "luthflow": (["run"], {"run": ["run"], "plan": ["plan"], "status": ["status"]}),
    "ninja": ([], {"ninja": []}),
    "turbo": (["run", "build", "--no-daemon"], {"turbo": ["run", "build", "--no-daemon"]}),
    "snakemake": (["--cores", "1", "--touch", "-q"], {"snakemake": ["--cores", "1", "-q"]}),
    "dvc": (["repro"], {"dvc": ["repro"]}),
}
TIMES = {"dvc": 1, "snakemake": 2, "turbo": 3}
ENVIRONMENT = {**os.environ, "DVC_NO_ANALYTICS": "1", "TURBO_TELEMETRY_DISABLED": "1", "NO_COLOR": "1"}


def run(command, folder):
    """Runs a command and returns its CPU seconds, wall seconds and peak memory in MB."""
    log = open(os.path.join(folder, "..", os.path.basename(folder) + ".log"), "wb")
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{command} failed in {folder}: see {log.name}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def prepare(tool, program, shape, size, folder):
    if os.path.exists(os.path.join(folder, ".prepared")):
        return
    if not os.path.isdir(folder):
        subprocess.run([sys.executable, f"{HERE}/generate.py", tool, shape, str(size), folder], check=True)
    if tool in ("dvc", "turbo"):
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    if tool == "dvc":
        run([program, "init", "-q"], folder)
    # Twice, and the second time when all files are old enough for their times to be trusted.
    for _ in range(2):
        run([program, *COMMANDS[tool][0]], folder)
        time.sleep(2.1)
    open(os.path.join(folder, ".prepared"), "w").close()


def main():
    root, *tools = sys.argv[1:]
    os.makedirs(root, exist_ok=True)
    model = next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    load = " ".join(open("/proc/loadavg").read().split()[:3])
    print(f"{datetime.date.today()}, {os.cpu_count()} cores of {model}, load {load} at the start\n")
    print("| tool | shape | nodes | CPU s | wall s | peak MB | CPU, times luthflow run |")
    print("|---|---|--:|--:|--:|--:|--:|")
    ours = {}
    for tool in tools:
        name, rest = tool.split("=")
        program, *sizes = rest.split(",")
        for size in map(int, sizes or ["1000"]):
            for shape in SHAPES if name in ("luthflow", "ninja") else SHAPES[:1]:
                folder = os.path.join(root, f"{name}-{shape}-{size}")
                prepare(name, program, shape, size, folder)
                for label, arguments in COMMANDS[name][1].items():
                    cpu, wall, memory = min(run([program, *arguments], folder) for _ in range(TIMES.get(name, 5)))
                    if label == "run":
                        ours[shape, size] = cpu
                    ratio = f"{cpu / ours[shape, size]:.2f}" if (shape, size) in ours else ""
                    label = f"luthflow {label}" if name == "luthflow" else label
                    print(f"| {label} | {shape} | {size:,} | {cpu:.3f} | {wall:.3f} | {memory:.0f} | {ratio} |", flush=True)


main()
