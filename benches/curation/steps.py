"""See steps.sh."""
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

program, rows = sys.argv[1], sys.argv[2]

# The step, and what Python makes of each row `r`; only repetitions go.
STEPS = {
    "nothing": ("", "r"),
    "where": ("where: \"id != 'r5'\"", "r if r['id'] != 'r5' else None"),
    "length": ("length: {min_words: 20}", "r if len(r['text'].split()) >= 20 else None"),
    "replace": ("replace: {pattern: '[0-9]{3}', with: N}", "dict(r, text=number.sub('N', r['text']))"),
    "normalize": ("normalize: {}", "dict(r, text=tidy(r['text']))"),
    "dedup_exact": ("dedup_exact: {keep: [first]}", "r if new(light(r['text'])) else None"),
    "toxicity": ("toxicity: {}", "r if not words.search(r['text'].lower()) else None"),
}

PYTHON = r'''
import hashlib, re, sys, unicodedata
try:
    import orjson
    loads, dumps = orjson.loads, orjson.dumps
except ImportError:
    import json
    loads, dumps = json.loads, lambda r: json.dumps(r, ensure_ascii=False).encode()
number, ends, empty, words = re.compile("[0-9]{3}"), re.compile(r"[ \t]+$", re.M), re.compile(r"\n{3,}"), re.compile(r"\b(?:connard|salope|encul\w+|batard)\b")
controls = dict.fromkeys([c for c in range(32) if c not in (9, 10)] + list(range(127, 160)) + [0xFEFF])
def tidy(t): return empty.sub("\n\n", ends.sub("", unicodedata.normalize("NFC", t.translate(controls)))).strip()
def light(t): return unicodedata.normalize("NFC", " ".join(t.lower().split()))
seen = set()
def new(t):
    h = hashlib.blake2b(t.encode(), digest_size=16).digest()
    if h in seen: return False
    seen.add(h); return True
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as out:
    for line in source:
        r = loads(line)
        r = EXPRESSION
        if r is not None: out.write(dumps(r) + b"\n")
'''


def measured(arguments, **more):
    begin, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, check=True, capture_output=True, **more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.time() - begin


def ours(step, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    steps = f"[{{{step}}}]" if step else "[]"
    nodes = f"  raw: {{kind: source, dataset: {rows}}}\n  one: {{kind: curate, from: [raw], columns: [id], steps: {steps}}}\n"
    (folder / "p.yaml").write_text(f"version: 1\nnodes:\n{nodes}")
    subprocess.run([program, "run", "p.yaml", "raw"], cwd=folder, check=True, capture_output=True)
    return measured([program, "run", "p.yaml"], cwd=folder)


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary) / "ours"
    print(f"load {os.getloadavg()[0]:.1f}, {os.path.getsize(rows) / 1e6:.0f} MB")
    print("| step | CPU s | wall s | Python, CPU s | ratio |\n|---|--:|--:|--:|--:|")
    for name, (step, expression) in STEPS.items():
        cpu, wall = map(min, zip(*(ours(step, folder) for _ in range(3))))
        code = PYTHON.replace("EXPRESSION", expression)
        peer, _ = min(measured([sys.executable, "-c", code, rows, f"{temporary}/out.jsonl"]) for _ in range(3))
        print(f"| `{name}` | {cpu:.2f} | {wall:.2f} | {peer:.2f} | {peer / cpu:.1f} |", flush=True)
    print(f"load after {os.getloadavg()[0]:.1f}")
