package progress

import (
	"bytes"
	"os"
	"strconv"
)

// Resident is the process's resident memory in bytes, or 0 where the system
// does not tell (anywhere but Linux).
func Resident() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	words := bytes.Fields(data)
	if len(words) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(words[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
