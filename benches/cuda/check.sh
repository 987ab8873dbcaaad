#!/usr/bin/env bash
# Type-checks luthflow with `--features cuda`, without a toolkit and without a GPU: the build scripts of candle ask a
# compiler for its version and for kernels, and are given a stand-in that answers and makes empty ones. What it says is
# that our code and candle's fit together; `build.sh` makes a program that runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
stub=$(mktemp -d)
trap 'rm -rf "$stub"' EXIT
mkdir -p "$stub/bin" "$stub/include" "$stub/lib64"
cat >"$stub/bin/nvcc" <<'STUB'
#!/usr/bin/env bash
for argument in "$@"; do
  case "$argument" in
    --version) echo "Cuda compilation tools, release 13.0, V13.0.88"; exit ;;
    --list-gpu-code) printf 'sm_80\nsm_86\nsm_89\nsm_90\n'; exit ;;
  esac
done
ptx= source= folder=. out=
while [ $# -gt 0 ]; do
  case "$1" in
    --ptx) ptx=yes ;;
    --output-directory) folder=$2; shift ;;
    -o) out=$2; shift ;;
    *.cu) source=$1 ;;
  esac
  shift
done
if [ -n "$ptx" ]; then out="$folder/$(basename "$source" .cu).ptx"; fi
case "$out" in
  "") ;;
  *.a) echo '!<arch>' >"$out" ;;
  *) echo '// nothing' >"$out" ;;
esac
STUB
chmod +x "$stub/bin/nvcc"
export PATH="$stub/bin:$PATH" NVCC="$stub/bin/nvcc" CUDA_HOME="$stub" CUDA_PATH="$stub" CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000
# A folder of its own: features change every artifact of candle, and the usual ones should stay. Nothing of it runs, so the C
# libraries in it need not be optimised.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda} cargo --config 'profile.dev.package."*".opt-level=0' \
  check --features cuda --all-targets "$@"
