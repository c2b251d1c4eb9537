package models

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models/blocks"
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// Model is a NAT, DiNAT, DiNAT_s or isotropic model. It is a gotch ts.Module
// and ts.ModuleT by its Forward and ForwardT, which panic where Apply returns
// an error.
type Model struct {
	nn.Module
	// Config is complete: every default is filled in.
	Config Config

	PatchEmbed Tokenizer
	Levels     []*blocks.Level
	Norm       *nn.LayerNorm   // nil for a feature extractor
	Head       *nn.Linear      // nil for a feature extractor
	OutNorms   []*nn.LayerNorm // of Config.OutIndices
}

// Tokenizer turns images into tokens.
type Tokenizer interface {
	nn.Layer
	blocks.Visitable
}

// FromConfig makes a model of that configuration with fresh parameters.
func FromConfig(c Config, path *gotchnn.Path) (*Model, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c}
	m.Module = nn.NewModule(m, string(c.Family), path)
	embed := path.Sub("patch_embed")
	switch c.Family {
	case NAT, DiNAT:
		m.PatchEmbed, err = blocks.NewConvTokenizer(embed, c.InChans, c.EmbedDim, c.StemStride)
	default:
		m.PatchEmbed, err = blocks.NewPatchEmbed(embed, c.InChans, c.EmbedDim, c.PatchSize)
	}
	if err != nil {
		return nil, err
	}
	if err := m.buildLevels(path); err != nil {
		return nil, err
	}
	return m, m.buildOutputs(path)
}

// buildLevels makes the blocks under the names of the family: levels.i.blocks.j,
// layers.i.blocks.j (DiNAT_s) or layers.j (Isotropic).
func (m *Model) buildLevels(path *gotchnn.Path) error {
	c := &m.Config
	rates := c.DropPathRates()
	for i := range c.Depths {
		var parent *gotchnn.Path // of the level
		blockPath := func(j int) *gotchnn.Path { return parent.Sub("blocks").Sub(fmt.Sprint(j)) }
		switch c.Family {
		case NAT, DiNAT:
			parent = path.Sub("levels").Sub(fmt.Sprint(i))
		case DiNATs:
			parent = path.Sub("layers").Sub(fmt.Sprint(i))
		default:
			parent = path.Sub("layers")
			blockPath = func(j int) *gotchnn.Path { return parent.Sub(fmt.Sprint(j)) }
		}
		level := blocks.NewLevel(parent)
		for j := range int(c.Depths[i]) {
			block, err := blocks.NewBlock(blockPath(j), c.block(i, j, rates[0]))
			if err != nil {
				return err
			}
			rates = rates[1:]
			level.Blocks = append(level.Blocks, block)
		}
		if i+1 < len(c.Depths) {
			var err error
			if c.Family == DiNATs {
				level.Downsample, err = blocks.NewPatchMerging(parent.Sub("downsample"), c.dim(i), c.InitStd)
			} else {
				level.Downsample, err = blocks.NewConvDownsampler(parent.Sub("downsample"), c.dim(i))
			}
			if err != nil {
				return err
			}
		}
		m.Levels = append(m.Levels, level)
	}
	return nil
}

// block is the configuration of one block.
func (c *Config) block(level, j int, dropPath float64) blocks.BlockConfig {
	b := blocks.BlockConfig{
		Dim: c.dim(level), NumHeads: c.NumHeads[level],
		KernelSize: c.KernelSize, Dilation: c.dilation(level, j),
		MLPRatio: c.MLPRatio, NoQKVBias: c.NoQKVBias, QKScale: c.QKScale,
		Drop: c.DropRate, AttnDrop: c.AttnDropRate, DropPath: dropPath, LayerScale: c.LayerScale, InitStd: c.InitStd,
	}
	if c.GlobalAttention {
		b.GlobalSize = c.globalSize()
	}
	return b
}

