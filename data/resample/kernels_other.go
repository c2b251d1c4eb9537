//go:build !amd64

package resample

// useAVX2 exists for the tests.
var useAVX2 = false

// columns and pixels have no vector kernels on this architecture: the caller does
// all the work.
func columns(_, _ []uint8, _ int, _ []int32) int { return 0 }

func pixels(_, _ *[4][]uint8, _ *taps) int { return 0 }
