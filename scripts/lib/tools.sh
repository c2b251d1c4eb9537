# shellcheck shell=bash
# Checks of what the machine must bring. Sourced by setup.
#
# Each check prints one line for what it misses, with the command that gets it; all run before setup gives up.

lacking=0

# lack WHAT APT DNF BREW
lack() {
  say "$1: $2 (Debian, Ubuntu), $3 (Fedora), $4 (macOS)"
  lacking=$((lacking + 1))
}

check_go() {
  local wanted found
  wanted=$(awk '$1 == "go" { print $2; exit }' "$repo/go.mod")
  if ! command -v go >/dev/null; then
    found="there is none"
  elif found=$(cd "$repo" && go env GOVERSION 2>&1); then
    found=${found#go}
    at_least "${found%%[!0-9.]*}" "$wanted" && return
    found="found $found"
  else
    found=$(printf '%s' "$found" | tr '\n' ' ')
  fi
  lack "go $wanted or newer is missing ($found)" \
    "apt-get install golang-go, or the archive of go.dev/dl where that is older" "dnf install golang" "brew install go"
}

check_cxx() {
  local compiler=${CXX:-g++} found="there is none"
  # shellcheck disable=SC2086 # CXX may hold a launcher: "ccache g++"
  if found=$($compiler -dumpfullversion -dumpversion 2>/dev/null); then
    at_least "$found" 10 && return
    found="$compiler is $found"
  else
    found="$compiler does not run"
  fi
  lack "g++ 10 or newer is missing ($found)" "apt-get install g++" "dnf install gcc-c++" "xcode-select --install"
}

check_make() {
  command -v "${MAKE:-make}" >/dev/null ||
    lack "make is missing" "apt-get install make" "dnf install make" "xcode-select --install"
}

check_pip() {
  local found
  if ! found=$(python3 -m pip --version 2>/dev/null); then
    lack "python3 with pip is missing" "apt-get install python3-pip" "dnf install python3-pip" "brew install python"
    return
  fi
  found=$(printf '%s' "$found" | awk '{ print $2 }')
  # 20.3 is the first whose --platform may be given several times.
  at_least "$found" 20.3 ||
    lack "pip 20.3 or newer is missing (found $found)" "python3 -m pip install --user --upgrade pip" \
      "python3 -m pip install --user --upgrade pip" "brew upgrade python"
}

# check_libc: the wheels are built for glibc; musl systems and older ones cannot load them.
check_libc() {
  [ "$lib_suffix" = so ] || return 0
  local found
  found=$(getconf GNU_LIBC_VERSION 2>/dev/null) ||
    fail "this system has no glibc, for which the torch wheels are built; build libtorch and give LIBTORCH="
  found=${found##* }
  at_least "$found" 2.28 || fail "glibc 2.28 or newer is missing (found $found): it comes with a newer system release"
}

# check_cache GIGABYTES: the cache folder can be written and has that much room.
check_cache() {
  local free
  mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] ||
    fail "the cache folder $cache cannot be written: give another one, GONATTEN_CACHE=/path make setup"
  free=$(df -Pk "$cache" | awk 'NR == 2 { printf "%.1f", $4 / 1048576 }')
  at_least "$free" "$1" ||
    fail "$cache has $free GB free and setup needs $1: make room, or GONATTEN_CACHE=/path/with/room make setup"
}
