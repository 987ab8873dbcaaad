"""See near.sh."""
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NOVELS = os.path.join(HERE, "../../pipelines/data/fr_novels")


def documents(path, count):
    """Writes documents of some 150 words; a third are copies of earlier ones, changed at rates from 0 to 0.15."""
    rng = random.Random(7)
    sentences = []
    for name in sorted(os.listdir(NOVELS)):
        if name.endswith(".txt"):
            with open(os.path.join(NOVELS, name), encoding="utf-8") as file:
                sentences += [part.strip() for line in file for part in line.split(". ") if 20 < len(part) < 400]
    vocabulary = sorted({word for sentence in sentences for word in sentence.split()})
    pool = []
    with open(path, "w", encoding="utf-8") as file:
        for row in range(count):
            if len(pool) < 50 or rng.random() < 0.66:
                # Words are exchanged, so that documents of the same sentences are not alike.
                words = " ".join(rng.choices(sentences, k=rng.randint(4, 14))).split()
                text = " ".join(rng.choice(vocabulary) if rng.random() < 0.5 else word for word in words)
                pool.append(text)
                if len(pool) > 20000:
                    pool[rng.randrange(20000)] = pool.pop()
            else:
                rate = rng.choice([0, 0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15])
                words = rng.choice(pool).split()
                text = " ".join(rng.choice(vocabulary) if rng.random() < rate else word for word in words)
            file.write(json.dumps({"id": f"r{row}", "text": text}, ensure_ascii=False) + "\n")


