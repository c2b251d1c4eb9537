package augment

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"

	"github.com/gonatten/gonatten/data/imageops"
	"github.com/gonatten/gonatten/data/raster"
	"github.com/gonatten/gonatten/data/resample"
)

// RandAugment (Cubuk et al. 2019, arXiv 1909.13719) applies a few operations,
// chosen at random, at a magnitude that they share, in timm's version: each with
// a probability, the magnitude with noise.
type RandAugment struct {
	Magnitude  float64 // 0 to 10 for the operations' usual ranges
	Std        float64 // of the magnitude's normal noise; +Inf draws it from [0, Magnitude)
	Max        float64 // limit of the noisy magnitude, 10
	Layers     int     // operations per image, 2
	Prob       float64 // probability of each operation, 0.5
	Increasing bool    // operations whose effect grows with the magnitude throughout
	Weighted   bool    // choose by fixed weights and without repetition

	Fill        [3]uint8        // colour of what moves in from outside
	Filter      resample.Filter // of the geometric operations
	RandomFilt  bool            // bilinear or bicubic by chance, in the place of Filter
	TranslatePc float64         // largest shift, as part of the image's size, 0.45
}

// fullLevel is the magnitude at which the ranges of the operations end.
const fullLevel = 10

var randPart = regexp.MustCompile(`^([a-z]+)(\d+(?:\.\d+)?)$`)

// ParseRandAugment reads timm's description: "rand" and parts separated by
// dashes, each a key and a number.
//
//	m     magnitude (10)              mstd  noise of the magnitude (0); above 100: uniform
//	n     operations per image (2)    mmax  largest magnitude (10)
//	p     probability of each (0.5)   inc   1 takes the increasing operations (0)
//	tweights                          increasing operations, chosen by weights
//
// The recipe's "rand-m9-mstd0.5-inc1" is magnitude 9, noise 0.5, increasing.
func ParseRandAugment(config string) (*RandAugment, error) {
	parts := strings.Split(config, "-")
	if parts[0] != "rand" {
		return nil, fmt.Errorf("augment: auto_augment %q: only RandAugment is known, which begins with rand-", config)
	}
	r := &RandAugment{Magnitude: fullLevel, Max: fullLevel, Layers: 2, Prob: 0.5, TranslatePc: 0.45, RandomFilt: true}
	for _, part := range parts[1:] {
		if part == "tweights" {
			r.Weighted, r.Increasing = true, true
			continue
		}
		match := randPart.FindStringSubmatch(part)
		if match == nil {
			return nil, fmt.Errorf("augment: auto_augment %q: %q is not a key and a number", config, part)
		}
		v, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return nil, fmt.Errorf("augment: auto_augment %q: %w", config, err)
		}
		switch match[1] {
		case "m":
			r.Magnitude = v
		case "mstd":
			if r.Std = v; v > 100 {
				r.Std = math.Inf(1)
			}
		case "mmax":
			r.Max = v
		case "n":
			r.Layers = int(v)
		case "p":
			r.Prob = v
		case "inc":
			r.Increasing = v != 0
		default:
			return nil, fmt.Errorf("augment: auto_augment %q: unknown key %q, want m, mstd, mmax, n, p, inc or tweights", config, match[1])
		}
	}
	if r.Prob > 1 {
		return nil, fmt.Errorf("augment: auto_augment %q: probability %v", config, r.Prob)
	}
	if r.Weighted && r.Layers > len(repertoire) {
		return nil, fmt.Errorf("augment: auto_augment %q: %d layers of %d different operations", config, r.Layers, len(repertoire))
	}
	return r, nil
}

// randOp is one operation of the repertoire.
type randOp struct {
	name   string
	weight float64 // for Weighted
	apply  func(r *RandAugment, m *raster.Image, tmp *raster.Image, level float64, rng *rand.Rand) *raster.Image
}

// inPlace makes an operation of one that changes its image.
func inPlace(f func(r *RandAugment, m *raster.Image, level float64, rng *rand.Rand)) func(*RandAugment, *raster.Image, *raster.Image, float64, *rand.Rand) *raster.Image {
	return func(r *RandAugment, m, _ *raster.Image, level float64, rng *rand.Rand) *raster.Image {
		f(r, m, level, rng)
		return m
	}
}

// moving makes an operation of a matrix that depends on the level.
func moving(matrix func(r *RandAugment, m *raster.Image, level float64) imageops.Matrix) func(*RandAugment, *raster.Image, *raster.Image, float64, *rand.Rand) *raster.Image {
	return func(r *RandAugment, m, tmp *raster.Image, level float64, rng *rand.Rand) *raster.Image {
		filter := r.Filter
		if r.RandomFilt {
			filter = randomFilter(rng)
		}
		if err := imageops.Affine(tmp, m, matrix(r, m, negate(rng, level)), filter, r.Fill); err != nil {
			panic(err) // the filter was checked when the pipeline was built
		}
		return tmp
	}
}

// randomFilter is what interpolation "random" means.
func randomFilter(rng *rand.Rand) resample.Filter {
	if rng.IntN(2) == 0 {
		return resample.Bilinear
	}
	return resample.Bicubic
}

