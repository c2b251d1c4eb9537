package jpeg

// The inverse DCT of Loeffler, Ligtenberg and Moschytz (ICASSP 1989) in 32-bit
// integers: constants of 13 fractional bits, 2 extra bits kept between the passes.
// Reduced versions give 4x4, 2x2 or 1x1 pixels from the low frequencies of a
// block. Coefficients are dequantized and in natural order: b[8*row+column].
const (
	constBits = 13
	passBits  = 2

	c0211 = 1730  // 0.211164243
	c0298 = 2446  // 0.298631336
	c0390 = 3196  // 0.390180644
	c0509 = 4176  // 0.509795579
	c0541 = 4433  // 0.541196100
	c0601 = 4926  // 0.601344887
	c0720 = 5906  // 0.720959822
	c0765 = 6270  // 0.765366865
	c0850 = 6967  // 0.850430095
	c0899 = 7373  // 0.899976223
	c1061 = 8697  // 1.061594337
	c1175 = 9633  // 1.175875602
	c1272 = 10426 // 1.272758580
	c1451 = 11893 // 1.451774981
	c1501 = 12299 // 1.501321110
	c1847 = 15137 // 1.847759065
	c1961 = 16069 // 1.961570560
	c2053 = 16819 // 2.053119869
	c2172 = 17799 // 2.172734803
	c2562 = 20995 // 2.562915447
	c3072 = 25172 // 3.072711026
	c3624 = 29692 // 3.624509785
)

// level shifts a transformed value to the range of a pixel and limits it.
func level(v int32) uint8 {
	v += 128
	if uint32(v) > 255 {
		v = ^v >> 31
	}
	return uint8(v)
}

// idct8Go is idct8 without vector instructions.
func idct8Go(b *[64]int32, out []uint8, pitch int) {
	for x := range 8 {
		in0, in1, in2, in3 := b[x], b[8+x], b[16+x], b[24+x]
		in4, in5, in6, in7 := b[32+x], b[40+x], b[48+x], b[56+x]
		if in1|in2|in3|in4|in5|in6|in7 == 0 {
			dc := in0 << passBits
			b[x], b[8+x], b[16+x], b[24+x] = dc, dc, dc, dc
			b[32+x], b[40+x], b[48+x], b[56+x] = dc, dc, dc, dc
			continue
		}
		const shift = constBits - passBits
		const round = 1 << (shift - 1)
		z1 := (in2 + in6) * c0541
		t2, t3 := z1-in6*c1847, z1+in2*c0765
		t0, t1 := (in0+in4)<<constBits+round, (in0-in4)<<constBits+round
		t10, t13, t11, t12 := t0+t3, t0-t3, t1+t2, t1-t2

		z5 := (in7 + in3 + in5 + in1) * c1175
		z1, z2 := (in7+in1)*-c0899, (in5+in3)*-c2562
		z3, z4 := (in7+in3)*-c1961+z5, (in5+in1)*-c0390+z5
		o0, o1 := in7*c0298+z1+z3, in5*c2053+z2+z4
		o2, o3 := in3*c3072+z2+z3, in1*c1501+z1+z4

		b[x], b[56+x] = (t10+o3)>>shift, (t10-o3)>>shift
		b[8+x], b[48+x] = (t11+o2)>>shift, (t11-o2)>>shift
		b[16+x], b[40+x] = (t12+o1)>>shift, (t12-o1)>>shift
		b[24+x], b[32+x] = (t13+o0)>>shift, (t13-o0)>>shift
	}
	for y := range 8 {
		const shift = constBits + passBits + 3
		const round = 1<<(shift-1) + 128<<shift // 128 is the middle of a pixel's range
		r := b[8*y : 8*y+8 : 8*y+8]
		o := out[y*pitch : y*pitch+8 : y*pitch+8]
		in0, in1, in2, in3 := r[0], r[1], r[2], r[3]
		in4, in5, in6, in7 := r[4], r[5], r[6], r[7]
		z1 := (in2 + in6) * c0541
		t2, t3 := z1-in6*c1847, z1+in2*c0765
		t0, t1 := (in0+in4)<<constBits+round, (in0-in4)<<constBits+round
		t10, t13, t11, t12 := t0+t3, t0-t3, t1+t2, t1-t2

		z5 := (in7 + in3 + in5 + in1) * c1175
		z1, z2 := (in7+in1)*-c0899, (in5+in3)*-c2562
		z3, z4 := (in7+in3)*-c1961+z5, (in5+in1)*-c0390+z5
		o0, o1 := in7*c0298+z1+z3, in5*c2053+z2+z4
		o2, o3 := in3*c3072+z2+z3, in1*c1501+z1+z4

		o[0], o[7] = clip((t10+o3)>>shift), clip((t10-o3)>>shift)
		o[1], o[6] = clip((t11+o2)>>shift), clip((t11-o2)>>shift)
		o[2], o[5] = clip((t12+o1)>>shift), clip((t12-o1)>>shift)
		o[3], o[4] = clip((t13+o0)>>shift), clip((t13-o0)>>shift)
	}
}

