"""What bench.sh runs: one trainer, some steps, each of two sequences of 512 tokens, one sequence a forward pass.

The figure is tokens a second over all steps but the first, wall and CPU, and the greatest resident memory of the process. Both
sides train every token, accumulate two sequences, clip the gradient's norm at 1 and take AdamW's step with weight decay 0.
luthflow's side is the child process that runs a node: it reads a data set, tokenizes, packs, trains and writes the model, of
which only the steps count. PyTorch's side has the token ids ready.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time

model, threads, luthflow, trainer, kind = sys.argv[1:6]
STEPS, SEQUENCES, LENGTH, RATE = 7, 2, 512, 1e-5


def of_luthflow(recompute):
    with tempfile.TemporaryDirectory() as folder:
        data, out, scratch = (os.path.join(folder, name) for name in ("data", "out", "scratch"))
        os.makedirs(data), os.makedirs(out)
        # One long text, cut into full sequences.
        words = " ".join(f"word{i * 7919 % 1000} and then" for i in range(STEPS * SEQUENCES * LENGTH))
        with open(os.path.join(data, "data.jsonl"), "w") as file:
            file.write(json.dumps({"text": words}) + "\n")
        fields = {
            "model": "m", "data": ["d"], "sequence_len": LENGTH, "long_samples": "split", "max_steps": STEPS, "epochs": 1,
            "gradient_accumulation_steps": SEQUENCES, "learning_rate": RATE, "lr_scheduler": "constant", "warmup_ratio": 0.0,
            "checkpoint_minutes": 0, "gradient_checkpointing": recompute,
        }
        if kind == "lora":
            fields["lora"] = {"r": 16, "lora_alpha": 32, "output": "adapter"}
        inputs = {slot: [{"name": slot, "label": slot, "axes": {}, "path": path}] for slot, path in (("model", model), ("data[0]", data))}
        request = {"kind": "sft", "fields": fields, "inputs": inputs, "out": out, "scratch": scratch, "threads": int(threads), "device": "cpu"}
        environment = dict(os.environ, RAYON_NUM_THREADS=threads)
        child = subprocess.Popen([luthflow, "node-worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        child.stdin.write((json.dumps(request) + "\n").encode())
        child.stdin.flush()
        marks, answer, phase = [], None, None
        for line in child.stdout:
            if not line.strip():
                continue
            message = json.loads(line)
            phase = message.get("phase", {}).get("name", phase)
            if phase == "training" and "position" in message:
                done = message["position"]["done"]
                if done and (not marks or done != marks[-1][0]):
                    marks.append((done, time.time(), cpu_of(child.pid)))
            answer = message.get("answer", answer)
        child.stdin.close()
        child.wait()
        if "done" not in answer:
            sys.exit(f"luthflow failed: {answer}")
        # The last step is told too late: it ends with the writing of the model.
        first, last = marks[0], marks[-1]
        tokens = (last[0] - first[0]) * SEQUENCES * LENGTH
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return tokens / (last[1] - first[1]), tokens / (last[2] - first[2]), memory


def cpu_of(process):
    fields = open(f"/proc/{process}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_torch(attention):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(threads))
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation=attention)
    network.config.use_cache = False
    if kind == "lora":
        from peft import LoraConfig, get_peft_model

        network = get_peft_model(network, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    network.train()
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    marks = []
    for step in range(STEPS):
        for _ in range(SEQUENCES):
            ids = torch.randint(0, 40000, (1, LENGTH), generator=torch.Generator().manual_seed(step))
            (network(input_ids=ids, labels=ids).loss / SEQUENCES).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append((time.time(), time.process_time()))
    tokens = (STEPS - 1) * SEQUENCES * LENGTH
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return tokens / (marks[-1][0] - marks[0][0]), tokens / (marks[-1][1] - marks[0][1]), memory


if trainer.startswith("luthflow"):
    figures = of_luthflow({"luthflow": False, "luthflow-selective": "selective", "luthflow-recompute": True}[trainer])
else:
    figures = of_torch(trainer)
print(f"{trainer:20} {kind:5} {figures[0]:8.1f} tokens/s {figures[1]:8.1f} tokens a CPU second {figures[2]:8.0f} MB")
