# shellcheck shell=bash
# libtorch out of Python's torch wheel. Sourced by setup.
#
# Everything happens in a folder of its own beside the goal; the last step renames it. An interrupted run leaves no
# half-made libtorch, and what it did leave goes with the next run.

# wheel_platforms: pip's --platform options, from the newest tag that this version of torch may carry to the oldest, for
# this machine or for $wheel_machine.
wheel_platforms() {
  local tag
  case ${wheel_machine:-$(uname -s) $(uname -m)} in
    "Linux x86_64") set -- manylinux_2_28_x86_64 manylinux_2_25_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64 ;;
    "Linux aarch64") set -- manylinux_2_28_aarch64 manylinux_2_25_aarch64 manylinux_2_17_aarch64 manylinux2014_aarch64 ;;
    "Darwin arm64") set -- macosx_14_0_arm64 ;;
    *) fail "there is no torch wheel for $(uname -s) $(uname -m): build libtorch and give LIBTORCH=" ;;
  esac
  for tag in "$@"; do printf -- '--platform %s ' "$tag"; done
}

# pip_download FOLDER ARGUMENTS: the same wheel whatever Python runs pip. pip's own cache would double the disk space.
pip_download() {
  local folder=$1 python=3.12 platforms
  shift
  at_least "$libtorch_version" 2.2 || python=3.11
  platforms=$(wheel_platforms)
  # shellcheck disable=SC2086 # options, split on purpose
  TMPDIR=$incoming/tmp python3 -m pip download --dest "$folder" --no-cache-dir --disable-pip-version-check --no-deps \
    --only-binary=:all: --implementation cp --python-version "$python" --abi "cp${python/./}" --abi none $platforms \
    "$@" >&2 || fail "pip could not fetch libtorch $libtorch_version (its reason is above); LIBTORCH= takes one that is there already"
}

# download_wheels FOLDER: torch and the two CUDA libraries that libtorch_cpu.so of a CUDA build is linked with.
download_wheels() {
  local pins=$repo/scripts/wheels/torch-$libtorch_version.txt wheel needs need round
  if [ -f "$pins" ]; then
    pip_download "$1" --require-hashes --requirement "$pins"
    return
  fi
  say "libtorch $libtorch_version has no pinned hashes here: pip's own check of the download is all there is"
  pip_download "$1" "torch==$libtorch_version"
  # Newer wheels name the two through cuda-toolkit's extras, so its wheel is asked in turn.
  for round in torch cuda_toolkit; do
    for wheel in "$1/$round"-*.whl; do
      [ -f "$wheel" ] || continue
      needs=$(python3 "$repo/scripts/lib/wheel.py" needs "$wheel")
      for need in $needs; do pip_download "$1" "$need"; done
    done
  done
}

# fetch_libtorch: downloads, unpacks and puts in place $cache/libtorch/VERSION/{torch,nvidia}.
fetch_libtorch() {
  local goal=$cache/libtorch/$libtorch_version wheel defect left
  for left in "$cache/libtorch"/.incoming.*; do
    if [ -d "$left" ] && ! kill -0 "${left##*.}" 2>/dev/null; then rm -rf "$left"; fi
  done
  incoming=$cache/libtorch/.incoming.$$
  trap 'rm -rf "$incoming"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir -p "$incoming/tmp" "$incoming/wheels" "$incoming/tree"

  say "fetching libtorch $libtorch_version (one download of 0.1 to 0.9 GB)"
  download_wheels "$incoming/wheels"
  for wheel in "$incoming/wheels"/*.whl; do
    python3 "$repo/scripts/lib/wheel.py" unpack "$wheel" "$incoming/tree" || fail "${wheel##*/} could not be unpacked"
    rm -f "$wheel"
  done

  defect=$(torch_defect "$incoming/tree/torch")
  [ -z "$defect" ] || fail "the downloaded libtorch $libtorch_version is not usable: $defect"
  # Another run may have been faster; a damaged one goes.
  if [ -e "$goal" ]; then
    [ -n "$(torch_defect "$goal/torch")" ] || return 0
    mv "$goal" "$incoming/replaced"
  fi
  mv "$incoming/tree" "$goal"
}