// buildOutputs makes the norm and head of a classifier, or the norms of a
// feature extractor.
func (m *Model) buildOutputs(path *gotchnn.Path) error {
	c := &m.Config
	var err error
	if len(c.OutIndices) > 0 {
		for _, i := range c.OutIndices {
			norm, err := nn.NewLayerNorm(path.Sub(fmt.Sprintf("norm%d", i)), c.outputDim(i))
			if err != nil {
				return err
			}
			m.OutNorms = append(m.OutNorms, norm)
		}
		return nil
	}
	last := c.dim(len(c.Depths) - 1)
	if m.Norm, err = nn.NewLayerNorm(path.Sub("norm"), last); err != nil {
		return err
	}
	m.Head, err = nn.NewLinear(path.Sub("head"), last, c.NumClasses,
		blocks.LinearInit(c.InitStd))
	return err
}

// outputDim is the number of features of an entry of OutIndices.
func (c *Config) outputDim(index int64) int64 {
	if c.Family == Isotropic {
		return c.EmbedDim
	}
	return c.dim(int(index))
}

// Apply maps images [B, in_chans, H, W] to logits [B, num_classes]. A feature
// extractor returns the last of its Features.
func (m *Model) Apply(images *ts.Tensor, train bool) (*ts.Tensor, error) {
	if m.Head == nil {
		maps, err := m.Features(images, train)
		if err != nil {
			return nil, err
		}
		for _, t := range maps[:len(maps)-1] {
			t.MustDrop()
		}
		return maps[len(maps)-1], nil
	}
	return m.Run(func(s *torch.Scope) *ts.Tensor {
		x := m.tokens(s, images, train)
		for _, level := range m.Levels {
			next := s.Own(level.Apply(x, train))
			s.Free(x)
			x = next
		}
		return m.classify(s, x, train)
	})
}

// tokens is the tokenizer and the dropout after it.
func (m *Model) tokens(s *torch.Scope, images *ts.Tensor, train bool) *ts.Tensor {
	return s.Dropout(s.Own(m.PatchEmbed.Apply(images, train)), m.Config.DropRate, train)
}

// Features are feature maps [B, dim, H, W] for detection and segmentation, from
// images of any size: with OutIndices those of the levels named there, each
// normalised; else those of every level (of the only one, for Isotropic) as
// they leave its blocks, the last through the final norm. The caller owns them.
func (m *Model) Features(images *ts.Tensor, train bool) ([]*ts.Tensor, error) {
	var maps []*ts.Tensor
	discard := func() {
		for _, t := range maps {
			t.MustDrop()
		}
	}
	x, err := m.Run(func(s *torch.Scope) *ts.Tensor {
		output := func(h *ts.Tensor, norm *nn.LayerNorm) {
			if norm != nil {
				h = s.Own(norm.Apply(h, train))
			}
			h = s.Contiguous(s.Permute(h, 0, 3, 1, 2))
			if h, err := s.Return(h); err == nil {
				maps = append(maps, h)
			}
		}
		x := m.tokens(s, images, train)
		for i, stage := range m.stages() {
			h := s.Own(stage.features(x, train))
			if norm, wanted := m.outNorm(i); wanted {
				output(h, norm)
			}
			if stage.downsample != nil {
				h = s.Own(stage.downsample.Apply(h, train))
			}
			s.Free(x)
			x = h
		}
		return x
	})
	if err != nil {
		discard()
		return nil, err
	}
	x.MustDrop()
	return maps, nil
}

// stage is a unit that OutIndices counts: a level, or a block of an isotropic model.
type stage struct {
	features   func(x *ts.Tensor, train bool) (*ts.Tensor, error)
	downsample nn.Layer
}

func (m *Model) stages() []stage {
	var stages []stage
	for _, level := range m.Levels {
		if m.Config.Family == Isotropic {
			for _, block := range level.Blocks {
				stages = append(stages, stage{features: block.Apply})
			}
			continue
		}
		s := stage{features: level.Features}
		if level.Downsample != nil {
			s.downsample = level.Downsample
		}
		stages = append(stages, s)
	}
	return stages
}

// outNorm tells whether Features returns a stage, and the norm before that.
func (m *Model) outNorm(stage int) (norm *nn.LayerNorm, wanted bool) {
	if m.Head == nil {
		for i, index := range m.Config.OutIndices {
			if int64(stage) == index {
				return m.OutNorms[i], true
			}
		}
		return nil, false
	}
	if m.Config.Family == Isotropic {
		last := int(m.Config.Depths[0]) - 1
		return m.Norm, stage == last
	}
	if stage == len(m.Levels)-1 {
		return m.Norm, true
	}
	return nil, true
}
