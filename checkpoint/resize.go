package checkpoint

import (
	"fmt"
	"math"
	"slices"
)

// cubicA is the free coefficient of the cubic convolution kernel that PyTorch uses.
const cubicA = -0.75

// ResizeCubic resamples a tensor of shape [C, n1, ..., nr] to [C, size1, ..., sizer] by cubic convolution along each of
// the axes behind the first: for two axes this is torch.nn.functional.interpolate(mode="bicubic", align_corners=False)
// without antialiasing, which is how relative positional biases are carried to another kernel size. The arithmetic is
// float64; F32 and F64 tensors keep their type, other floats become F32.
//
// Source: Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -0.75.
func ResizeCubic(t *Tensor, size ...int64) (*Tensor, error) {
	if t.Rank() != len(size)+1 || len(size) == 0 {
		return nil, fmt.Errorf("checkpoint: ResizeCubic: %d sizes for %s", len(size), t)
	}
	if !t.dtype.IsFloat() {
		return nil, fmt.Errorf("checkpoint: ResizeCubic: %s does not hold floats", t)
	}
	shape := append([]int64{t.shape[0]}, size...)
	n, err := byteCount(F64, shape)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: ResizeCubic: %w", err)
	}
	if n == 0 || t.Numel() == 0 {
		return nil, fmt.Errorf("checkpoint: ResizeCubic: empty tensor: %s to %s", t, ShapeString(shape))
	}
	values, err := t.Float64s()
	if err != nil {
		return nil, err
	}
	from := t.Shape()
	for axis := len(from) - 1; axis > 0; axis-- {
		values = resizeAxis(values, from, axis, int(shape[axis]))
		from[axis] = shape[axis]
	}
	if t.dtype == F64 {
		return FromFloat64s(values, shape...)
	}
	rounded := make([]float32, len(values))
	for i, v := range values {
		rounded[i] = float32(v)
	}
	return FromFloat32s(rounded, shape...)
}

// resizeAxis resamples one axis of a row-major array to n points.
func resizeAxis(in []float64, shape []int64, axis, n int) []float64 {
	if shape[axis] == int64(n) {
		return slices.Clone(in)
	}
	length, inner := int(shape[axis]), 1
	for _, s := range shape[axis+1:] {
		inner *= int(s)
	}
	outer := len(in) / (length * inner)
	out := make([]float64, outer*n*inner)
	for i := range n {
		taps, weights := cubicTaps(i, length, n)
		for o := range outer {
			dst := out[(o*n+i)*inner:][:inner]
			for k, tap := range taps {
				src := in[(o*length+tap)*inner:][:inner]
				for j, v := range src {
					dst[j] += weights[k] * v
				}
			}
		}
	}
	return out
}

// cubicTaps returns the four samples, repeated at the border, that make point i of n out of length samples.
func cubicTaps(i, length, n int) (taps [4]int, weights [4]float64) {
	// Pixel centres lie at half-integers in both grids (align_corners=False).
	at := (float64(i)+0.5)*float64(length)/float64(n) - 0.5
	floor := math.Floor(at)
	frac := at - floor
	for k := range taps {
		taps[k] = min(max(int(floor)+k-1, 0), length-1)
		weights[k] = cubicKernel(math.Abs(frac - float64(k-1)))
	}
	return taps, weights
}

// cubicKernel is Keys' kernel at a distance x from 0 to 2.
func cubicKernel(x float64) float64 {
	if x <= 1 {
		return ((cubicA+2)*x-(cubicA+3))*x*x + 1
	}
	return ((cubicA*x-5*cubicA)*x+8*cubicA)*x - 4*cubicA
}