func negate(rng *rand.Rand, v float64) float64 {
	if rng.Float64() > 0.5 {
		return -v
	}
	return v
}

// enhanceFactor is the factor of colour, contrast, brightness and sharpness: from
// 0.1 to 1.9, where 1 changes nothing; increasing, it departs from 1 in a random
// direction.
func (r *RandAugment) enhanceFactor(level float64, rng *rand.Rand) float64 {
	if r.Increasing {
		return max(0.1, 1+negate(rng, level/fullLevel*0.9))
	}
	return level/fullLevel*1.8 + 0.1
}

// repertoire are timm's fifteen operations, in its order.
var repertoire = []randOp{
	{"AutoContrast", 0.25, inPlace(func(_ *RandAugment, m *raster.Image, _ float64, _ *rand.Rand) { imageops.AutoContrast(m) })},
	{"Equalize", 0.05, inPlace(func(_ *RandAugment, m *raster.Image, _ float64, _ *rand.Rand) { imageops.Equalize(m) })},
	{"Invert", 0.05, inPlace(func(_ *RandAugment, m *raster.Image, _ float64, _ *rand.Rand) { imageops.Invert(m) })},
	{"Rotate", 3, moving(func(_ *RandAugment, m *raster.Image, level float64) imageops.Matrix {
		return imageops.Rotate(level/fullLevel*30, m.Width, m.Height)
	})},
	{"Posterize", 0.05, inPlace(func(r *RandAugment, m *raster.Image, level float64, _ *rand.Rand) {
		bits := int(level / fullLevel * 4)
		if r.Increasing {
			bits = 4 - bits
		}
		imageops.Posterize(m, bits)
	})},
	{"Solarize", 0.05, inPlace(func(r *RandAugment, m *raster.Image, level float64, _ *rand.Rand) {
		threshold := min(256, int(level/fullLevel*256))
		if r.Increasing {
			threshold = 256 - threshold
		}
		imageops.Solarize(m, threshold)
	})},
	{"SolarizeAdd", 0.05, inPlace(func(_ *RandAugment, m *raster.Image, level float64, _ *rand.Rand) {
		imageops.SolarizeAdd(m, min(128, int(level/fullLevel*110)), 128)
	})},
	{"Color", 0.25, inPlace(func(r *RandAugment, m *raster.Image, level float64, rng *rand.Rand) {
		imageops.Color(m, r.enhanceFactor(level, rng))
	})},
	{"Contrast", 0.05, inPlace(func(r *RandAugment, m *raster.Image, level float64, rng *rand.Rand) {
		imageops.Contrast(m, r.enhanceFactor(level, rng))
	})},
	{"Brightness", 0.05, inPlace(func(r *RandAugment, m *raster.Image, level float64, rng *rand.Rand) {
		imageops.Brightness(m, r.enhanceFactor(level, rng))
	})},
	{"Sharpness", 0.25, func(r *RandAugment, m, tmp *raster.Image, level float64, rng *rand.Rand) *raster.Image {
		imageops.Sharpness(tmp, m, r.enhanceFactor(level, rng))
		return tmp
	}},
	{"ShearX", 2, moving(func(_ *RandAugment, _ *raster.Image, level float64) imageops.Matrix {
		return imageops.ShearX(level / fullLevel * 0.3)
	})},
	{"ShearY", 2, moving(func(_ *RandAugment, _ *raster.Image, level float64) imageops.Matrix {
		return imageops.ShearY(level / fullLevel * 0.3)
	})},
	{"TranslateXRel", 1, moving(func(r *RandAugment, m *raster.Image, level float64) imageops.Matrix {
		return imageops.Translate(level/fullLevel*r.TranslatePc*float64(m.Width), 0)
	})},
	{"TranslateYRel", 1, moving(func(r *RandAugment, m *raster.Image, level float64) imageops.Matrix {
		return imageops.Translate(0, level/fullLevel*r.TranslatePc*float64(m.Height))
	})},
}

// Apply augments m with the help of the buffer tmp and returns the result, which
// is one of the two.
func (r *RandAugment) Apply(m, tmp *raster.Image, rng *rand.Rand) *raster.Image {
	var used uint32
	for range r.Layers {
		op := rng.IntN(len(repertoire))
		if r.Weighted {
			op = weighted(rng, used)
			used |= 1 << op
		}
		if r.Prob < 1 && rng.Float64() > r.Prob {
			continue
		}
		level := r.Magnitude
		switch {
		case math.IsInf(r.Std, 1):
			level = uniform(rng, 0, level)
		case r.Std > 0:
			level += r.Std * rng.NormFloat64()
		}
		if out := repertoire[op].apply(r, m, tmp, max(0, min(level, r.Max)), rng); out != m {
			m, tmp = out, m
		}
	}
	return m
}

// weighted chooses an operation by weight among those not used.
func weighted(rng *rand.Rand, used uint32) int {
	total := 0.0
	for i, op := range repertoire {
		if used>>i&1 == 0 {
			total += op.weight
		}
	}
	at, last := rng.Float64()*total, 0
	for i, op := range repertoire {
		if used>>i&1 == 1 {
			continue
		}
		if last = i; at < op.weight {
			break
		}
		at -= op.weight
	}
	return last
}
