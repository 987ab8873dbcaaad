"""What readers.sh runs: see there. The rows are made up (three turns of French words, 1.5 kB) and the same every time."""
import gzip, io, json, os, pathlib, random, resource, shutil, subprocess, sys, time

program, folder, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
WORDS = "le la maison était grande et l'été venait trop tôt pour ceux qui aimaient encore les longues soirées d'hiver où".split()


def rows():
    rng = random.Random(7)
    text = lambda: " ".join(rng.choices(WORDS, k=rng.randint(40, 110)))
    for n in range(count):
        roles = ["user", "assistant", "user"]
        yield {"id": n, "messages": [{"role": role, "content": text()} for role in roles], "source": "made", "score": rng.random()}


def make():
    import pyarrow as pa, pyarrow.parquet as pq, zstandard
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()).encode()
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "a.jsonl.zst").write_bytes(zstandard.ZstdCompressor(3).compress(lines))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines, 6))
    table = pa.Table.from_pylist(list(rows()))
    pq.write_table(table, folder / "a.parquet", compression="zstd")
    with pa.ipc.new_file(folder / "a.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=10_000)


def ours(name):
    """The folder of a pipeline over one file, with nothing in its cache."""
    home = folder / "ours"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    nodes = f"  data: {{kind: source, dataset: ../{name}, on_bad_row: skip}}\n  one: {{kind: curate, from: [data], steps: [{{where: \"id == 5\"}}]}}\n"
    (home / "pipeline.yaml").write_text(f"version: 1\nnodes:\n{nodes}")
    return home


def run(home, node):
    subprocess.run([program, "run", node], cwd=home, check=True, capture_output=True)


def ours_timed(name):
    """Looking into all rows, and making values of them."""
    home = ours(name)
    return timed(lambda: run(home, "data")), timed(lambda: run(home, "one"))


PEERS = {
    "a.jsonl": "import json; n = sum(1 for line in open(f, encoding='utf-8') if json.loads(line))",
    "a.jsonl.gz": "import gzip, json; n = sum(1 for line in gzip.open(f, 'rt', encoding='utf-8') if json.loads(line))",
    "a.jsonl.zst": "import io, json, zstandard; n = sum(1 for line in io.TextIOWrapper(zstandard.open(f, 'rb'), encoding='utf-8') if json.loads(line))",
    "a.parquet": "import pyarrow.parquet as pq; n = sum(len(b.to_pylist()) for b in pq.ParquetFile(f).iter_batches(1024))",
    "a.arrow": "import pyarrow as pa; r = pa.ipc.open_file(f); n = sum(len(r.get_batch(i).to_pylist()) for i in range(r.num_record_batches))",
}


def timed(work):
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.time() - began


def python(code, name):
    subprocess.run([sys.executable, "-c", f"f = {str(folder / name)!r}; {code}"], check=True, capture_output=True)


if not (folder / "a.arrow").exists():
    make()
print(f"load {os.getloadavg()[0]:.1f}, {count} rows")
print("| file | MB | source: CPU s | wall s | rows/s | curate: CPU s | wall s | Python (json, pyarrow) CPU s | datasets, streaming, CPU s |")
print("|---|---|---|---|---|---|---|---|---|")
for name, code in PEERS.items():
    both = [ours_timed(name) for _ in range(3)]
    (mine, wall), (made, made_wall) = min(one for one, _ in both), min(two for _, two in both)
    peer, _ = min(timed(lambda: python(code, name)) for _ in range(2))
    kind = {"jsonl": "json", "parquet": "parquet", "arrow": "arrow"}[name.split(".")[1]]
    hub = f"from datasets import load_dataset; n = sum(1 for _ in load_dataset({kind!r}, data_files=f, split='train', streaming=True))"
    try:
        other = f"{timed(lambda: python(hub, name))[0]:.2f}"
    except subprocess.CalledProcessError:
        other = "-"
    size = (folder / name).stat().st_size / 1e6
    print(f"| {name} | {size:.0f} | {mine:.2f} | {wall:.2f} | {count / wall:.0f} | {made:.2f} | {made_wall:.2f} | {peer:.2f} | {other} |", flush=True)