// fill8 writes the pixels of a block that has a DC coefficient only.
func fill8(dc int32, out []uint8, pitch int) {
	v := level((dc<<passBits + 1<<(passBits+2)) >> (passBits + 3))
	for y := range 8 {
		o := out[y*pitch : y*pitch+8 : y*pitch+8]
		for x := range o {
			o[x] = v
		}
	}
}

// idct4 writes the block at half size.
func idct4(b *[64]int32, out []uint8, pitch int) {
	part := func(in0, in1, in2, in3, in5, in6, in7 int32) (t10, t12, o0, o2 int32) {
		t0, t2 := in0<<(constBits+1), in2*c1847-in6*c0765
		o0 = in5*c1451 - in7*c0211 - in3*c2172 + in1*c1061
		o2 = in3*c0899 - in7*c0509 - in5*c0601 + in1*c2562
		return t0 + t2, t0 - t2, o0, o2
	}
	for x := range 8 {
		if x == 4 {
			continue // not used below
		}
		const shift = constBits - passBits + 1
		const round = 1 << (shift - 1)
		t10, t12, o0, o2 := part(b[x], b[8+x], b[16+x], b[24+x], b[40+x], b[48+x], b[56+x])
		b[x], b[24+x] = (t10+o2+round)>>shift, (t10-o2+round)>>shift
		b[8+x], b[16+x] = (t12+o0+round)>>shift, (t12-o0+round)>>shift
	}
	for y := range 4 {
		const shift = constBits + passBits + 3 + 1
		const round = 1 << (shift - 1)
		r, o := b[8*y:8*y+8:8*y+8], out[y*pitch:y*pitch+4:y*pitch+4]
		t10, t12, o0, o2 := part(r[0], r[1], r[2], r[3], r[5], r[6], r[7])
		o[0], o[3] = level((t10+o2+round)>>shift), level((t10-o2+round)>>shift)
		o[1], o[2] = level((t12+o0+round)>>shift), level((t12-o0+round)>>shift)
	}
}

// idct2 writes the block at quarter size.
func idct2(b *[64]int32, out []uint8, pitch int) {
	part := func(in1, in3, in5, in7 int32) int32 {
		return in5*c0850 - in7*c0720 - in3*c1272 + in1*c3624
	}
	for x := range 8 {
		if x == 2 || x == 4 || x == 6 {
			continue // not used below
		}
		const shift = constBits - passBits + 2
		const round = 1 << (shift - 1)
		t, o := b[x]<<(constBits+2)+round, part(b[8+x], b[24+x], b[40+x], b[56+x])
		b[x], b[8+x] = (t+o)>>shift, (t-o)>>shift
	}
	for y := range 2 {
		const shift = constBits + passBits + 3 + 2
		const round = 1 << (shift - 1)
		r, o := b[8*y:8*y+8:8*y+8], out[y*pitch:y*pitch+2:y*pitch+2]
		t, u := r[0]<<(constBits+2)+round, part(r[1], r[3], r[5], r[7])
		o[0], o[1] = level((t+u)>>shift), level((t-u)>>shift)
	}
}

// idct1 writes the block as one pixel, its mean.
func idct1(dc int32, out []uint8) { out[0] = level((dc + 4) >> 3) }
