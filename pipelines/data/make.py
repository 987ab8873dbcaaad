#!/usr/bin/env python3
"""Selects the data sets of this folder from the originals: make.py ORIGINALS.

ORIGINALS is a folder with one folder a data set, named and filled as the SOURCE.md files here say. The same originals
give the same bytes: nothing random, no dates. Needs Python 3.8 and nothing else.
"""
import bz2
import hashlib
import json
import pathlib
import re
import struct
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
NOVELS = ["FRA00501_Balzac", "FRA00901_Daudet", "FRA01302_Flaubert", "FRA01501_France", "FRA02701_Maupassant"]
# The order of the novels in janeaustenr's database, and the ones taken.
AUSTEN = ["emma", "mansfield_park", "northanger_abbey", "persuasion", "pride_and_prejudice", "sense_and_sensibility"]
AUSTEN_TAKEN = ["northanger_abbey", "persuasion", "pride_and_prejudice"]
# The phenomena that CLAMS has in both languages.
PHENOMENA = [
    "long_vp_coord", "obj_rel_across_anim", "obj_rel_within_anim", "prep_anim", "simple_agrmt", "subj_rel", "vp_coord",
]
PAIRS_EACH = 120
GSM8K_ROWS = 1000
# The first rows of the file are ActivityNet captions. The rest is wikiHow text, whose licence is non-commercial.
HELLASWAG_CAPTIONS = 3243


def write(path, text):
    path = HERE / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def chat(*turns):
    roles = ["user", "assistant"] * len(turns)
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, turns)]}


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def novels(originals):
    for name in NOVELS:
        write(f"fr_novels/{name}.txt", (originals / "eltec_fr_novels" / f"{name}.txt").read_text("utf-8"))


def french_chats(originals):
    rows = read_jsonl(originals / "vigogne_fr_instruct" / "oasst_20230412_fr_top1.jsonl")
    keep = [{"messages": [{"role": m["role"], "content": m["content"]} for m in row["messages"]]} for row in rows]
    write("fr_chats/oasst1_fr.jsonl", jsonl(keep))


def sentences(originals):
    rows = read_jsonl(originals / "tatoeba_fr_en" / "fra-eng.jsonl")
    # The first half gives the French sentences and the second half the English ones, so that no sentence is the
    # translation of another.
    half = len(rows) // 2
    write("fr_sentences/tatoeba_fr.txt", "".join(row["fr"] + "\n" for row in rows[:half]))
    write("en_sentences/tatoeba_en.txt", "".join(row["en"] + "\n" for row in rows[half:]))


def r_strings(data):
    """Reads a character vector in R's serialisation format 3."""
    at = 14
    at += 4 + struct.unpack_from(">I", data, at)[0]  # the name of the native encoding
    kind, count = struct.unpack_from(">II", data, at)
    assert kind & 0xFF == 16
    at += 8
    strings = []
    for _ in range(count):
        length = struct.unpack_from(">i", data, at + 4)[0]
        strings.append(data[at + 8:at + 8 + max(length, 0)].decode("utf-8"))
        at += 8 + max(length, 0)
    assert strings and at <= len(data)
    return strings


def english_novels(originals):
    rest = (originals / "janeaustenr" / "Rdata.rdb").read_bytes()
    for name in AUSTEN:
        stream = zlib.decompressobj()
        lines = r_strings(stream.decompress(rest[4:]))
        rest = stream.unused_data
        if name in AUSTEN_TAKEN:
            blocks = re.split(r"\n\s*\n", "\n".join(line.strip() for line in lines))
            paragraphs = [" ".join(block.split()) for block in blocks if block.strip()]
            write(f"en_novels/{name}.txt", "".join(paragraph + "\n" for paragraph in paragraphs))


def english_captions(originals):
    lines = bz2.open(originals / "hellaswag_en" / "hellaswag_val_full.txt.bz2", "rt", encoding="utf-8").read()
    lines = lines.splitlines()
    texts = []
    for i in range(0, 6 * HELLASWAG_CAPTIONS, 6):
        query, label, endings = lines[i], int(lines[i + 1]), lines[i + 2:i + 6]
        context = query.split(": ", 1)[1]  # without the activity's label
        texts.append(f"{context} {endings[label]}".strip())
    write("en_captions/hellaswag.txt", "".join(text + "\n" for text in texts))


def english_chats(originals):
    rows = read_jsonl(originals / "gsm8k_en" / "train_first2000.jsonl")[:GSM8K_ROWS]
    # `<<48/2=24>>` are calculator calls, `#### 72` repeats the result for machines.
    clean = [re.sub(r"<<[^>]*>>", "", row["answer"]) for row in rows]
    clean = [re.sub(r"\n#### (.*)$", r"\nThe answer is \1.", answer) for answer in clean]
    write("en_chats/gsm8k.jsonl", jsonl(chat(row["question"], answer) for row, answer in zip(rows, clean)))


def pairs(originals, language):
    for phenomenon in PHENOMENA:
        lines = (originals / "clams" / f"{language}_{phenomenon}.txt").read_text("utf-8").splitlines()
        all_pairs = list(dict.fromkeys(zip(lines[::2], lines[1::2])))
        assert all(g.startswith("True\t") and b.startswith("False\t") for g, b in all_pairs)
        # By hash and not every n-th: the originals are products of word lists, and a stride would see few words.
        by_hash = sorted(all_pairs, key=lambda pair: hashlib.sha256("\n".join(pair).encode("utf-8")).digest())
        keep = set(by_hash[:PAIRS_EACH])
        text = "".join(f"{g}\n{b}\n" for g, b in all_pairs if (g, b) in keep)
        write(f"clams_{language}/{phenomenon}.txt", text)


def main():
    originals = pathlib.Path(sys.argv[1])
    novels(originals)
    french_chats(originals)
    sentences(originals)
    english_novels(originals)
    english_captions(originals)
    english_chats(originals)
    for language in ["fr", "en"]:
        pairs(originals, language)


if __name__ == "__main__":
    main()
