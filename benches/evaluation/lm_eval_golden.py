"""Runs lm-evaluation-harness on a model and keeps, for every row, what luthflow must reproduce.

    lm_eval_golden.py MODEL FREE RESTRICTED OUT [TASK...]

The tasks are lm-eval's own YAML files: only where the rows come from is overridden, with the files data.py cuts. OUT gets one
JSONL a task: a header line, then one line a row. The prompt is kept as text for the first rows of sets that may be passed on
and as a hash for all (see tests/fixtures/eval/README.md). Without TASK, every task of the table below.
"""

import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp())
os.environ.setdefault("HF_METRICS_CACHE", tempfile.mkdtemp())
import lm_eval  # noqa: E402
import torch  # noqa: E402
from lm_eval.api.group import Group  # noqa: E402
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.config.group import GroupConfig  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

# name of ours: (lm-eval's task, file, its split, rows, chat template, overrides)
TASKS = {
    "arc_challenge": ("arc_challenge", "arc_challenge", "test", 200, False, {}),
    "arc_challenge_chat": ("arc_challenge", "arc_challenge", "test", 100, True, {}),
    "mmlu": ("mmlu", "mmlu", "test", 200, False, {}),
    "mmlu_5shot": ("mmlu", "mmlu", "test", 40, False, {"num_fewshot": 5}),
    "hellaswag": ("hellaswag", "hellaswag", "validation", 200, False, {}),
    "exams_fr": ("french_bench_arc_challenge", "exams_fr", "test", 100, False, {}),
    "arc_challenge_fr": ("french_bench_arc_challenge", "arc_challenge_fr", "test", 200, False, {}),
    "m_mmlu_fr": ("m_mmlu_fr", "m_mmlu_fr", "test", 200, False, {}),
    "clams_fr": ("multiblimp_fra", "clams_fr", "train", 200, False, {}),
    "xwinograd_fr": ("xwinograd_fr", "xwinograd_fr", "test", 200, False, {}),
    "truthfulqa_fr_mc1": ("truthfulqa_fr_mc1", "truthfulqa_fr", "val", 25, False, {}),
    "truthfulqa_fr_mc2": ("truthfulqa_fr_mc2", "truthfulqa_fr", "val", 25, False, {}),
    "gsm8k": ("gsm8k", "gsm8k", "test", 200, False, {}),
    "gsm8k_chat": ("gsm8k", "gsm8k", "test", 50, True, {}),
    "ifeval_fr": ("ifeval", "ifeval_fr", "train", 200, False, {"max_gen_toks": 256}),
}
# Fewer rows, by name, as ROWS="gsm8k=100 ifeval_fr=100": generated text is long to make.
FEWER = dict(pair.split("=") for pair in os.environ.get("ROWS", "").split())
RESTRICTED = {"arc_challenge_fr", "m_mmlu_fr", "truthfulqa_fr"}
TEXTS = 5


def task_of(manager, name, overrides):
    return ConfigurableTask(config=manager._factory._load_full_config(manager._index[name], overrides))


def local(files, overrides):
    """Rows from local files instead of the hub, in the splits that are named."""
    return {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}, "training_split": None, "validation_split": None, "test_split": None, "fewshot_split": None} | overrides


def build(manager, ours, folders, scratch):
    name, file, split, rows, _, overrides = TASKS[ours]
    folder = folders[1] if file in RESTRICTED else folders[0]
    path = os.path.join(folder, file + ".jsonl")
    lines = open(path, encoding="utf-8").read().splitlines()[: int(FEWER.get(ours, rows))]
    if ours == "mmlu_5shot":
        # Four rows of each of the ten subjects that there are examples of.
        lines = lines[:40]
    if name == "mmlu":
        return mmlu(manager, ours, lines, folder, scratch, overrides)
    path = os.path.join(scratch, f"{ours}.jsonl")
    open(path, "w", encoding="utf-8").write("\n".join(lines) + "\n")
    files, kept = {split: path}, {"task": ours}
    kept["validation_split" if split in ("validation", "val") else "test_split"] = split
    if name == "gsm8k":
        files["train"] = os.path.join(folder, "gsm8k_train.jsonl")
        kept |= {"training_split": "train", "fewshot_split": "train", "fewshot_config": {"sampler": "first_n"}}
    if "max_gen_toks" in overrides:
        settings = manager._factory._load_full_config(manager._index[name], None)["generation_kwargs"]
        kept["generation_kwargs"] = settings | overrides
    return [task_of(manager, name, local(files, kept))], None


