package jpeg

import "golang.org/x/sys/cpu"

// useAVX2 chooses the vector kernels; tests switch it off to compare.
var useAVX2 = cpu.X86.HasAVX2

// idctTable holds the constants of both passes, each eight times.
var idctTable = func() (t [14][8]int32) {
	for i, v := range [14]int32{
		c0541, c1847, c0765, c1175, -c0899, -c2562, -c1961, -c0390, c0298, c2053, c3072, c1501,
		1 << (constBits - passBits - 1),
		1<<(constBits+passBits+2) + 128<<(constBits+passBits+3),
	} {
		for k := range t[i] {
			t[i][k] = v
		}
	}
	return t
}()

//go:noescape
func idct8AVX2(b *[64]int32, out *uint8, pitch int, table *[14][8]int32)

// toRGBAVX2 converts 8*blocks pixels and writes four bytes behind them.
//
//go:noescape
func toRGBAVX2(out, y, cb, cr *uint8, blocks int)

// triangle4AVX2 doubles 16*blocks pixels, reading one before and one behind them.
//
//go:noescape
func triangle4AVX2(out, near, far *uint8, blocks int)

// idct8 writes the 8x8 pixels of a block to out, rows pitch bytes apart. It may use
// b as its work space.
func idct8(b *[64]int32, out []uint8, pitch int) {
	if !useAVX2 {
		idct8Go(b, out, pitch)
		return
	}
	_ = out[7*pitch+7]
	idct8AVX2(b, &out[0], pitch, &idctTable)
}

// toRGBVector converts as many pixels of a row as the vector kernel can and returns
// how many those are. All slices are one row long.
func toRGBVector(out, y, cb, cr []uint8) int {
	blocks := (len(y) - 2) / 8 // two pixels are left for the bytes written too many
	if !useAVX2 || blocks < 1 {
		return 0
	}
	n := 8 * blocks
	_, _, _, _ = y[n-1], cb[n-1], cr[n-1], out[3*n+3]
	toRGBAVX2(&out[0], &y[0], &cb[0], &cr[0], blocks)
	return n
}

// triangle4Vector doubles as many of the pixels [from, to) as the vector kernel
// can, writing to the start of out, and returns how many those are.
func triangle4Vector(out, near, far []uint8, from, to int) int {
	blocks := (min(to, len(near)-1) - from) / 16
	if !useAVX2 || blocks < 1 || from < 1 {
		return 0
	}
	n := 16 * blocks
	_, _, _ = near[from+n], far[from+n], out[2*n-1]
	triangle4AVX2(&out[0], &near[from], &far[from], blocks)
	return n
}
