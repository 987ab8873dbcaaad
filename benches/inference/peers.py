"""The speed of transformers or llama.cpp on a prompt and on what follows it; called by bench.sh.

peers.py transformers FOLDER THREADS PROMPT NEW     (torch and transformers, on the CPU, in f32)
peers.py llama.cpp GGUF THREADS PROMPT NEW          (the package xllamacpp: llama.cpp's own server, asked over HTTP)

Prints a line for one text and one for eight: the best of three rounds.
"""

import json
import sys
import threading
import time
import urllib.request

which, model, threads, prompt, new = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])


def tokens(round, vocabulary):
    return [(i * 7919 + round * 31) % vocabulary for i in range(prompt)]


def show(batch, prefill, decode):
    print(f"{which}, batch {batch}: prompt {prefill:.0f} tokens/s, new {decode:.1f} tokens/s", flush=True)


def transformers():
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    lm = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        for batch in (1, 8):
            prefill = decode = float("inf")
            for round in range(3):
                ids = torch.tensor([tokens(round, lm.config.vocab_size)] * batch)
                start = time.perf_counter()
                out = lm(ids, use_cache=True, logits_to_keep=1)
                prefill = min(prefill, time.perf_counter() - start)
                start = time.perf_counter()
                for _ in range(new):
                    ids = out.logits[:, -1].argmax(-1, keepdim=True)
                    out = lm(ids, past_key_values=out.past_key_values, use_cache=True)
                decode = min(decode, time.perf_counter() - start)
            show(batch, batch * prompt / prefill, batch * new / decode)


def llama():
    import xllamacpp as x

    for batch in (1, 8):
        p = x.CommonParams()
        p.model.path, p.n_ctx, p.n_parallel = model, batch * (prompt + new + 64), batch
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
        p.n_gpu_layers, p.warmup = 0, True
        # Kept, since a server ends with its object.
        server = x.Server(p)
        base = server.listening_address
        prefill = decode = 0.0
        for round in range(3):
            answers = [None] * batch

            def ask(at):
                body = {
                    "prompt": [t % 40000 + 100 for t in tokens(round * 8 + at, 40000)],
                    "n_predict": new,
                    "temperature": 0,
                    "samplers": ["top_k"],
                    "top_k": 1,
                    "ignore_eos": True,
                    "cache_prompt": False,
                }
                request = urllib.request.Request(
                    base + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
                )
                answers[at] = json.load(urllib.request.urlopen(request, timeout=900))["timings"]

            workers = [threading.Thread(target=ask, args=(at,)) for at in range(batch)]
            [worker.start() for worker in workers]
            [worker.join() for worker in workers]
            # A server reads one prompt after the other, and counts each alone.
            prefill = max(prefill, max(t["prompt_per_second"] for t in answers))
            decode = max(decode, sum(t["predicted_per_second"] for t in answers))
        show(batch, prefill, decode)
        del server


transformers() if which == "transformers" else llama()
