package models

import (
	"fmt"
	"slices"
)

// Family is an architecture of the official code, by its class name.
type Family string

// The families. NAT and DiNAT are one architecture; they differ in dilation.
const (
	NAT       Family = "NAT"          // overlapping tokens, convolution between levels
	DiNAT     Family = "DiNAT"        // NAT with dilation
	DiNATs    Family = "DiNAT_s"      // patches, patch merging between levels
	Isotropic Family = "NATIsotropic" // one level; ViT-rpb with GlobalAttention
)

// Config describes a model. The zero value of every field means its default,
// so that a custom model names only what is its own:
//
//	models.Config{Family: models.DiNAT, InChans: 1, NumClasses: 10, EmbedDim: 32,
//		Depths: []int64{2, 3}, NumHeads: []int64{1, 2}, StemStride: 2}
type Config struct {
	// Name is the variant in the registry this started from; empty for none.
	Name string
	// Family is the architecture. Default NAT.
	Family Family
	// ImageSize is the side of the pictures that the variant was trained on, in
	// pixels. Other sizes work too, except with GlobalAttention. Default 224.
	ImageSize int64
	// InChans is the number of image channels. Default 3.
	InChans int64
	// NumClasses is the length of the logits. Default 1000.
	NumClasses int64
	// EmbedDim is the number of features of the first level; each further level
	// has twice as many. Default 64 (384 for Isotropic).
	EmbedDim int64
	// Depths is the number of blocks per level. Default 3, 4, 6, 5
	// (2, 2, 6, 2 for DiNAT_s, 12 for Isotropic).
	Depths []int64
	// NumHeads is the number of attention heads per level. Default: heads of
	// dimension 32.
	NumHeads []int64
	// KernelSize is the side of the neighborhood in tokens. Default 7.
	KernelSize int64
	// Dilations per level and block; nil for none. A level's list may be
	// shorter than its depth and is then repeated.
	Dilations [][]int64
	// GlobalAttention makes every block attend to all tokens, as ViT-rpb does.
	// Isotropic only; inputs must then be ImageSize x ImageSize.
	GlobalAttention bool
	// MLPRatio is the hidden width of the MLPs per feature. Default 3 for NAT
	// and DiNAT, 4 for DiNAT_s and Isotropic.
	MLPRatio float64
	// NoQKVBias leaves the bias out of the qkv projections.
	NoQKVBias bool
	// QKScale multiplies q·k. Default head_dim^-1/2.
	QKScale float64
	// DropRate is the dropout rate of tokens, attention outputs and MLPs,
	// AttnDropRate that of attention weights. Default 0.
	DropRate, AttnDropRate float64
	// DropPathRate is the rate of stochastic depth at the last block; it grows
	// linearly from 0 at the first. Default 0.
	DropPathRate float64
	// LayerScale is the first value of gamma1 and gamma2. Default 0: none.
	LayerScale float64
	// InitStd is the deviation of the normal distribution that linear weights
	// start from. Default 0.02, the published models'.
	InitStd float64
	// StemStride is the total stride of the convolutional tokenizer of NAT and
	// DiNAT: 4, or 2 or 1 for small images. Default 4.
	StemStride int64
	// PatchSize is the side of the patches of DiNAT_s (default 4) and Isotropic
	// (default 16).
	PatchSize int64
	// OutIndices, where not empty, makes the model a feature extractor without
	// final norm and head: Features returns the maps of these levels (blocks,
	// for Isotropic), each through its own layer norm "norm{i}", as the
	// backbones of the official detection and segmentation code do.
	OutIndices []int64
}

// withDefaults fills in the defaults and checks everything.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Family, NAT)
	setDefault(&c.ImageSize, 224)
	setDefault(&c.InChans, 3)
	setDefault(&c.NumClasses, 1000)
	setDefault(&c.KernelSize, 7)
	switch c.Family {
	case NAT, DiNAT:
		setDefault(&c.EmbedDim, 64)
		setDefault(&c.MLPRatio, 3)
		setDefault(&c.StemStride, 4)
		setDefaults(&c.Depths, 3, 4, 6, 5)
	case DiNATs:
		setDefault(&c.EmbedDim, 64)
		setDefault(&c.MLPRatio, 4)
		setDefault(&c.PatchSize, 4)
		setDefaults(&c.Depths, 2, 2, 6, 2)
	case Isotropic:
		setDefault(&c.EmbedDim, 384)
		setDefault(&c.MLPRatio, 4)
		setDefault(&c.PatchSize, 16)
		setDefaults(&c.Depths, 12)
	default:
		return c, fmt.Errorf("models: Family is %q, want %q, %q, %q or %q", c.Family, NAT, DiNAT, DiNATs, Isotropic)
	}
	if len(c.NumHeads) == 0 {
		for level := range c.Depths {
			c.NumHeads = append(c.NumHeads, max(c.dim(level)/32, 1))
		}
	}
	return c, c.check()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setDefaults(field *[]int64, values ...int64) {
	if len(*field) == 0 {
		*field = values
	}
}

// maxSize bounds every size in a configuration, so that products stay far from
// overflow and a damaged file cannot ask for absurd memory by one number.
const maxSize = 1 << 16

