package nn

import (
	"fmt"
	"math"
	"slices"

	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/byrank"
	"github.com/gonatten/gonatten/internal/torch"
)

// AttentionConfig are the options of a NeighborhoodAttention layer. Only
// KernelSize has no default.
type AttentionConfig struct {
	// KernelSize is the number of keys along every axis; in 3D of height and width.
	KernelSize int64
	// Dilation is the distance of neighbouring keys, likewise. 0: 1.
	Dilation int64
	// KernelSizeD and DilationD are those of the depth axis in 3D. 0: as the others.
	KernelSizeD, DilationD int64
	// IsCausal, one entry per axis or one for all, excludes RPB.
	IsCausal []bool
	// NoQKVBias leaves the bias out of the qkv projection.
	NoQKVBias bool
	// QKScale multiplies q·k. 0: head_dim^-1/2.
	QKScale float64
	// NoRPB leaves the relative positional bias out.
	NoRPB bool
	// AttnDrop is the dropout rate of the attention weights; where it is not 0
	// training keeps the weights in memory.
	AttnDrop float64
	// ProjDrop is the dropout rate of the output.
	ProjDrop float64
	// LinearInit initialises the weights of qkv and proj, whose biases then
	// start at zero. nil: PyTorch's default for both.
	LinearInit Init
}

// attention is the layer for every rank.
type attention struct {
	Module
	QKV, Proj *Linear
	RPB       *ts.Tensor // [num_heads, 2*kernel_size-1 per axis], nil with NoRPB

	rank          int
	dim, heads    int64
	options       functional.Options
	attnDrop, out float64
}

// NeighborhoodAttention1D is multi-head neighborhood attention over sequences
// [B, L, dim]: a qkv projection, attention with relative positional bias, and
// an output projection (arXiv 2204.07143, section 3; dilation: 2209.15001).
//
// An input axis shorter than kernel_size*dilation is extended by zeros at its
// end before the qkv projection; the padding takes part in attention as any
// token does, and is cut off before the output projection, as in NATTEN's
// modules up to 0.15.
type NeighborhoodAttention1D struct{ attention }

// NeighborhoodAttention2D is the layer over images [B, H, W, dim].
type NeighborhoodAttention2D struct{ attention }

// NeighborhoodAttention3D is the layer over volumes [B, D, H, W, dim].
type NeighborhoodAttention3D struct{ attention }

// NewNeighborhoodAttention1D makes a layer of dim features in num_heads heads.
func NewNeighborhoodAttention1D(path *gotchnn.Path, dim, numHeads int64, c AttentionConfig) (*NeighborhoodAttention1D, error) {
	l := &NeighborhoodAttention1D{}
	return l, l.init(l, path, 1, dim, numHeads, c)
}

// NewNeighborhoodAttention2D makes a layer of dim features in num_heads heads.
func NewNeighborhoodAttention2D(path *gotchnn.Path, dim, numHeads int64, c AttentionConfig) (*NeighborhoodAttention2D, error) {
	l := &NeighborhoodAttention2D{}
	return l, l.init(l, path, 2, dim, numHeads, c)
}

// NewNeighborhoodAttention3D makes a layer of dim features in num_heads heads.
func NewNeighborhoodAttention3D(path *gotchnn.Path, dim, numHeads int64, c AttentionConfig) (*NeighborhoodAttention3D, error) {
	l := &NeighborhoodAttention3D{}
	return l, l.init(l, path, 3, dim, numHeads, c)
}

func (a *attention) init(self Layer, path *gotchnn.Path, rank int, dim, heads int64, c AttentionConfig) error {
	a.Module = NewModule(self, fmt.Sprintf("NeighborhoodAttention%dD", rank), path)
	a.rank, a.dim, a.heads = rank, dim, heads
	a.attnDrop, a.out = c.AttnDrop, c.ProjDrop
	if err := a.configure(c); err != nil {
		return a.wrap(err)
	}
	if !c.NoRPB {
		shape := []int64{heads}
		for _, k := range a.options.KernelSize {
			shape = append(shape, 2*k-1)
		}
		rpb, err := NewParameter(path, "rpb", TruncNormal(0.02), shape...)
		if err != nil {
			return a.wrap(err)
		}
		a.RPB, a.options.RPB = rpb, rpb
	}
	linear := LinearConfig{WeightInit: c.LinearInit}
	if c.LinearInit != nil {
		linear.BiasInit = Constant(0)
	}
	var err error
	if a.Proj, err = NewLinear(path.Sub("proj"), dim, dim, linear); err != nil {
		return err
	}
	linear.NoBias = c.NoQKVBias
	a.QKV, err = NewLinear(path.Sub("qkv"), dim, 3*dim, linear)
	return err
}

