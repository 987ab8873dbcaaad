"""Runs lighteval 0.10.0 the way Luth ran it and keeps, for every row, what the profile `luth` must reproduce.

    lighteval_golden.py MODEL FREE RESTRICTED OUT [TASK...]

Chat template on every task, system prompt, no examples, greedy. Two things differ from Luth: the backend is transformers on the
CPU in f32 (theirs was vLLM in bf16), and answers stop at LIMIT tokens (theirs at 8192). lighteval's logic is not touched: only
where rows come from, a look-up of the model's revision on the hub, and that what a batch holds twice is computed once. A metric
of the kind pass@k asks for sampling even when one answer is wanted; with top_k = 1 that is greedy. OUT gets one JSONL a task (see
tests/fixtures/eval/README.md).
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import types

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
import numpy as np  # noqa: E402
import torch  # noqa: E402
from lighteval.logging.evaluation_tracker import EvaluationTracker  # noqa: E402
from lighteval.metrics.dynamic_metrics import (  # noqa: E402
    ExprExtractionConfig,
    IndicesExtractionConfig,
    LatexExtractionConfig,
    compare_gold_target,
    extract_target_from_pred,
    get_extraction_regexes,
    multilingual_extractive_match_metric,
)
from lighteval.metrics.metrics import Metrics  # noqa: E402
from lighteval.metrics.metrics_sample import PassAtK  # noqa: E402
from lighteval.metrics.utils.metric_utils import MetricCategory, MetricUseCase, SampleLevelMetric  # noqa: E402
from lighteval.models.transformers.transformers_model import TransformersModel, TransformersModelConfig  # noqa: E402
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters  # noqa: E402
from lighteval.tasks import default_prompts, default_tasks, lighteval_task  # noqa: E402
from lighteval.tasks.extended.ifeval.main import ifeval  # noqa: E402
from lighteval.tasks.lighteval_task import LightevalTaskConfig  # noqa: E402
from lighteval.tasks.requests import Doc  # noqa: E402
from lighteval.tasks.templates.multichoice import get_mcq_prompt_function  # noqa: E402
from lighteval.tasks.templates.utils.formulation import MCFFormulation  # noqa: E402
from lighteval.utils.language import Language  # noqa: E402
from tokenizers.processors import TemplateProcessing  # noqa: E402

SYSTEM = "You are a helpful assistant."
LIMIT = int(os.environ.get("LIMIT", "256"))
TEXTS = 5
LETTERS = "ABCD"


def letters(language):
    target = [IndicesExtractionConfig(prefix_for_extraction="NativeLetters")]
    return multilingual_extractive_match_metric(language=language, gold_extraction_target=target, pred_extraction_target=target, precision=6)


def formulas(text, language):
    regexes = get_extraction_regexes(formatted_doc=None, target_types=[ExprExtractionConfig(), LatexExtractionConfig()], language=language)
    return extract_target_from_pred(text, regexes)


def pass_at_1(name, **how):
    return SampleLevelMetric(metric_name=name, sample_level_fn=PassAtK(k=1, n=1, **how).compute, category=MetricCategory.GENERATIVE_SAMPLING,
                             use_case=MetricUseCase.REASONING, corpus_level_fn=np.mean, higher_is_better=True)


# The French tasks that Luth added to lighteval.
GPQA_FR = "Répondez à la question à choix multiple suivante. La dernière ligne de votre réponse doit avoir le format suivant : 'Réponse : $LETTRE' (sans les guillemets) où LETTRE est l'une de A, B, C ou D. Réfléchissez étape par étape avant de répondre."
MATH_FR = "Résous le problème de mathématiques suivant de manière efficace et claire. La dernière ligne de ta réponse doit être au format suivant : 'Donc, la réponse finale est : $\\boxed{RÉPONSE}$. J’espère que c’est correct' (sans les guillemets), où RÉPONSE est simplement le nombre ou l’expression qui résout le problème. Raisonne étape par étape avant de répondre."
HELLASWAG_FR = "Voici une série de questions à choix multiples (avec réponses) pour évaluer le bon sens.\n\n"


def arc_fr(line, task_name=None):
    return Doc(task_name=task_name, query=f"Question: {line['question']}\nAnswer:", choices=[f" {choice}" for choice in line["choices"]],
               gold_index=LETTERS.index(line["answerKey"]))


def gpqa_fr(line, task_name=None):
    import random
    gold = random.randint(0, 3)
    choices = [line[f"Incorrect Answer {index}"] for index in (1, 2, 3)]
    choices.insert(gold, line["Correct Answer"])
    query = GPQA_FR + f"\n\n{line['problem']}\n\n" + "\n".join(f"{letter}) {choice}" for letter, choice in zip(LETTERS, choices))
    return Doc(task_name=task_name, query=query, choices=list(LETTERS), gold_index=gold)


def math_fr(line, task_name=None):
    return Doc(task_name=task_name, query=MATH_FR + "\n\n" + line["problem"], gold_index=0, choices=[line["solution"]])


def hellaswag_fr(line, task_name=None):
    query = HELLASWAG_FR + f"Question: {line['ctx_a']} {line['ctx_b'].capitalize()}\n"
    query += "".join(f"{letter}. {ending}\n" for letter, ending in zip(LETTERS, line["endings"])) + "Réponse:"
    return Doc(task_name=task_name, query=query, choices=[f" {letter}" for letter in LETTERS], gold_index=int(line["label"]))


def mmlu_fr(subset):
    adapter = lambda line: {"question": line["Question"], "choices": [line[k] for k in LETTERS], "gold_idx": LETTERS.index(line["Answer"])}  # noqa: E731
    return task("mmlu_fr" + subset, get_mcq_prompt_function(Language.FRENCH, adapter, formulation=MCFFormulation()), "openai/MMMLU", "FR_FR" + subset, "test", [Metrics.loglikelihood_acc])


def task(name, prompt, repo, subset, split, metrics, size=LIMIT):
    return LightevalTaskConfig(name=name, suite=["community"], prompt_function=prompt, hf_repo=repo, hf_subset=subset, hf_avail_splits=[split],
                               evaluation_splits=[split], few_shots_split=None, few_shots_select=None, generation_size=size, metric=metrics, stop_sequence=[])


FRENCH = Language.FRENCH
custom = types.ModuleType("luth_tasks")
custom.__file__ = __file__
custom.TASKS_TABLE = [
    task("arc_challenge_fr", arc_fr, "manu/french_bench_arc_challenge", "default", "test", [Metrics.loglikelihood_acc, Metrics.loglikelihood_acc_norm_nospace]),
    task("exams_fr", arc_fr, "exams", "default", "test", [Metrics.loglikelihood_acc, Metrics.loglikelihood_acc_norm_nospace]),
    mmlu_fr(""),
    mmlu_fr("_exams"),
    # Of these answers only the beginning counts.
    task("hellaswag_fr", hellaswag_fr, "manu/french_bench_hellaswag", "default", "validation",
         [Metrics.exact_match, Metrics.quasi_exact_match, Metrics.prefix_exact_match, Metrics.prefix_quasi_exact_match], 32),
    task("gpqa:diamond", default_prompts.gpqa_instruct, "Idavidrein/gpqa", "gpqa_diamond", "train", [Metrics.gpqa_instruct_pass_at_1_1n]),
    task("gpqa_fr:diamond", gpqa_fr, "le-leadboard/gpqa-fr", "gpqa_diamond", "train",
         [pass_at_1("gpqa_pass_fr@1:1_samples", sample_scoring_function=lambda pred, ref, doc: letters(FRENCH).sample_level_fn([ref], [pred], doc))]),
    task("math_500", default_prompts.math_500, "HuggingFaceH4/MATH-500", "default", "test", [Metrics.math_pass_at_1_1n]),
    task("math_500_fr", math_fr, "bezir/MATH-500-multilingual", "French", "test",
         [pass_at_1("math_fr_pass@1:1_samples", strip_strings=True, normalize_gold=lambda k: formulas(k, FRENCH), normalize_pred=lambda k: formulas(k, FRENCH), sample_scoring_function=compare_gold_target)]),
    dataclasses.replace(ifeval, suite=["community"], generation_size=LIMIT),
    dataclasses.replace(ifeval, suite=["community"], name="ifeval_fr", hf_repo="jzhang86/fr_ifeval", generation_size=LIMIT),
]
# Where a data set of the hub is found here.
FILES = {
    "ai2_arc": "arc_challenge", "hellaswag": "hellaswag", "manu/french_bench_hellaswag": "hellaswag", "exams": "exams_fr", "lighteval/mmlu": "mmlu",
    "manu/french_bench_arc_challenge": "arc_challenge_fr", "openai/MMMLU": "mmlu_fr", "Idavidrein/gpqa": "gpqa", "le-leadboard/gpqa-fr": "gpqa_fr",
    "HuggingFaceH4/MATH-500": "math_500", "bezir/MATH-500-multilingual": "math_500", "google/IFEval": "ifeval", "jzhang86/fr_ifeval": "ifeval_fr",
}
RESTRICTED = {"arc_challenge_fr", "mmlu_fr"}
# name of ours: (lighteval's tasks, rows)
TASKS = {
    "arc_challenge": ("leaderboard|arc:challenge|0|0", 100),
    # With a tokenizer that puts <|im_start|> before every text: the template's text gets a second one.
    "arc_challenge_bos": ("leaderboard|arc:challenge|0|0", 20),
    "arc_challenge_fr": ("community|arc_challenge_fr|0|0", 100),
    "exams_fr": ("community|exams_fr|0|0", 60),
    "mmlu": (",".join(f"{config.suite[0]}|{config.name}|0|0" for config in vars(default_tasks).values() if isinstance(config, LightevalTaskConfig) and config.suite[0] == "leaderboard" and config.hf_repo == "lighteval/mmlu"), 2),
    "mmlu_fr": ("community|mmlu_fr|0|0", 100),
    "mmlu_fr_exams": ("community|mmlu_fr_exams|0|0", 100),
    "hellaswag": ("leaderboard|hellaswag|0|0", 100),
    "hellaswag_fr": ("community|hellaswag_fr|0|0", 100),
    # The two take turns at one stream of random numbers, so they are run together.
    "gpqa": ("community|gpqa:diamond|0|0,community|gpqa_fr:diamond|0|0", 50),
    "math_500": ("community|math_500|0|0", 50),
    "math_500_fr": ("community|math_500_fr|0|0", 20),
    "ifeval": ("community|ifeval|0|0", 100),
    "ifeval_fr": ("community|ifeval_fr|0|0", 100),
}
FEWER = dict(pair.split("=") for pair in os.environ.get("ROWS", "").split())


def frugal(self, inputs):
    """lighteval's call of the model without repeated rows and columns of padding: only the time differs.

    The choices of one prompt differ in their last token, which is not fed; padding stands to the right of what is read.
    """
    used = (inputs != self.tokenizer.pad_token_id).any(dim=0).nonzero().max() + 1
    rows, places = torch.unique(inputs[:, :used], dim=0, return_inverse=True)
    return self.model(rows).logits[places]


class LocalRows:
    """Rows from the files data.py cuts, in place of the hub's."""

    def __init__(self, free, restricted):
        self.free, self.restricted = free, restricted

    def read(self, name):
        folder = self.restricted if name in RESTRICTED else self.free
        with open(os.path.join(folder, name + ".jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def __call__(self, path, subset, *_):
        name = FILES[path]
        if name == "mmlu_fr" and subset.endswith("_exams"):
            name = "exams_fr_mmmlu"
        rows = self.read(name)
        if name == "mmlu":
            rows = [row for row in rows if row["subject"] == subset]
        return {split: [dict(row) for row in rows] for split in ("train", "validation", "test", "dev")}


def present(tasks, rows):
    """The tasks with rows: seven subjects of MMLU have none here."""
    subjects = {row["subject"] for row in rows.read("mmlu")}
    return ",".join(name for name in tasks.split(",") if "|mmlu:" not in name or name.split(":")[1].split("|")[0] in subjects)


def line_of(index, task_object, doc, responses, with_text):
    row = {"i": index}
    answers = [response.result for response in responses]
    if isinstance(answers[0], tuple):
        row["sha"] = digest([part for choice in doc.choices for part in (doc.ctx, choice)])
        if with_text:
            row |= {"prompt": doc.ctx, "choices": doc.choices}
        row |= {"gold": gold_of(doc), "ll": [round(answer[0], 5) for answer in answers], "greedy": [int(answer[1]) for answer in answers],
                "tokens": [len(response.generated_tokens) for response in responses]}
        return row
    text = answers[0][0] if isinstance(answers[0], list) else answers[0]
    row["sha"] = digest([doc.ctx])
    if with_text:
        row["prompt"] = doc.ctx
    row |= {"gold": gold_of(doc), "text": text}
    language = FRENCH if "_fr" in task_object.name else Language.ENGLISH
    if "gpqa" in task_object.name:
        regexes = get_extraction_regexes(doc, [IndicesExtractionConfig(prefix_for_extraction="NativeLetters")], language)
        row["extracted"] = [str(found) for found in extract_target_from_pred(text, regexes)]
    if "math" in task_object.name:
        row["extracted"] = [str(found) for found in formulas(text.strip(), language)]
    return row


def gold_of(doc):
    return doc.gold_index[0] if isinstance(doc.gold_index, list) else doc.gold_index


def digest(parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value if isinstance(value, (bool, int, str)) else round(float(value), 6)


def run(name, model, rows, out):
    tasks, count = TASKS[name]
    count = int(FEWER.get(name, count))
    seen, start = [], time.time()
    with tempfile.TemporaryDirectory() as scratch:
        tracker = EvaluationTracker(output_dir=scratch)
        log = tracker.details_logger.log
        def keep(task_name, task_object, doc, response, output):
            seen.append((task_name, task_object, doc, response, output))
            log(task_name, task_object, doc, response, output)
        tracker.details_logger.log = keep
        config = TransformersModelConfig(model_name=model, dtype="float32", device="cpu", batch_size=int(os.environ.get("BATCH", "8")), max_length=4096,
                                         model_parallel=False, use_chat_template=True, generation_parameters={"top_k": 1})
        parameters = PipelineParameters(launcher_type=ParallelismManager.ACCELERATE, custom_tasks_directory=custom, max_samples=count, use_chat_template=True, system_prompt=SYSTEM)
        pipeline = Pipeline(tasks=present(tasks, rows), pipeline_parameters=parameters, evaluation_tracker=tracker, model_config=config)
        if name.endswith("_bos"):
            pipeline.model.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
        pipeline.evaluate()
        results = pipeline.get_results()["results"]
    write(name, seen, results, out)
    print(f"{name}: {len(seen)} rows in {time.time() - start:.1f} s", {key: value for key, value in results.items() if "average" in key or len(results) < 4}, flush=True)


def write(name, seen, results, out):
    restricted = any(FILES[task_object.dataset_path] in RESTRICTED and not task_object.name.endswith("_exams") for _, task_object, *_ in seen)
    groups = {}
    for part in seen:
        groups.setdefault(name if name == "mmlu" else part[0].split("|")[1].split(":")[0], []).append(part)
    for file_name, parts in groups.items():
        if len(groups) == 1:
            file_name = name
        lines = []
        for task_name, task_object, doc, responses, output in parts:
            index = [other is doc for other in task_object.eval_docs()].index(True)
            row = line_of(index, task_object, doc, responses, not restricted and len(lines) < TEXTS)
            if name == "mmlu":
                row = {"subject": task_object.dataset_config_name} | row
            lines.append(row | {key: plain(value) for key, value in output.items()})
        # Of MMLU's subjects the mean over them is kept.
        wanted = {"leaderboard:mmlu:_average:0"} if name == "mmlu" else {part[0].replace("|", ":") for part in parts}
        totals = {key: {metric: plain(value) for metric, value in score.items()} for key, score in results.items() if key in wanted}
        header = {"harness": "lighteval " + importlib.metadata.version("lighteval"), "task": parts[0][0] if name != "mmlu" else "leaderboard|mmlu",
                  "data": FILES[parts[0][1].dataset_path] if name != "mmlu_fr_exams" else "exams_fr_mmmlu", "rows": len(lines), "chat_template": True, "system_prompt": SYSTEM,
                  "max_new_tokens": parts[0][1].generation_size if "text" in lines[0] else None, "totals": totals}
        with open(os.path.join(out, file_name + ".jsonl"), "w", encoding="utf-8") as file:
            for line in [{k: v for k, v in header.items() if v is not None}] + lines:
                file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    model, free, restricted, out = sys.argv[1:5]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    os.makedirs(out, exist_ok=True)
    rows = LocalRows(free, restricted)
    lighteval_task.download_dataset_worker = rows
    TransformersModelConfig.get_model_sha = lambda self: ""
    TransformersModel._model_call = frugal
    for name in sys.argv[5:] or list(TASKS):
        run(name, model, rows, out)


main()
