"""Writes the sentence model of NLTK ("punkt_tab", English) from its JSON, for machines that cannot fetch it.

    punkt.py punkt_english.json NLTK_DATA

Both harnesses count sentences with it in IFEval.
"""

import json
import os
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    model = json.load(file)
folder = os.path.join(sys.argv[2], "tokenizers", "punkt_tab", "english")
os.makedirs(folder, exist_ok=True)
# lighteval looks for the folder of the old name; NLTK itself then reads the new one.
os.makedirs(os.path.join(sys.argv[2], "tokenizers", "punkt"), exist_ok=True)
for name, lines in {
    "abbrev_types.txt": sorted(model["abbrev_types"]),
    "sent_starters.txt": sorted(model["sentence_starters"]),
    "collocations.tab": ["\t".join(pair) for pair in sorted(model["collocations"])],
    "ortho_context.tab": [f"{word}\t{flags}" for word, flags in sorted(model["ortho_context"].items())],
}.items():
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
