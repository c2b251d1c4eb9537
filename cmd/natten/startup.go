package main

import (
	"os"
	"runtime"
	"slices"
	"syscall"
)

// spinCount is how often libtorch's threads (GNU's OpenMP) look for new work
// before they sleep. Their own default is hundreds of thousands: on a machine
// with anything else to do, a thread then burns the very core that the one it
// waits for needs, and training is several times slower.
const spinCount = "1000"

// keepMemory makes glibc keep what libtorch frees. Left alone it gives every
// large block back to the system, which maps and clears the pages again a
// moment later: a fifth of the time of a training step of a small model. The
// process holds on to the most that it once needed, up to 4 GB beyond its use.
// What it keeps lies on huge pages where the system gives them on request: 4%
// of a training step (glibc 2.35; earlier ones ignore the setting).
const keepMemory = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296:" +
	"glibc.malloc.top_pad=67108864:glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"

// asTheyAre are the commands that start once: bench measures the libraries as
// every program sees them, the others are over before a second start pays.
var asTheyAre = []string{"bench", "flops", "info", "env", "convert", "help", "--help", "-h", "--version"}

// restart starts the program again with these settings, since the libraries
// read them before main. What the user has set stays.
func restart(args []string) {
	if runtime.GOOS != "linux" || len(args) < 2 || slices.Contains(asTheyAre, args[1]) {
		return
	}
	again := false
	set := func(name, value string, unless ...string) {
		for _, other := range append(unless, name) {
			if os.Getenv(other) != "" {
				return
			}
		}
		again = os.Setenv(name, value) == nil || again
	}
	set("GOMP_SPINCOUNT", spinCount, "OMP_WAIT_POLICY")
	set("GLIBC_TUNABLES", keepMemory)
	if again {
		// On success this does not return; otherwise the program is merely slower.
		_ = syscall.Exec("/proc/self/exe", args, os.Environ())
	}
}
