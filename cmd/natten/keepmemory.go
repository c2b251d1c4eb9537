package main

import (
	"os"
	"runtime"
	"slices"
	"syscall"
)

// keeping makes glibc's malloc keep what is freed, up to 8 GiB. By itself it takes
// large blocks from the system and gives them back at once; a training step frees
// and allocates hundreds, and having their pages cleared anew took a sixth of the
// time.
var keeping = map[string]string{"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8589934592"}

// manySteps are the commands that allocate the same blocks over and over.
var manySteps = []string{"train", "eval", "bench"}

// keepMemory sets these variables for the next start, since malloc reads them
// before main, and reports whether one is needed. Whoever set one keeps it.
func keepMemory() (restart bool) {
	if runtime.GOOS != "linux" || len(os.Args) < 2 || !slices.Contains(manySteps, os.Args[1]) {
		return false
	}
	for name, value := range keeping {
		if os.Getenv(name) == "" && os.Setenv(name, value) == nil {
			restart = true
		}
	}
	return restart
}

// startAgain does not return on success; otherwise the program is merely slower.
func startAgain() { _ = syscall.Exec("/proc/self/exe", os.Args, os.Environ()) }