func (a *attention) configure(c AttentionConfig) error {
	switch {
	case a.dim < 1 || a.heads < 1 || a.dim%a.heads != 0:
		return fmt.Errorf("dim is %d, want a positive multiple of num_heads %d", a.dim, a.heads)
	case c.KernelSize < 1:
		return fmt.Errorf("KernelSize is %d, want at least 1", c.KernelSize)
	case c.Dilation < 0:
		return fmt.Errorf("dilation is %d, want at least 1 (0: 1)", c.Dilation)
	case c.KernelSizeD < 0 || c.DilationD < 0:
		return fmt.Errorf("KernelSizeD and DilationD are %d and %d, want at least 1 (0: as the other axes)", c.KernelSizeD, c.DilationD)
	case (c.KernelSizeD > 0 || c.DilationD > 0) && a.rank != 3:
		return fmt.Errorf("KernelSizeD and DilationD are %d and %d, want 0 in %dD", c.KernelSizeD, c.DilationD, a.rank)
	case !(c.AttnDrop >= 0 && c.AttnDrop < 1 && c.ProjDrop >= 0 && c.ProjDrop < 1):
		return fmt.Errorf("AttnDrop and ProjDrop are %v and %v, want rates in [0, 1)", c.AttnDrop, c.ProjDrop)
	case math.IsNaN(c.QKScale) || math.IsInf(c.QKScale, 0):
		return fmt.Errorf("QKScale is %v, want a finite number (0: head_dim^-1/2)", c.QKScale)
	case len(c.IsCausal) > 1 && len(c.IsCausal) != a.rank:
		return fmt.Errorf("IsCausal has %d entries, want 1 or %d", len(c.IsCausal), a.rank)
	case slices.Contains(c.IsCausal, true) && !c.NoRPB:
		return fmt.Errorf("IsCausal is %v, want NoRPB with it: a causal axis has no relative positional bias", c.IsCausal)
	}
	a.options = functional.Options{IsCausal: slices.Clone(c.IsCausal), Scale: c.QKScale}
	for axis := 0; axis < a.rank; axis++ {
		kernel, dilation := c.KernelSize, max(c.Dilation, 1)
		if a.rank == 3 && axis == 0 {
			if c.KernelSizeD > 0 {
				kernel = c.KernelSizeD
			}
			if c.DilationD > 0 {
				dilation = c.DilationD
			}
		}
		a.options.KernelSize = append(a.options.KernelSize, kernel)
		a.options.Dilation = append(a.options.Dilation, dilation)
	}
	return nil
}

// Apply maps [B, *spatial, dim] to the same shape. A nested tensor of samples
// [*spatial, dim] goes through without padding, so each of its axes must be at
// least kernel_size*dilation long.
func (a *attention) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	info, err := torch.InfoOf(x)
	if err != nil {
		return nil, a.wrap(err)
	}
	if len(info.Shape) != a.rank+2 || info.Shape[a.rank+1] != a.dim {
		return nil, a.wrap(fmt.Errorf("input has shape %v, want [batch, %d spatial, %d]", info.Shape, a.rank, a.dim))
	}
	if info.Nested {
		return a.applyRagged(x, train)
	}
	spatial := info.Shape[1 : 1+a.rank]
	return a.Run(func(s *torch.Scope) *ts.Tensor {
		h, padded := a.pad(s, x, spatial)
		// Sizes of the input are left out of the operators where they can be, so
		// that a traced model takes other sizes.
		heads := s.Unflatten(s.Own(a.QKV.Apply(h, train)), -1, 3, a.heads, a.dim/a.heads)
		qkv := s.Unbind(heads, int64(a.rank+1))
		if len(qkv) != 3 {
			return nil
		}
		h = a.attend(s, qkv[0], qkv[1], qkv[2], train)
		for axis, length := range spatial {
			if padded[axis] != length {
				h = s.Narrow(h, int64(axis+1), 0, length)
			}
		}
		h = s.Flatten(h, -2, -1)
		return s.Dropout(s.Own(a.Proj.Apply(h, train)), a.out, train)
	})
}

// pad appends zeros to axes shorter than kernel_size*dilation and returns the
// new lengths.
func (a *attention) pad(s *torch.Scope, x *ts.Tensor, spatial []int64) (*ts.Tensor, []int64) {
	padded := append([]int64(nil), spatial...)
	amounts := []int64{0, 0} // of the last dimension, then axis by axis backwards
	for axis := a.rank - 1; axis >= 0; axis-- {
		missing := max(a.options.KernelSize[axis]*a.options.Dilation[axis]-spatial[axis], 0)
		padded[axis] += missing
		amounts = append(amounts, 0, missing)
	}
	for axis := range padded {
		if padded[axis] != spatial[axis] {
			return s.Pad(x, amounts...), padded
		}
	}
	return x, padded
}

func (a *attention) attend(s *torch.Scope, q, k, v *ts.Tensor, train bool) *ts.Tensor {
	o := a.options
	if train {
		o.DropoutP = a.attnDrop
	}
	return s.Own(byrank.NA[a.rank-1](q, k, v, o))
}
