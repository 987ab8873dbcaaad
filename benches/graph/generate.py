"""Writes one graph of trivial nodes in the language of one tool: generate.py TOOL SHAPE NODES FOLDER.

TOOL is luthflow, dvc, snakemake, ninja or turbo. SHAPE is chain (each node reads the one before), wide (all read the
source) or diamond (layers of ten, each node reading two of the layer before). Every node writes a file of its own
content, so that no tool may fold two of them into one.
"""

import hashlib
import json
import os
import sys


SOURCE = "one\ntwo\n"


def graph(shape, nodes):
    """Yields (number, the numbers it reads); 0 is the source."""
    for i in range(1, nodes + 1):
        if shape == "chain":
            yield i, [i - 1]
        elif shape == "wide":
            yield i, [0]
        elif shape == "diamond":
            layer, place = divmod(i - 1, 10)
            if layer == 0:
                yield i, [0]
            else:
                above = (layer - 1) * 10
                yield i, [above + place + 1, above + (place + 1) % 10 + 1]
        else:
            sys.exit(f"unknown shape {shape}")


def luthflow(nodes):
    yield "pipeline.yaml", "version: 1\nname: bench\nnodes:\n  n0: {kind: source, dataset: in.txt, rows: line}\n" + "".join(
        "  n%d: {kind: command, run: [sh, -c, 'echo \"$0\" > out', \"%d\"%s], outputs: [out]}\n"
        % (i, i, "".join(', "${n%d%s}"' % (d, ".out" if d else "") for d in deps))
        for i, deps in nodes
    )


def file(i):
    return f"out/{i}.txt" if i else "in.txt"


def md5(text):
    return {"hash": "md5", "md5": hashlib.md5(text.encode()).hexdigest(), "size": len(text)}


def dvc(nodes):
    """With its lock and its outputs, as after a run: 1,000 stages would take it many minutes."""
    stages, lock = ["stages:\n"], ["schema: '2.0'\nstages:\n"]
    for i, deps in nodes:
        text = {d: f"{d}\n" if d else SOURCE for d in deps}
        reads = ", ".join(map(file, deps))
        stages.append(f"  n{i}:\n    cmd: echo {i} > {file(i)}\n    deps: [{reads}]\n    outs: [{file(i)}: {{cache: false}}]\n")
        entry = {
            "cmd": f"echo {i} > {file(i)}",
            "deps": [{"path": file(d), **md5(text[d])} for d in sorted(deps, key=file)],
            "outs": [{"path": file(i), **md5(f"{i}\n")}],
        }
        lock.append(f"  n{i}: {json.dumps(entry)}\n")
        yield file(i), f"{i}\n"
    yield "dvc.yaml", "".join(stages)
    yield "dvc.lock", "".join(lock)


def snakemake(nodes):
    nodes = list(nodes)
    rules = "".join(
        f"rule n{i}:\n  input: {', '.join(repr(file(d)) for d in deps)}\n  output: {file(i)!r}\n  shell: 'echo {i} > {file(i)}'\n"
        for i, deps in nodes
    )
    every = ", ".join(repr(file(i)) for i, _ in nodes)
    # The outputs too: the driver lets it touch them, as after a run.
    yield from ((file(i), f"{i}\n") for i, _ in nodes)
    yield "Snakefile", f"rule all:\n  input: [{every}]\n{rules}"


def ninja(nodes):
    builds = "".join(f"build {file(i)}: n {' '.join(map(file, deps))}\n  i = {i}\n" for i, deps in nodes)
    yield "build.ninja", "rule n\n  command = echo $i > $out\n" + builds


def turbo(nodes):
    """One package a node: turbo's tasks are those of packages."""
    nodes = list(nodes)
    names = [f"packages/n{i}" for i, _ in nodes]
    yield "package.json", json.dumps({"name": "bench", "packageManager": "npm@10.0.0", "workspaces": ["packages/*"]})
    yield "turbo.json", json.dumps(
        {"tasks": {"build": {"dependsOn": ["^build"], "inputs": ["in.txt"], "outputs": ["out.txt"]}}}
    )
    lock = {"name": "bench", "lockfileVersion": 3, "requires": True, "packages": {"": {"name": "bench", "workspaces": ["packages/*"]}}}
    for (i, deps), name in zip(nodes, names):
        reads = {f"n{d}": "*" for d in deps if d}
        package = {"name": f"n{i}", "version": "1.0.0", "dependencies": reads}
        lock["packages"][f"node_modules/n{i}"] = {"resolved": name, "link": True}
        lock["packages"][name] = package
        yield f"{name}/package.json", json.dumps({**package, "scripts": {"build": f"echo {i} > out.txt"}})
        yield f"{name}/in.txt", f"{i}\n"
    yield "package-lock.json", json.dumps(lock)
    yield ".gitignore", "out.txt\n.turbo\nnode_modules\n"


def main():
    tool, shape, nodes, folder = sys.argv[1:]
    files = {"in.txt": SOURCE}
    files.update(globals()[tool](graph(shape, int(nodes))))
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
    os.makedirs(os.path.join(folder, "out"), exist_ok=True)


main()
