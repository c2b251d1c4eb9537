package augment

import (
	"errors"
	"fmt"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/resample"
)

// Crop modes of training.
const (
	// CropResized takes a part of random size and aspect and resizes it
	// (Szegedy et al. 2015, arXiv 1409.4842).
	CropResized = "resized"
	// CropPadded resizes the image only where its size is another one, pads it with
	// black, and takes a random part of the wanted size: the way of CIFAR.
	CropPadded = "padded"
)

// Config describes the pipelines of training and evaluation. Zero values mean
// "off" for augmentations and the defaults named here for the rest.
type Config struct {
	Height, Width int       // of the network's input, 224
	Channels      int       // 1 or 3, the default; images are converted
	Mean, Std     []float32 // per channel, on the scale 0 to 1; ImageNet's, or 1/2 for one channel

	Crop          string     // CropResized, the default, or CropPadded
	Scale         [2]float64 // part of the area that CropResized keeps, 0.08 to 1
	Ratio         [2]float64 // its width over its height, 3/4 to 4/3
	Padding       int        // pixels on each side for CropPadded
	Interpolation string     // of training: a filter's name, or "random" (bilinear or bicubic), the default
	HFlip, VFlip  float64    // probabilities of mirroring

	// AutoAugment is a RandAugment description such as "rand-m9-mstd0.5-inc1".
	AutoAugment string
	// ColorJitter holds the strengths for brightness, contrast, saturation and hue;
	// one number means the first three. As in timm it is not used together with
	// AutoAugment unless ForceColorJitter is set.
	ColorJitter      []float64
	ForceColorJitter bool

	// Random erasing (Zhong et al. 2017, arXiv 1708.04896): the probability, what
	// the region is filled with (EraseConst, the default, EraseRand or ErasePixel),
	// and the largest number of regions, 1.
	ReProb  float64
	ReMode  string
	ReCount int

	// Evaluation resizes the image to 1/CropPct (0.875) of the input's size and
	// keeps the centre, with EvalInterpolation, bicubic.
	CropPct           float64
	EvalInterpolation string
}

// Recipe is the official recipe of NAT and DiNAT for square inputs of the given
// size (Mixup and CutMix apart, see Mix).
func Recipe(size int) Config {
	return Config{
		Height: size, Width: size, HFlip: 0.5,
		AutoAugment: "rand-m9-mstd0.5-inc1", ColorJitter: []float64{0.4},
		ReProb: 0.25, ReMode: ErasePixel,
	}
}

// withDefaults fills zero fields and checks the others.
func (c Config) withDefaults() (Config, error) {
	if c.Height == 0 && c.Width == 0 {
		c.Height, c.Width = 224, 224
	}
	if c.Height < 1 || c.Width < 1 {
		return c, fmt.Errorf("augment: bad input size %dx%d", c.Width, c.Height)
	}
	if c.Channels == 0 {
		c.Channels = 3
	}
	if c.Channels != 1 && c.Channels != 3 {
		return c, fmt.Errorf("augment: %d channels, want 1 or 3", c.Channels)
	}
	if c.Mean == nil && c.Std == nil {
		c.Mean, c.Std = data.ImageNetStats.Mean, data.ImageNetStats.Std
		if c.Channels == 1 {
			c.Mean, c.Std = []float32{0.5}, []float32{0.5}
		}
	}
	if len(c.Mean) != c.Channels || len(c.Std) != c.Channels {
		return c, fmt.Errorf("augment: %d means and %d standard deviations for %d channels", len(c.Mean), len(c.Std), c.Channels)
	}
	for _, s := range c.Std {
		if !(s > 0) {
			return c, fmt.Errorf("augment: standard deviation %v is not positive", s)
		}
	}
	if c.Crop == "" {
		c.Crop = CropResized
	}
	if c.Crop != CropResized && c.Crop != CropPadded {
		return c, fmt.Errorf("augment: unknown crop mode %q, want %s or %s", c.Crop, CropResized, CropPadded)
	}
	if c.Scale == [2]float64{} {
		c.Scale = [2]float64{0.08, 1}
	}
	if c.Ratio == [2]float64{} {
		c.Ratio = [2]float64{3.0 / 4, 4.0 / 3}
	}
	for name, r := range map[string][2]float64{"scale": c.Scale, "ratio": c.Ratio} {
		if !(r[0] > 0 && r[0] <= r[1]) {
			return c, fmt.Errorf("augment: %s %v is not a range of positive numbers", name, r)
		}
	}
	if c.Scale[1] > 1 {
		return c, fmt.Errorf("augment: scale %v exceeds the whole image", c.Scale)
	}
	if c.Padding < 0 {
		return c, fmt.Errorf("augment: negative padding %d", c.Padding)
	}
	if c.Interpolation == "" {
		c.Interpolation = "random"
	}
	if c.Interpolation != "random" {
		if _, err := resample.ParseFilter(c.Interpolation); err != nil {
			return c, fmt.Errorf("augment: %w, or random", err)
		}
	}
	if c.EvalInterpolation == "" {
		c.EvalInterpolation = resample.Bicubic.String()
	}
	if _, err := resample.ParseFilter(c.EvalInterpolation); err != nil {
		return c, fmt.Errorf("augment: %w", err)
	}
	if c.CropPct == 0 {
		c.CropPct = 0.875
	}
	if !(c.CropPct > 0 && c.CropPct <= 1) {
		return c, fmt.Errorf("augment: crop_pct %v is not in (0, 1]", c.CropPct)
	}
	for name, p := range map[string]float64{"hflip": c.HFlip, "vflip": c.VFlip, "reprob": c.ReProb} {
		if !(p >= 0 && p <= 1) {
			return c, fmt.Errorf("augment: %s %v is not a probability", name, p)
		}
	}
	switch c.ReMode {
	case "":
		c.ReMode = EraseConst
	case EraseConst, EraseRand, ErasePixel:
	default:
		return c, fmt.Errorf("augment: unknown erasing mode %q, want %s, %s or %s", c.ReMode, EraseConst, EraseRand, ErasePixel)
	}
	if c.ReCount == 0 {
		c.ReCount = 1
	}
	if c.ReCount < 0 {
		return c, fmt.Errorf("augment: recount %d", c.ReCount)
	}
	if n := len(c.ColorJitter); n != 0 && n != 1 && n != 3 && n != 4 {
		return c, errors.New("augment: color_jitter takes one, three or four numbers")
	}
	for i, v := range c.ColorJitter {
		if !(v >= 0) || i == 3 && v > 0.5 {
			return c, fmt.Errorf("augment: color_jitter strength %v is out of range", v)
		}
	}
	return c, nil
}
