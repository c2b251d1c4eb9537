package resample

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Filter chooses how pixels are weighted.
type Filter int

// The filters; see the package's documentation.
const (
	Nearest Filter = iota
	Box
	Bilinear
	Hamming
	Bicubic
	Lanczos
)

var filterNames = []string{"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}

// String is the filter's name in lower case.
func (f Filter) String() string {
	if f < 0 || int(f) >= len(filterNames) {
		return fmt.Sprintf("Filter(%d)", int(f))
	}
	return filterNames[f]
}

// ParseFilter is the inverse of String.
func ParseFilter(name string) (Filter, error) {
	if i := slices.Index(filterNames, strings.ToLower(name)); i >= 0 {
		return Filter(i), nil
	}
	return 0, fmt.Errorf("resample: unknown interpolation %q, want one of %s", name, strings.Join(filterNames, ", "))
}

// support is half the width of the filter at scale 1.
func (f Filter) support() float64 {
	switch f {
	case Box:
		return 0.5
	case Bilinear, Hamming:
		return 1
	case Bicubic:
		return 2
	case Lanczos:
		return 3
	}
	return 0
}

// weight is the filter at x.
func (f Filter) weight(x float64) float64 {
	switch f {
	case Box:
		if x > -0.5 && x <= 0.5 {
			return 1
		}
	case Bilinear:
		if x = math.Abs(x); x < 1 {
			return 1 - x
		}
	case Hamming:
		if x = math.Abs(x); x == 0 {
			return 1
		} else if x < 1 {
			x *= math.Pi
			return math.Sin(x) / x * (0.54 + 0.46*math.Cos(x))
		}
	case Bicubic:
		const a = -0.5
		if x = math.Abs(x); x < 1 {
			return ((a+2)*x-(a+3))*x*x + 1
		} else if x < 2 {
			return (((x-5)*x+8)*x - 4) * a
		}
	case Lanczos:
		if x >= -3 && x < 3 {
			return sinc(x) * sinc(x/3)
		}
	}
	return 0
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// precision is the number of fractional bits of a coefficient: 8 bits of pixel, 2
// bits for sums beyond 1 and the sign leave 22 of 32.
const precision = 32 - 8 - 2

// taps are the coefficients of one axis: output i is the sum of count[i] inputs
// from first[i] on, weighted with coef[i*stride:].
type taps struct {
	first, count []int32
	coef         []int32
	stride       int
	weights      []float64 // scratch
}

// compute fills t for outputs [from, to) of an axis of in pixels resized to out.
func (t *taps) compute(f Filter, in, out, from, to int) {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := f.support() * stretch
	n := to - from
	t.stride = int(math.Ceil(support))*2 + 1
	t.first, t.count = grow(t.first, n), grow(t.count, n)
	t.coef = grow(t.coef, n*t.stride)
	t.weights = grow(t.weights, t.stride)
	for i := range n {
		center := float64((float64(i+from) + 0.5) * scale) // the conversion forbids fused rounding
		lo := max(0, int(center-support+0.5))
		hi := min(in, int(center+support+0.5))
		sum := 0.0
		for x := lo; x < hi; x++ {
			w := f.weight((float64(x) - center + 0.5) * (1 / stretch))
			t.weights[x-lo] = w
			sum += w
		}
		coef := t.coef[i*t.stride:]
		for x := range hi - lo {
			w := t.weights[x]
			if sum != 0 {
				w /= sum
			}
			coef[x] = int32(float64(w*(1<<precision)) + math.Copysign(0.5, w))
		}
		t.first[i], t.count[i] = int32(lo), int32(hi-lo)
	}
}

// grow returns a slice of n elements, s itself where it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