def mmlu(manager, ours, lines, folder, scratch, overrides):
    """One task a subject, weighed by size into a group, as lm-eval does."""
    subjects = {}
    for line in lines:
        subjects.setdefault(json.loads(line)["subject"], []).append(line)
    dev = [json.loads(line) for line in open(os.path.join(folder, "mmlu_dev.jsonl"), encoding="utf-8")] if overrides else []
    group = Group.from_config(GroupConfig(group=ours, task=[], aggregate_metric_list=[{"metric": "acc", "weight_by_size": True}]))
    for subject, kept in subjects.items():
        files = {"test": os.path.join(scratch, f"{subject}.jsonl"), "dev": os.path.join(scratch, f"{subject}_dev.jsonl")}
        open(files["test"], "w", encoding="utf-8").write("\n".join(kept) + "\n")
        open(files["dev"], "w", encoding="utf-8").write("\n".join(json.dumps(row) for row in dev if row["subject"] == subject) + "\n")
        if not overrides:
            del files["dev"]
        splits = {"test_split": "test", "fewshot_split": "dev" if overrides else None}
        group.add(task_of(manager, f"mmlu_{subject}", local(files, splits | overrides)))
    return [group], list(subjects)


def digest(parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def line_of(index, sample, with_text):
    arguments = [list(pair.values()) if isinstance(pair, dict) else pair for pair in (sample["arguments"].values() if isinstance(sample["arguments"], dict) else sample["arguments"])]
    row = {"i": index}
    if isinstance(arguments[0][1], str):
        row["sha"] = digest([part for pair in arguments for part in pair])
        if with_text:
            contexts = [pair[0] for pair in arguments]
            row["prompt"] = contexts[0] if len(set(contexts)) == 1 else contexts
            row["choices"] = [pair[1] for pair in arguments]
        pairs = [answer[0] for answer in sample["resps"]]
        row["ll"] = [round(float(pair[0]), 5) for pair in pairs]
        row["greedy"] = [int(str(pair[1]) == "True") for pair in pairs]
    else:
        row["sha"] = digest([arguments[0][0]])
        if with_text:
            row["prompt"] = arguments[0][0]
        row["text"] = sample["resps"][0][0]
    return row | scores(sample)


def scores(sample):
    def plain(value):
        return value if isinstance(value, (bool, int, str, list)) else round(float(value), 6)
    named = "" if sample["filter"] == "none" else ":" + sample["filter"]
    kept = {metric + named: plain(sample[metric]) for metric in sample["metrics"]}
    if named:
        kept["extracted" + named] = sample["filtered_resps"][0]
    return kept


def keep(ours, answer, members, seconds, out):
    names = [f"mmlu_{subject}" for subject in members] if members else [ours]
    restricted = TASKS[ours][1] in RESTRICTED
    lines = []
    for name in names:
        by_row = {}
        for sample in sorted(answer["samples"][name], key=lambda sample: sample["doc_id"]):
            at = by_row.get(sample["doc_id"])
            if at is None:
                by_row[sample["doc_id"]] = at = line_of(len(lines), sample, not restricted and len(lines) < TEXTS)
                lines.append(at)
            at |= scores(sample)
    config = task_settings(answer["configs"][names[0]])
    results = answer["groups"][ours] if members else answer["results"][ours]
    totals = {key.replace(",none", "").replace(",", ":"): round(value, 6) for key, value in results.items() if isinstance(value, float)}
    header = {"harness": "lm-eval " + importlib.metadata.version("lm_eval"), "task": TASKS[ours][0], "data": TASKS[ours][1], "rows": len(lines),
              "chat_template": TASKS[ours][4], "max_length": 2048, **config, "totals": totals}
    with open(os.path.join(out, ours + ".jsonl"), "w", encoding="utf-8") as file:
        for line in [header] + lines:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{ours}: {len(lines)} rows in {seconds:.1f} s {totals}", flush=True)


def task_settings(config):
    kept = {"shots": config.get("num_fewshot") or 0}
    if config["output_type"] == "generate_until":
        kept["generation"] = config["generation_kwargs"]
    return kept


def main():
    model, free, restricted, out = sys.argv[1:5]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    os.makedirs(out, exist_ok=True)
    manager = TaskManager()
    lm = lm_eval.api.registry.get_model("hf")(pretrained=model, dtype="float32", device="cpu", batch_size=int(os.environ.get("BATCH", "8")), max_length=2048)
    for ours in sys.argv[5:] or list(TASKS):
        with tempfile.TemporaryDirectory() as scratch:
            tasks, members = build(manager, ours, (free, restricted), scratch)
            start = time.time()
            answer = lm_eval.simple_evaluate(model=lm, tasks=tasks, apply_chat_template=TASKS[ours][4], fewshot_as_multiturn=TASKS[ours][4], task_manager=manager)
            keep(ours, answer, members, time.time() - start, out)


main()
