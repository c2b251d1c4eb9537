package augment

import (
	"math/rand/v2"

	"github.com/gonatten/gonatten/data/imageops"
	"github.com/gonatten/gonatten/data/raster"
)

// ColorJitter changes brightness, contrast and saturation by factors drawn from
// [max(0, 1-s), 1+s) and turns the hue by up to Hue of the circle, in random order
// (torchvision's ColorJitter). A strength of 0 leaves its step out.
type ColorJitter struct {
	Brightness, Contrast, Saturation, Hue float64
}

// newColorJitter reads a strength for the first three, or three or four of them.
func newColorJitter(s []float64) ColorJitter {
	switch len(s) {
	case 0:
		return ColorJitter{}
	case 1:
		return ColorJitter{Brightness: s[0], Contrast: s[0], Saturation: s[0]}
	case 3:
		s = append(s[:3:3], 0)
	}
	return ColorJitter{s[0], s[1], s[2], s[3]}
}

// Apply changes m in place.
func (j ColorJitter) Apply(m *raster.Image, rng *rand.Rand) {
	order := [4]int{0, 1, 2, 3}
	rng.Shuffle(4, func(a, b int) { order[a], order[b] = order[b], order[a] })
	factor := func(s float64) float64 { return uniform(rng, max(0, 1-s), 1+s) }
	for _, op := range order {
		switch {
		case op == 0 && j.Brightness > 0:
			imageops.Brightness(m, factor(j.Brightness))
		case op == 1 && j.Contrast > 0:
			imageops.Contrast(m, factor(j.Contrast))
		case op == 2 && j.Saturation > 0:
			imageops.Color(m, factor(j.Saturation))
		case op == 3 && j.Hue > 0:
			imageops.Hue(m, uniform(rng, -j.Hue, j.Hue))
		}
	}
}
