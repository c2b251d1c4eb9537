// Package procmem reads how much memory this process holds, native memory
// included, where the system tells (Linux: proc(5)).
package procmem

import (
	"fmt"
	"os"
	"strings"
)

// Resident is the memory in RAM that the process has, in bytes, or 0 where the
// system does not tell.
func Resident() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, resident int64
	if n, _ := fmt.Sscan(string(data), &total, &resident); n != 2 {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// Peak is the most resident memory in bytes that the process has had since it
// began or since [ResetPeak], or 0 where the system does not tell.
func Peak() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// ResetPeak starts the measurement anew and says whether the system let it.
func ResetPeak() bool { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil }
