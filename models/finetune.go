package models

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gonatten/gonatten/internal/torch"
)

// NumLayers is the number of layers that LayerID counts: the tokenizer, each
// block, and what follows the last one.
func (m *Model) NumLayers() int {
	total := 2
	for _, depth := range m.Config.Depths {
		total += int(depth)
	}
	return total
}

// LayerID is a parameter's depth for layer-wise decay of the learning rate
// (arXiv 2106.08254, appendix): 0 for the tokenizer, then one per block, a
// downsampler with the block before it, and NumLayers-1 for the final norm and
// head and the norms of a feature extractor. -1 for names of no parameter.
func (m *Model) LayerID(name string) int {
	if prefix := m.Name(); prefix != "" {
		name = strings.TrimPrefix(name, prefix+".")
	}
	parts := strings.Split(name, ".")
	switch {
	case parts[0] == "patch_embed":
		return 0
	case parts[0] == "head" || strings.HasPrefix(parts[0], "norm"):
		return m.NumLayers() - 1
	case parts[0] != "levels" && parts[0] != "layers" || len(parts) < 3:
		return -1
	}
	level, err := strconv.Atoi(parts[1])
	if err != nil {
		return -1
	}
	block := level
	switch {
	case m.Config.Family == Isotropic:
		level = 0
	case level < 0 || level >= len(m.Levels):
		return -1
	case parts[2] == "downsample":
		block = len(m.Levels[level].Blocks) - 1
	case parts[2] == "blocks" && len(parts) > 3:
		if block, err = strconv.Atoi(parts[3]); err != nil {
			return -1
		}
	default:
		return -1
	}
	if block < 0 || block >= len(m.Levels[level].Blocks) {
		return -1
	}
	id := 1 + block
	for _, l := range m.Levels[:level] {
		id += len(l.Blocks)
	}
	return id
}

// Parameters are the Tensors that training may change, frozen ones included.
func (m *Model) Parameters() []Named {
	return slices.DeleteFunc(m.Tensors(), func(n Named) bool {
		info, err := torch.InfoOf(n.Tensor)
		return err == nil && !isParameter(info.DType)
	})
}

// Trainable are the Parameters that are not frozen.
func (m *Model) Trainable() []Named {
	return slices.DeleteFunc(m.Parameters(), func(n Named) bool {
		info, err := torch.InfoOf(n.Tensor)
		return err == nil && !info.RequiresGrad
	})
}

// Freeze excludes parameters from training by their names and returns how many
// it found. A pattern is a name, the beginning of names up to a dot
// ("levels.0"), or has *, ? and [a-z] as in file names ("*.norm1.*", "levels.[01].*").
// A pattern that fits nothing is an error, and then nothing is frozen.
func (m *Model) Freeze(patterns ...string) (int, error) { return m.require("Freeze", false, patterns) }

// Unfreeze is Freeze's opposite.
func (m *Model) Unfreeze(patterns ...string) (int, error) {
	return m.require("Unfreeze", true, patterns)
}

func (m *Model) require(caller string, gradient bool, patterns []string) (int, error) {
	parameters := m.Parameters()
	chosen := map[string]bool{}
	for _, pattern := range patterns {
		found := false
		for _, p := range parameters {
			ok, err := path.Match(pattern, p.Name)
			if err != nil {
				return 0, fmt.Errorf("models: %s: pattern %q: %w", caller, pattern, err)
			}
			if ok || strings.HasPrefix(p.Name, strings.TrimSuffix(pattern, ".")+".") {
				chosen[p.Name], found = true, true
			}
		}
		if !found {
			return 0, fmt.Errorf("models: %s: pattern %q fits no parameter", caller, pattern)
		}
	}
	s := torch.NewScope()
	defer s.Close()
	for _, p := range parameters {
		if chosen[p.Name] {
			s.RequiresGrad(p.Tensor, gradient)
		}
	}
	return len(chosen), s.Err()
}

// WithImageSize sets the side of the pictures a model is meant for, and, where
// the model dilates, the dilations that belong to it: in every second block as
// many as fit, the map's side divided by KernelSize, which gives the official
// 8, 4, 2, 1 at 224 and 13, 6, 3, 1 at 384. Put options that change depths or
// kernel before it.
func WithImageSize(size int64) Option {
	return func(c *Config) {
		c.ImageSize = size
		dilated := slices.ContainsFunc(slices.Concat(c.Dilations...), func(d int64) bool { return d > 1 })
		full, err := c.withDefaults()
		if !dilated || err != nil { // the error comes up again where the model is built
			return
		}
		side := full.tokensPerSide()
		dilations := make([]int64, len(full.Depths))
		for level := range dilations {
			dilations[level] = max(side/full.KernelSize, 1)
			side = (side + 1) / 2
		}
		c.Dilations = Alternate(full.Depths, dilations)
	}
}

// tokensPerSide is the side of the first level's map for ImageSize.
func (c *Config) tokensPerSide() int64 {
	stride := c.PatchSize + c.StemStride // one of them is 0
	return (c.ImageSize + stride - 1) / stride
}
