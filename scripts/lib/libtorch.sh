# shellcheck shell=bash
# What can be read off an unpacked libtorch: its version, its string ABI, whether it is usable. Sourced.

# torch_version DIR: 2.11.0; nothing where the headers do not say.
torch_version() {
  local header
  for header in "$1/include/torch/headeronly/version.h" "$1/include/torch/csrc/api/include/torch/version.h"; do
    [ -f "$header" ] || continue
    awk '$1 == "#define" && $2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ { part[$2] = $3 }
      END {
        if ("TORCH_VERSION_MAJOR" in part)
          print part["TORCH_VERSION_MAJOR"] "." part["TORCH_VERSION_MINOR"] "." part["TORCH_VERSION_PATCH"]
      }' "$header"
  done | head -n 1
}

# torch_abi_flag DIR: the define that a libtorch with the old std::string asks for (wheels up to 2.5), or nothing.
torch_abi_flag() {
  sed -n 's/.*set(TORCH_CXX_FLAGS "\(-D_GLIBCXX_USE_CXX11_ABI=0\)").*/\1/p' \
    "$1/share/cmake/Torch/TorchConfig.cmake" 2>/dev/null | head -n 1
}

# torch_defect DIR: one line saying why this folder cannot be used; nothing when it can.
torch_defect() {
  local file version unresolved
  [ -d "$1" ] || { echo "there is no such folder"; return; }
  for file in include/torch/csrc/api/include/torch/torch.h "lib/libtorch_cpu.$lib_suffix" "lib/libc10.$lib_suffix"; do
    [ -e "$1/$file" ] && continue
    if [ -e "$1/torch/$file" ]; then
      echo "it lacks $file, but $1/torch has it: name that folder"
    else
      echo "it lacks $file"
    fi
    return
  done
  version=$(torch_version "$1")
  [ -n "$version" ] || { echo "its headers do not tell the version"; return; }
  at_least "$version" 2.1 || { echo "it is libtorch $version; gotch v0.9.1 needs 2.1 or newer"; return; }
  if [ "$lib_suffix" = so ]; then
    unresolved=$(ldd "$1/lib/libtorch_cpu.so" 2>/dev/null) || { echo "its libtorch_cpu.so is not for this machine"; return; }
    unresolved=$(awk '/not found/ && !seen[$1]++ { printf " %s", $1 }' <<<"$unresolved")
    [ -z "$unresolved" ] || echo "its libtorch_cpu.so needs what the loader does not find:$unresolved"
  fi
}
