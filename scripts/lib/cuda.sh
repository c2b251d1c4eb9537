# shellcheck shell=bash
# For CUDA=1, nvcc: the one of CUDA_HOME or PATH, else that of NVIDIA's wheels in the cache folder; and NCCL's header.
# Sourced after libtorch.sh.

cuda_wheels=13.0
cuda_dir=$cache/cuda/$cuda_wheels

# cuda_home: the folder with bin/nvcc and include/; nothing where there is none.
cuda_home() {
  local nvcc
  if [ -n "${CUDA_HOME:-}" ]; then
    [ -x "$CUDA_HOME/bin/nvcc" ] || fail "CUDA_HOME=$CUDA_HOME has no bin/nvcc"
    echo "$CUDA_HOME"
  elif nvcc=$(command -v nvcc); then
    dirname "$(dirname "$(readlink -f "$nvcc")")"
  elif [ -x "$cuda_dir/nvidia/cu13/bin/nvcc" ]; then
    echo "$cuda_dir/nvidia/cu13"
  fi
}

# nccl_home: the folder with the nccl.h of libtorch's release: that beside an installed torch, else in the cache folder;
# nothing where there is none.
nccl_home() {
  local folder
  for folder in "$torch/../nvidia/nccl/include" "$cache/cuda/nccl-torch-$(torch_version "$torch")"; do
    if [ -f "$folder/nccl.h" ]; then
      (cd "$folder" && pwd)
      return
    fi
  done
}

# fetch_nccl: a wheel of 0.2 GB, of which a few headers are kept. A release of libtorch without pins goes without NCCL.
fetch_nccl() {
  local version pins new
  version=$(torch_version "$torch")
  pins=$repo/scripts/wheels/nccl-torch-$version.txt
  if [ ! -f "$pins" ]; then
    say "NCCL's header for libtorch $version is not pinned here: several processes will train on the CPU only"
    return
  fi
  new=$cache/cuda/.nccl.$$
  mkdir -p "$new"
  # shellcheck disable=SC2064 # the name as it is now
  trap "rm -rf '$new'" EXIT
  say "fetching NCCL's header for libtorch $version"
  python3 -m pip download --dest "$new" --no-cache-dir --disable-pip-version-check --no-deps --quiet --only-binary=:all: \
    --platform manylinux_2_18_x86_64 --require-hashes --requirement "$pins" >&2 ||
    fail "pip could not fetch NCCL (its reason is above)"
  python3 -m zipfile -e "$new"/*.whl "$new/tree"
  rm -rf "$cache/cuda/nccl-torch-$version"
  mv "$new/tree/nvidia/nccl/include" "$cache/cuda/nccl-torch-$version"
  rm -rf "$new"
}

# fetch_cuda: 0.1 GB of wheels, 0.3 GB unpacked.
fetch_cuda() {
  local new=$cache/cuda/.incoming.$$ wheel
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    fail "there are no pinned nvcc wheels for $(uname -s) $(uname -m): install the CUDA toolkit and give CUDA_HOME="
  mkdir -p "$new/wheels" "$new/tree"
  # shellcheck disable=SC2064 # the name as it is now
  trap "rm -rf '$new'" EXIT
  say "fetching nvcc $cuda_wheels"
  python3 -m pip download --dest "$new/wheels" --no-cache-dir --disable-pip-version-check --no-deps --quiet \
    --only-binary=:all: --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --platform manylinux_2_12_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64 \
    --require-hashes --requirement "$repo/scripts/wheels/cuda-$cuda_wheels.txt" >&2 ||
    fail "pip could not fetch nvcc (its reason is above); CUDA_HOME= takes one that is there already"
  for wheel in "$new/wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$new/tree"; done
  # Zip archives made this way lose the run bits; the linker wants the name without a version.
  chmod +x "$new/tree/nvidia/cu13/bin"/* "$new/tree/nvidia/cu13/nvvm/bin"/*
  ln -s libcudart.so.13 "$new/tree/nvidia/cu13/lib/libcudart.so"
  "$new/tree/nvidia/cu13/bin/nvcc" --version >/dev/null || fail "the nvcc of the wheels does not run on this machine"
  rm -rf "$cuda_dir"
  mv "$new/tree" "$cuda_dir"
}
