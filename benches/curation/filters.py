"""The measuring of filters.sh."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIES = 10
SAMPLE = 250
STOP = ["de", "la", "le", "et", "à", "en", "l'", "des", "du", "les", "est", "d'", "un", "une", "il", "dans", "par", "au"]
CHAIN = [{"quality": {"profile": "fineweb2_fr", "roles": [], "mode": "flag"}}, {"fix_text": {"form": "none"}}, {"pii": {"types": ["email", "ip"]}}]
STEPS = {
    "read and write": [{"length": {"min_chars": 1}}],
    "FineWeb-2 chain": CHAIN,
    "quality (fineweb2_fr)": CHAIN[:1],
    "fix_text": CHAIN[1:2],
    "pii": CHAIN[2:],
    "language (whichlang)": [{"language": {"keep": ["fr"], "mode": "flag"}}],
}
LID = ROOT / "target/test-models/lid.176.ftz"
if LID.exists():
    STEPS["language (lid.176)"] = [{"language": {"keep": ["fr"], "detector": "fasttext", "model": "lid", "mode": "flag"}}]
    STEPS["classify (lid.176)"] = [{"classify": {"model": "lid", "keep": {"fr": 0.65}, "mode": "flag"}}]


def documents():
    """Pieces of novels of about 1,500 characters, whole paragraphs, and chats."""
    found, piece = [], ""
    for path in sorted((ROOT / "pipelines/data/fr_novels").glob("*.txt")):
        for line in path.read_text().split("\n"):
            piece += line + "\n"
            if len(piece) > 1500:
                found.append(piece.strip())
                piece = ""
    for line in (ROOT / "pipelines/data/fr_chats/oasst1_fr.jsonl").read_text().splitlines():
        found.append("\n".join(message["content"] for message in json.loads(line)["messages"]))
    return found


def cpu(usage):
    return usage.ru_utime + usage.ru_stime


def run(luthflow, folder, steps):
    """CPU seconds of a run whose source is in the cache already."""
    pipeline = {"version": 1, "nodes": {"docs": {"kind": "source", "dataset": "docs.jsonl"}, "kept": {"kind": "curate", "from": ["docs"], "steps": steps}}}
    if (folder / "lid").exists():
        pipeline["nodes"]["lid"] = {"kind": "source", "model": "lid"}
    (folder / "p.yaml").write_text(json.dumps(pipeline))
    sources = [name for name in pipeline["nodes"] if name != "kept"]
    subprocess.run([luthflow, "run", "p.yaml", *sources], cwd=folder, check=True, capture_output=True)
    before = cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
    subprocess.run([luthflow, "run", "p.yaml"], cwd=folder, check=True, capture_output=True)
    return cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - before


def datatrove(texts):
    from datatrove.data import Document
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
    from datatrove.utils.text import split_into_words

    filters = [
        GopherRepetitionFilter(
            dup_line_frac=0.264, dup_para_frac=0, dup_line_char_frac=0, dup_para_char_frac=0,
            top_n_grams=((2, 0.161), (3, 0.149), (4, 0.134)),
            dup_n_grams=((5, 0.15), (6, 0.141), (7, 0.131), (8, 0.121), (9, 0.111), (10, 0.1)), language="fra"),
        FineWebQualityFilter(line_punct_thr=0.1, short_line_thr=999, char_duplicates_ratio=0.1, new_line_ratio=0.185, language="fra"),
        GopherQualityFilter(
            min_avg_word_length=2, max_avg_word_length=11, max_non_alpha_words_ratio=0.812, min_stop_words=2, stop_words=STOP, language="fra"),
    ]
    split_into_words("un deux", "fra")
    times = {}

    def measure(name, work):
        start = time.process_time()
        for text in texts:
            work(text)
        times[name] = (time.process_time() - start) / len(texts)

    # Each filter asks for the words again and finds them in a cache of five texts, as in a pipeline.
    measure("quality (fineweb2_fr)", lambda text: [rule.filter(Document(text=text, id="0")) for rule in filters])
    measure("fix_text", FTFYFormatter().format)
    measure("pii", PIIFormatter().format)
    times["FineWeb-2 chain"] = sum(times.values())
    return times


def languages(texts):
    try:
        import fasttext
    except ImportError:
        return {}
    if not LID.exists():
        return {}
    loaded = fasttext.load_model(str(LID))

    def seconds(k):
        start = time.process_time()
        for text in texts:
            loaded.predict(text.replace("\n", " "), k=k)
        return (time.process_time() - start) / len(texts)

    best = seconds(1)
    return {"language (whichlang)": best, "language (lid.176)": best, "classify (lid.176)": seconds(-1)}


def main():
    luthflow, texts = sys.argv[1], documents()
    print(f"{len(texts)} documents, {sum(map(len, texts)) / len(texts):.0f} characters on average; luthflow reads each {COPIES} times; "
          f"datatrove {SAMPLE}; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if LID.exists():
            (folder / "lid").mkdir()
            shutil.copy(LID, folder / "lid")
        with open(folder / "docs.jsonl", "w") as file:
            for copy in range(COPIES):
                for text in texts:
                    file.write(json.dumps({"text": f"{text}\n{copy}."}, ensure_ascii=False) + "\n")
        ours = {name: min(run(luthflow, folder, [{"length": {"max_chars": 10**9 + again}}, *steps]) for again in range(3)) for name, steps in STEPS.items()}
    count = len(texts) * COPIES
    base = ours.pop("read and write") / count
    print(f"{'read and write':24}{base * 1e3:9.3f} ms")
    theirs = datatrove(texts[:: max(1, len(texts) // SAMPLE)])
    theirs |= languages(texts)
    for name, seconds in ours.items():
        alone = seconds / count - base
        line = f"{name:24}{alone * 1e3:9.3f} ms"
        if name in theirs:
            other = "fastText, C++" if name.startswith(("language", "classify")) else "datatrove"
            line += f"   {other} {theirs[name] * 1e3:8.3f} ms   {theirs[name] / alone:6.0f} times; reading and writing included {theirs[name] / (alone + base):.0f}"
        print(line)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
