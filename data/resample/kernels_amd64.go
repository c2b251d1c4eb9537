package resample

import "golang.org/x/sys/cpu"

// useAVX2 chooses the vector kernels; tests switch it off to compare.
var useAVX2 = cpu.X86.HasAVX2

// columnsAVX2 makes 32*blocks bytes of a row of the vertical pass: sums of n rows,
// stride bytes apart, weighted with coef.
//
//go:noescape
func columnsAVX2(out, rows *uint8, stride int, coef *int32, n, blocks int)

// pixelsAVX2 makes n pixels of four rows of the horizontal pass. It reads one byte
// behind each input pixel and writes one behind each output pixel.
//
//go:noescape
func pixelsAVX2(out, in *[4]*uint8, first, count, coef *int32, stride, n int)

// columns does as much of a row of the vertical pass as the vector kernel can and
// returns how many bytes those are.
func columns(out, rows []uint8, stride int, coef []int32) int {
	blocks := stride / 32
	if !useAVX2 || blocks == 0 || len(coef) == 0 {
		return 0
	}
	_ = rows[(len(coef)-1)*stride+stride-1]
	_ = out[32*blocks-1]
	columnsAVX2(&out[0], &rows[0], stride, &coef[0], len(coef), blocks)
	return 32 * blocks
}

// pixels does as much of four rows of the horizontal pass as the vector kernel can
// and returns how many pixels those are. Rows of in have a byte behind their last
// pixel; those of out are exactly as wide as t is long.
func pixels(out, in *[4][]uint8, t *taps) int {
	n := len(t.first) - 1 // the last pixel has no byte behind it
	if !useAVX2 || n < 1 {
		return 0
	}
	var o, i [4]*uint8
	for k := range o {
		o[k], i[k] = &out[k][0], &in[k][0]
	}
	pixelsAVX2(&o, &i, &t.first[0], &t.count[0], &t.coef[0], t.stride, n)
	return n
}