def measured(arguments, env=None):
    """Runs a program; returns CPU seconds of it and its children, and wall seconds."""
    begin, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(arguments, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{arguments}: {done.stdout}\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.time() - begin, done.stdout


def luthflow(program, rows, folder, scheme, more):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(f"{folder}/p.yaml", "w") as file:
        file.write(
            f"version: 1\nnodes:\n  raw: {{kind: source, dataset: {rows}}}\n  near:\n    kind: curate\n    from: [raw]\n"
            f"    columns: [id]\n    steps:\n      - dedup_fuzzy: {{scheme: {scheme}, {more}}}\n"
        )
    run = [program, "run", f"{folder}/p.yaml", "--cache-dir", f"{folder}/cache"]
    measured([*run, "raw"])
    figures = measured(run)
    shown = subprocess.run([program, "show", f"{folder}/p.yaml", "near", "--cache-dir", f"{folder}/cache", "--json"], capture_output=True, text=True)
    data = json.loads(shown.stdout)["path"] + "/rows/data.jsonl"
    with open(data, encoding="utf-8") as file:
        kept = {json.loads(line)["id"] for line in file}
    return figures, kept


def peer(name, rows, out):
    python = os.environ["TEXT_DEDUP_PYTHON"] if name == "text-dedup" else sys.executable
    return measured([python, __file__, "peer", name, rows, out])


def run_datatrove(rows, out, language):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Spaces(WordTokenizer):
        def word_tokenize(self, text):
            return text.split()

        def sent_tokenize(self, text):
            return [text]

        def span_tokenize(self, text):
            return [(0, len(text))]

    work = out + ".work"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(f"{work}/in")
    # One file a task: it shares work by files.
    with open(rows, encoding="utf-8") as file:
        lines = file.readlines()
    tasks = 2
    part = -(-len(lines) // tasks)
    for task in range(tasks):
        with open(f"{work}/in/{task:05}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(lines[task * part : (task + 1) * part])
    config = MinhashConfig(hash_config=HashConfig(precision=64, hash_fc="xxhash"))
    reader = lambda: JsonlReader(f"{work}/in", text_key="text", id_key="id")
    language = Spaces("xx") if language == "spaces" else language

    def stage(name, steps, tasks):
        LocalPipelineExecutor(
            steps, tasks=tasks, workers=min(tasks, 2), logging_dir=f"{work}/log/{name}", start_method="fork"
        ).run()

    stage("1", [reader(), MinhashDedupSignature(f"{work}/sig", config=config, language=language)], tasks)
    stage("2", [MinhashDedupBuckets(f"{work}/sig", f"{work}/buckets", config=config)], 14)
    stage("3", [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1)
    stage("4", [reader(), MinhashDedupFilter(f"{work}/remove"), JsonlWriter(f"{work}/out", compression=None)], tasks)
    kept = []
    for name in os.listdir(f"{work}/out"):
        with open(f"{work}/out/{name}", encoding="utf-8") as file:
            kept += [json.loads(line)["id"] for line in file]
    return kept


def shingles(text):
    import re

    words = [word for word in re.split(r"\W+", text.lower()) if word]
    return {" ".join(words[at : at + 5]) for at in range(len(words) - 4)}


def run_datasketch(rows):
    from datasketch import MinHash, MinHashLSH

    base, index, kept = MinHash(num_perm=112, scheme="affine32"), MinHashLSH(num_perm=112, params=(14, 8)), []
    with open(rows, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            minhash = MinHash(num_perm=112, permutations=base.permutations, scheme="affine32")
            minhash.update_batch({shingle.encode() for shingle in shingles(row["text"])})
            if not index.query(minhash):
                kept.append(row["id"])
            index.insert(row["id"], minhash)
    return kept


def run_rensa(rows):
    from rensa import RMinHash, RMinHashLSH

    index, kept = RMinHashLSH(threshold=0.7, num_perm=112, num_bands=14), []
    with open(rows, encoding="utf-8") as file:
        for number, line in enumerate(file):
            row = json.loads(line)
            minhash = RMinHash(num_perm=112, seed=1)
            minhash.update(list(shingles(row["text"])))
            if not index.query(minhash):
                kept.append(row["id"])
            index.insert(number, minhash)
    return kept


def run_text_dedup(rows, out):
    import datasets

    work = out + ".work"
    shutil.rmtree(work, ignore_errors=True)
    asked = f"--path json --data_files {rows} --split train --cache_dir {work}/cache --output {work}/out --column text --batch_size 10000"
    how = "--num_perm 112 --b 14 --r 8 --ngram 5 --hash_func xxh3 --hash_bits 64 --num_proc 2 --use_auth_token false"
    subprocess.run([sys.executable, "-m", "text_dedup.minhash", *asked.split(), *how.split()], check=True)
    return datasets.load_from_disk(f"{work}/out")["id"]


def as_peer(name, rows, out):
    if name == "text-dedup":
        kept = list(run_text_dedup(rows, out))
    elif name.startswith("datatrove"):
        kept = run_datatrove(rows, out, name.split(":")[1])
    else:
        kept = {"datasketch": run_datasketch, "rensa": run_rensa}[name](rows)
    with open(out, "w") as file:
        json.dump(kept, file)


def main(program, folder, count):
    os.makedirs(folder, exist_ok=True)
    rows, few = f"{folder}/rows-{count}.jsonl", f"{folder}/rows-{count // 10}.jsonl"
    if not os.path.exists(rows):
        documents(rows, count)
    with open(rows, encoding="utf-8") as file, open(few, "w", encoding="utf-8") as begin:
        begin.writelines(itertools.islice(file, count // 10))
    print(f"{count} documents, {os.path.getsize(rows) / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}")
    print(f"{'':34} {'CPU s':>8} {'wall s':>8} {'kept':>8}")
    show = lambda name, figures, kept: print(f"{name:34} {figures[0]:8.2f} {figures[1]:8.2f} {kept:8}", flush=True)
    same = "verify: null, short_rows: keep"
    ours = {}
    for name, scheme, more in [
        ("luthflow affine32", "affine32", same),
        ("luthflow datatrove64", "datatrove64", same + ", keep: [datatrove]"),
        ("luthflow affine32, verified", "affine32", "verify: 0.8"),
    ]:
        runs = [luthflow(program, rows, f"{folder}/luthflow", scheme, more) for _ in range(3)]
        figures, kept = min(runs, key=lambda run: run[0][0])
        ours[name] = (figures, kept)
        show(name, figures, len(kept))
    theirs = {}
    peers = [("datatrove:spaces", rows), ("datatrove:fra", few), ("datasketch", rows), ("rensa", rows)]
    if "TEXT_DEDUP_PYTHON" in os.environ:
        peers.append(("text-dedup", rows))
    for name, path in peers:
        figures = peer(name, path, f"{folder}/{name.replace(':', '-')}.json")
        with open(f"{folder}/{name.replace(':', '-')}.json") as file:
            theirs[name] = (figures, set(json.load(file)))
        show(name + (f" ({count // 10})" if path == few else ""), figures, len(theirs[name][1]))
    best = ours["luthflow datatrove64"][0][0]
    different = ours["luthflow datatrove64"][1] ^ theirs["datatrove:spaces"][1]
    print(f"rows on which datatrove64 and datatrove differ: {len(different)}")
    print(f"datatrove / luthflow datatrove64, CPU: {theirs['datatrove:spaces'][0][0] / best:.1f}")
    print(f"datatrove with spaCy, scaled from a tenth: {theirs['datatrove:fra'][0][0] * 10 / best:.0f} (its loading counted ten times)")
    fast = ours["luthflow affine32"][0][0]
    for name in [name for name, _ in peers[2:]]:
        print(f"{name} / luthflow affine32, CPU: {theirs[name][0][0] / fast:.1f}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if sys.argv[1] == "peer":
        as_peer(*sys.argv[2:])
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
