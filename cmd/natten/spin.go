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

// computeNothing are the commands that leave libtorch's threads alone; they are
// not worth a second start.
var computeNothing = []string{"flops", "info", "env", "convert", "help", "--help", "-h", "--version"}

// limitSpinning starts the program again with that setting, since the OpenMP
// library reads it before main. Whoever set a policy keeps it.
func limitSpinning() {
	if len(os.Args) < 2 || slices.Contains(computeNothing, os.Args[1]) {
		return
	}
	if runtime.GOOS != "linux" || os.Getenv("GOMP_SPINCOUNT") != "" || os.Getenv("OMP_WAIT_POLICY") != "" {
		return
	}
	if os.Setenv("GOMP_SPINCOUNT", spinCount) == nil {
		// On success this does not return; otherwise the program is merely slower.
		_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
}
