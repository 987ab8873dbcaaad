"""Cuts the rows that both harnesses and luthflow read, in the columns of the hub's own data sets.

    data.py SOURCE FREE RESTRICTED

SOURCE holds the sets as they were obtained (one folder each with its SOURCE.txt). FREE gets the rows that may be passed on
(tests/fixtures/eval/data, committed); RESTRICTED gets those under non-commercial licences (a scratch folder, never committed).
The same input gives the same bytes.
"""

import bz2
import json
import os
import re
import sys

source, free, restricted = sys.argv[1:4]


def rows(name):
    with open(os.path.join(source, name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(folder, name, lines):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name + ".jsonl"), "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def option_rows(name, count):
    """Okapi's columns: instruction, option_a..., answer, id."""
    kept = [row for row in rows(name) if [k for k in "abcde" if row.get("option_" + k)] == list("abcd")]
    return [{k: row[k] for k in ("id", "instruction", "option_a", "option_b", "option_c", "option_d", "answer")} for row in kept[:count]]


def mmmlu(row):
    """openai/MMMLU's columns."""
    return {"Question": row["instruction"], **{k.upper(): row["option_" + k] for k in "abcd"}, "Answer": row["answer"], "Subject": row["id"].split("/")[0]}


def four_of_fifty(test):
    by_subject = {}
    for row in test:
        by_subject.setdefault(row["subject"], []).append(row)
    return [row for subject in list(by_subject)[:50] for row in by_subject[subject][:4]]


def hellaswag():
    """120 rows cut from videos and 80 from wikiHow.

    The file holds each query as lm-eval prepares it. The columns of the hub are put back so that preparing them again gives the
    same words: the activity up to the first ": ", ctx_b the last words where they begin a sentence in lower case, and for wikiHow
    the marks [header], [title] and [step] that the preparation removes.
    """
    with bz2.open(os.path.join(source, "hellaswag_en/hellaswag_val_full.txt.bz2"), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    videos, guides = [], []
    for at in range(0, len(lines) - 5, 6):
        activity, context = lines[at].split(": ", 1)
        row = {"ind": at // 6, "activity_label": activity, "label": lines[at + 1], "endings": lines[at + 2 : at + 6]}
        cut = re.match(r"(.*[.!?]) ([a-z][^.!?]*)$", context)
        guide = re.match(r"(How to [^.]*)\. ([A-Z][^.]*\.) (.+)$", context)
        if guide:
            row |= {"ctx_a": f"[header] {guide[1]} [title] {guide[2]} [step] {guide[3]}", "ctx_b": ""}
            row["endings"] = [ending.replace(". ", " [substeps] ", 1) if ". " in ending else ending for ending in row["endings"]]
            guides.append(row)
        elif cut and not context.startswith("How to"):
            videos.append(row | {"ctx_a": cut[1], "ctx_b": cut[2]})
    return videos[:120] + guides[:80]


def clams():
    """The first pairs of each construction, in the columns of MultiBLiMP; as the files write them ("l' auteur")."""
    folder, pairs = os.path.join(source, "clams"), []
    names = sorted(name for name in os.listdir(folder) if name.startswith("fr_"))
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            lines = [line.rstrip("\n").split("\t") for line in file]
        found = [(good[1], bad[1]) for good, bad in zip(lines[::2], lines[1::2]) if (good[0], bad[0]) == ("True", "False")]
        # Spread over the file: its pairs come sorted by noun.
        step = max(1, len(found) // 29)
        pairs += [{"phenomenon": name[3:-4], "sen": good, "wrong_sen": bad} for good, bad in found[::step][:29]]
    return pairs[:200]


def winograd():
    """Muennighoff/xwinograd's columns: the pronoun becomes "_"."""
    kept = []
    with open(os.path.join(source, "xwinograd/fr_en.tsv"), encoding="utf-8") as file:
        for line in file:
            language, _, _, sentence, tokens, pronoun, options = line.rstrip("\n").split("\t")
            if language != "fr":
                continue
            tokens, pronoun, options = json.loads(tokens), json.loads(pronoun), json.loads(options)
            at = 0
            for token in tokens[: pronoun[1][0]]:
                # Some tokens are not written as the sentence has them (quotes): they only help to count repeated words.
                found = sentence.find(token, at)
                at = found + len(token) if found >= 0 else at
            at = sentence.index(pronoun[0], at)
            blank = sentence[:at] + "_" + sentence[at + len(pronoun[0]) :]
            answer = [index for index, option in enumerate(options) if option[3]][0] + 1
            kept.append({"sentence": blank, "option1": options[0][0], "option2": options[1][0], "answer": str(answer)})
    return kept


def exams():
    kept = [row for row in rows("exams_fr/test.jsonl") if [c["label"] for c in row["question"]["choices"]] == list("ABCD")]
    return [{"id": row["id"], "question": row["question"]["stem"], "choices": [c["text"] for c in row["question"]["choices"]],
             "answerKey": row["answerKey"], "subject": row["info"]["subject"]} for row in kept if row["answerKey"] in "ABCD"][:200]


def instruction_rows(name, count):
    return [{k: row[k] for k in ("key", "prompt", "instruction_id_list", "kwargs")} for row in rows(name)[:count]]


def gpqa(test):
    """Rows of MMLU in the columns of GPQA: the set itself is gated."""
    kept = []
    for row in test[:50]:
        wrong = [choice for index, choice in enumerate(row["choices"]) if index != row["answer"]]
        kept.append({"Question": row["question"], "Correct Answer": row["choices"][row["answer"]],
                     **{f"Incorrect Answer {index + 1}": choice for index, choice in enumerate(wrong)}})
    return kept


write(free, "arc_challenge", rows("arc_challenge_en/test.jsonl")[:200])
mmlu = four_of_fifty(rows("mmlu_en/test.jsonl"))
write(free, "mmlu", mmlu)
subjects = list(dict.fromkeys(row["subject"] for row in mmlu))[:10]
write(free, "mmlu_dev", [row for row in rows("mmlu_en/dev.jsonl") if row["subject"] in subjects])
write(free, "hellaswag", hellaswag())
write(free, "clams_fr", clams())
write(free, "gsm8k", rows("gsm8k_en/test.jsonl")[:200])
write(free, "gsm8k_train", rows("gsm8k_en/train_first2000.jsonl")[:5])
write(free, "ifeval_fr", instruction_rows("ifeval_fr_marco/fr.jsonl", 200))
write(free, "ifeval", instruction_rows("ifeval_en/input_data.jsonl", 100))
write(free, "math_500", rows("math500_en/test.jsonl")[:50])
write(free, "xwinograd_fr", winograd())
french = exams()
write(free, "exams_fr", french)
write(free, "exams_fr_mmmlu", [{"Question": row["question"], **dict(zip("ABCD", row["choices"])), "Answer": row["answerKey"], "Subject": row["subject"]} for row in french[:100]])
write(free, "gpqa", gpqa(mmlu))
write(free, "gpqa_fr", [{"problem" if k == "Question" else k: v for k, v in row.items()} for row in gpqa(mmlu)])

arc = option_rows("arc_challenge_fr/fr_test.jsonl", 200)
write(restricted, "arc_challenge_fr", [{"id": row["id"], "question": row["instruction"], "choices": [row["option_" + k] for k in "abcd"], "answerKey": row["answer"]} for row in arc])
okapi = option_rows("mmlu_fr/fr_val.jsonl", 200)
write(restricted, "m_mmlu_fr", okapi)
write(restricted, "mmlu_fr", [mmmlu(row) for row in okapi])
write(restricted, "truthfulqa_fr", rows("truthfulqa_fr/fr_validation.jsonl")[:50])
