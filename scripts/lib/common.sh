# shellcheck shell=bash
# Names, places and messages that the scripts share. Sourced, never run.
#
# From the environment: GONATTEN_CACHE (where everything downloaded goes), LIBTORCH (an existing libtorch to use
# instead), LIBTORCH_VERSION (which one to fetch), WORKERS.
set -euo pipefail

program=${0##*/}

say() { printf '%s: %s\n' "$program" "$*" >&2; }

fail() {
  say "$@"
  exit 1
}

# Prints the comment at the script's beginning and ends.
usage() {
  sed -n '2,/^[^#]/{/^# shellcheck/d;s/^# \{0,1\}//p;}' "$0"
  exit
}

# at_least VERSION MINIMUM: dotted numbers, compared field by field.
at_least() {
  awk -v have="$1" -v want="$2" 'BEGIN {
    split(have, h, "."); n = split(want, w, ".")
    for (i = 1; i <= n; i++) {
      if (h[i] + 0 > w[i] + 0) exit 0
      if (h[i] + 0 < w[i] + 0) exit 1
    }
  }'
}

# Not every script uses all of these.
# shellcheck disable=SC2034
{
  repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
  cache=${GONATTEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gonatten}
  libtorch_version=${LIBTORCH_VERSION:-2.11.0}
  torch=$cache/libtorch/$libtorch_version/torch
  gotch_dir=$cache/gotch
  lib_suffix=so
  [ "$(uname -s)" != Darwin ] || lib_suffix=dylib
}

if [ -n "${LIBTORCH:-}" ]; then
  torch=$(cd "$LIBTORCH" 2>/dev/null && pwd) || fail "LIBTORCH=$LIBTORCH is not a folder that can be opened"
fi

# The paths become compiler flags and make variables, which cannot quote.
for place in "$cache" "$torch" "$repo"; do
  case $place in
    *[!A-Za-z0-9_./+=@~-]*) fail "the path '$place' has a space or special character (or a comma or colon, which the linker takes for an end); move it, or set GONATTEN_CACHE" ;;
    /*) ;;
    *) fail "the path '$place' is relative; give GONATTEN_CACHE as an absolute path" ;;
  esac
done
