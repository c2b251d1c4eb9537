package augment

import (
	"image"
	"math"
	"math/rand/v2"
)

// uniform draws from [lo, hi).
func uniform(rng *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }

// round is rounding to the even neighbour, as Python's round does.
func round(v float64) int { return int(math.RoundToEven(v)) }

// RandomResizedCrop draws the part of a width x height image that is kept: its
// area is uniform in scale (of the whole), the logarithm of its aspect uniform in
// ratio. After ten draws that do not fit, it is the largest central part with an
// aspect in ratio.
func RandomResizedCrop(rng *rand.Rand, width, height int, scale, ratio [2]float64) image.Rectangle {
	area := float64(width) * float64(height)
	lo, hi := math.Log(ratio[0]), math.Log(ratio[1])
	for range 10 {
		target := area * uniform(rng, scale[0], scale[1])
		aspect := math.Exp(uniform(rng, lo, hi))
		w, h := round(math.Sqrt(target*aspect)), round(math.Sqrt(target/aspect))
		if w >= 1 && h >= 1 && w <= width && h <= height {
			y, x := rng.IntN(height-h+1), rng.IntN(width-w+1)
			return image.Rect(x, y, x+w, y+h)
		}
	}
	w, h := width, height
	switch aspect := float64(width) / float64(height); {
	case aspect < ratio[0]:
		h = min(height, max(1, round(float64(w)/ratio[0])))
	case aspect > ratio[1]:
		w = min(width, max(1, round(float64(h)*ratio[1])))
	}
	x, y := (width-w)/2, (height-h)/2
	return image.Rect(x, y, x+w, y+h)
}

// EvalSize returns the size to which evaluation resizes a width x height image
// before the central crop of outW x outH: for square inputs the shorter side
// becomes floor(out/cropPct) and the longer follows, rounded down; for others the
// smallest size that covers the input's, each divided by cropPct and rounded.
func EvalSize(width, height, outW, outH int, cropPct float64) (int, int) {
	scaledW, scaledH := int(float64(outW)/cropPct), int(float64(outH)/cropPct)
	if outW == outH {
		short, long := min(width, height), max(width, height)
		other := int(float64(scaledW) * float64(long) / float64(short))
		if width <= height {
			return scaledW, other
		}
		return other, scaledW
	}
	ratio := min(float64(height)/float64(scaledH), float64(width)/float64(scaledW))
	return max(outW, round(float64(width)/ratio)), max(outH, round(float64(height)/ratio))
}

// CenterCrop is the central outW x outH part of a width x height image. Where the
// image is smaller, it reaches outside.
func CenterCrop(width, height, outW, outH int) image.Rectangle {
	at := func(size, out int) int {
		if out > size { // torchvision pads, one more behind than before
			return -((out - size) / 2)
		}
		return round(float64(size-out) / 2)
	}
	x, y := at(width, outW), at(height, outH)
	return image.Rect(x, y, x+outW, y+outH)
}