func (c *Config) check() error {
	sizes := []struct {
		name   string
		values []int64
	}{
		{"ImageSize", []int64{c.ImageSize}}, {"InChans", []int64{c.InChans}}, {"NumClasses", []int64{c.NumClasses}},
		{"EmbedDim", []int64{c.EmbedDim}}, {"KernelSize", []int64{c.KernelSize}}, {"Depths", c.Depths}, {"NumHeads", c.NumHeads},
		{"Dilations", slices.Concat(c.Dilations...)},
	}
	for _, s := range sizes {
		for _, v := range s.values {
			if v < 1 || v > maxSize {
				return c.errorf("%s has %d, want 1 to %d", s.name, v, maxSize)
			}
		}
	}
	rates := []struct {
		name  string
		value float64
	}{{"DropRate", c.DropRate}, {"AttnDropRate", c.AttnDropRate}, {"DropPathRate", c.DropPathRate}, {"InitStd", c.InitStd}}
	for _, r := range rates {
		if !(r.value >= 0 && r.value < 1) {
			return c.errorf("%s is %v, want a rate in [0, 1)", r.name, r.value)
		}
	}
	switch {
	case len(c.Depths) > 8:
		return c.errorf("Depths has %d levels, want at most 8", len(c.Depths))
	case len(c.NumHeads) != len(c.Depths):
		return c.errorf("NumHeads has %d levels, Depths has %d", len(c.NumHeads), len(c.Depths))
	case len(c.Dilations) != 0 && len(c.Dilations) != len(c.Depths):
		return c.errorf("Dilations has %d levels, Depths has %d", len(c.Dilations), len(c.Depths))
	case !(c.MLPRatio > 0 && c.MLPRatio <= 64) || int64(float64(c.EmbedDim)*c.MLPRatio) < 1:
		return c.errorf("MLPRatio is %v, want a hidden width of at least 1 and a ratio up to 64", c.MLPRatio)
	case c.Family == Isotropic && len(c.Depths) != 1:
		return c.errorf("Depths has %d levels, want 1", len(c.Depths))
	case c.Family != Isotropic && c.GlobalAttention:
		return c.errorf("GlobalAttention is set, want Family %s for it", Isotropic)
	case (c.Family == NAT || c.Family == DiNAT) && (c.PatchSize != 0 || c.EmbedDim%2 != 0):
		return c.errorf("PatchSize is %d and EmbedDim %d, want 0 (StemStride instead) and an even number", c.PatchSize, c.EmbedDim)
	case (c.Family == NAT || c.Family == DiNAT) && c.StemStride != 1 && c.StemStride != 2 && c.StemStride != 4:
		return c.errorf("StemStride is %d, want 1, 2 or 4", c.StemStride)
	case c.Family != NAT && c.Family != DiNAT && (c.StemStride != 0 || c.PatchSize < 1 || c.PatchSize > 1024):
		return c.errorf("StemStride is %d and PatchSize %d, want 0 and 1 to 1024", c.StemStride, c.PatchSize)
	case c.GlobalAttention && c.globalSize() > 64:
		return c.errorf("ImageSize %d gives %d x %d tokens, want at most 64 x 64 with GlobalAttention", c.ImageSize, c.globalSize(), c.globalSize())
	}
	for level, heads := range c.NumHeads {
		if c.dim(level)%heads != 0 {
			return c.errorf("NumHeads of level %d is %d, want a divisor of its dimension %d", level, heads, c.dim(level))
		}
	}
	return c.checkLists()
}

func (c *Config) checkLists() error {
	for level, list := range c.Dilations {
		if len(list) == 0 || c.Depths[level]%int64(len(list)) != 0 {
			return c.errorf("Dilations of level %d has %d entries, want a divisor of its depth %d", level, len(list), c.Depths[level])
		}
	}
	outputs := int64(len(c.Depths))
	if c.Family == Isotropic {
		outputs = c.Depths[0]
	}
	for i, index := range c.OutIndices {
		if index < 0 || index >= outputs || i > 0 && index <= c.OutIndices[i-1] {
			return c.errorf("OutIndices is %v, want ascending numbers from 0 to %d", c.OutIndices, outputs-1)
		}
	}
	return nil
}

func (c *Config) errorf(format string, arguments ...any) error {
	name := c.Name
	if name == "" {
		name = string(c.Family)
	}
	return fmt.Errorf("models: %s: %s", name, fmt.Sprintf(format, arguments...))
}

// dim is the number of features at a level.
func (c *Config) dim(level int) int64 { return c.EmbedDim << level }

// dilation of a block.
func (c *Config) dilation(level, block int) int64 {
	if len(c.Dilations) == 0 {
		return 1
	}
	list := c.Dilations[level]
	return list[block%len(list)]
}

// globalSize is the side of the map that ViT-rpb attends to, in tokens.
func (c *Config) globalSize() int64 { return c.tokensPerSide() }

// DropPathRates is the rate of stochastic depth of every block, from first to
// last: linear from 0 to DropPathRate (arXiv 1603.09382, eq. 4).
func (c *Config) DropPathRates() []float64 {
	total := int64(0)
	for _, depth := range c.Depths {
		total += depth
	}
	rates := make([]float64, total)
	for i := range rates {
		if total > 1 {
			rates[i] = c.DropPathRate * float64(i) / float64(total-1)
		}
	}
	return rates
}
