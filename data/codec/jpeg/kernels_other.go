//go:build !amd64

package jpeg

// useAVX2 exists for the tests.
var useAVX2 = false

// idct8 writes the 8x8 pixels of a block to out, rows pitch bytes apart. It may use
// b as its work space.
func idct8(b *[64]int32, out []uint8, pitch int) { idct8Go(b, out, pitch) }

// toRGBVector and triangle4Vector have no vector kernels on this architecture: the
// caller does all the work.
func toRGBVector(_, _, _, _ []uint8) int { return 0 }

func triangle4Vector(_, _, _ []uint8, _, _ int) int { return 0 }
