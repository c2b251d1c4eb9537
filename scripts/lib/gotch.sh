# shellcheck shell=bash
# What gotch needs beside libtorch. Sourced by setup.
#
# gotch's own linker flags name every CUDA library. Empty archives of those names, found before anything else, satisfy
# the linker without CUDA; the program then depends on libtorch_cpu and libc10 alone, and CUDA is opened at run time.
stub_names="cuda cudart cublas cudnn caffe2_nvrtc nvrtc-builtins nvrtc nvToolsExt c10_cuda torch_cuda torch"

# place_gotch_glue: the compat header and the stubs, always under the same paths: Go's build cache keys on the flags.
place_gotch_glue() {
  local name archive header=$gotch_dir/compat.h
  mkdir -p "$gotch_dir/stubs" 2>/dev/null || fail "the cache folder $cache cannot be written: give another GONATTEN_CACHE"
  if ! cmp -s "$repo/scripts/gotch/compat.h" "$header"; then
    cp "$repo/scripts/gotch/compat.h" "$header.$$"
    mv "$header.$$" "$header"
  fi
  for name in $stub_names; do
    archive=$gotch_dir/stubs/lib$name.a
    [ -s "$archive" ] || printf '!<arch>\n' >"$archive"
  done
}
