#!/usr/bin/env bash
# Builds luthflow with `--features cuda` where no toolkit is installed: NVIDIA's compiler and headers come as Python
# wheels, some 100 MB. It takes a quarter of an hour of processor time, most of it for candle's quantised kernels. The program
# runs where the driver and the libraries of CUDA 13 are; to link, only their names are needed.
#   benches/cuda/build.sh [FOLDER]       FOLDER keeps the toolkit, `target/cuda-toolkit` unless given
set -euo pipefail
cd "$(dirname "$0")/../.."
kit=$(mkdir -p "${1:-target/cuda-toolkit}" && cd "${1:-target/cuda-toolkit}" && pwd)
if [ ! -x "$kit/bin/nvcc" ]; then
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  python3 -m pip download --quiet --no-deps --dest "$wheels" nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.3.5.0.6
  for wheel in "$wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$wheels/all"; done
  cp -r "$wheels"/all/nvidia/cu13/. "$kit/"
  chmod +x "$kit"/bin/* "$kit"/nvvm/bin/*
  ln -sfn lib "$kit/lib64"
  ln -sf libcudart.so.13 "$kit/lib/libcudart.so"
  # Stand-ins of the right names let the linker write down what the program needs where it runs.
  for library in cuda:1 cublas:13 cublasLt:13 curand:10 nvrtc:13; do
    name=lib${library%:*}.so
    echo 'static int nothing __attribute__((unused));' |
      cc -shared -fPIC -Wl,-soname,"$name.${library#*:}" -x c - -o "$kit/lib/$name"
  done
fi
export PATH="$kit/bin:$PATH" NVCC="$kit/bin/nvcc" CUDA_HOME="$kit" CUDA_PATH="$kit" CUDA_ROOT="$kit" CUDA_TOOLKIT_ROOT_DIR="$kit"
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CUDARC_CUDA_VERSION=13000
export RUSTFLAGS="${RUSTFLAGS:-} -L native=$kit/lib -C link-arg=-Wl,--unresolved-symbols=ignore-all"
# The stand-ins hold no symbols, so the linker would drop them: named once more, they stay in the list of what is loaded.
needed=(-C link-arg=-Wl,--no-as-needed)
for library in cuda cublas cublasLt curand nvrtc; do needed+=(-C "link-arg=-l$library"); done
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda} cargo rustc --release --features cuda --bin luthflow -- "${needed[@]}"
