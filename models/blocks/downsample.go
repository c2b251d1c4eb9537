package blocks

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// ConvDownsampler halves the resolution and doubles the channels by a 3x3
// convolution of stride 2 without bias, then normalises (NAT and DiNAT).
type ConvDownsampler struct {
	nn.Module
	Reduction *nn.Conv2d
	Norm      *nn.LayerNorm
}

// NewConvDownsampler makes one from dim to 2*dim channels.
func NewConvDownsampler(path *gotchnn.Path, dim int64) (*ConvDownsampler, error) {
	d := &ConvDownsampler{}
	d.Module = nn.NewModule(d, "ConvDownsampler", path)
	var err error
	d.Reduction, err = nn.NewConv2d(path.Sub("reduction"), dim, 2*dim, 3, nn.Conv2dConfig{Stride: 2, Padding: 1, NoBias: true})
	if err != nil {
		return nil, err
	}
	d.Norm, err = nn.NewLayerNorm(path.Sub("norm"), 2*dim)
	return d, err
}

// Apply maps [B, H, W, dim] to [B, H/2, W/2, 2*dim], rounded up.
func (d *ConvDownsampler) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return d.Run(func(s *torch.Scope) *ts.Tensor {
		// The permuted view has channels-last strides, which the convolution
		// keeps: nothing is copied on either side of it.
		h := s.Own(d.Reduction.Apply(s.Permute(x, 0, 3, 1, 2), train))
		return s.Own(d.Norm.Apply(s.Permute(h, 0, 2, 3, 1), train))
	})
}

// Visit goes through the parameters in the order of the official state dict.
func (d *ConvDownsampler) Visit(visit Visitor) {
	visit.conv(d.Reduction)
	visit.norm(d.Norm)
}

// PatchMerging halves the resolution and doubles the channels: the four tokens
// of each 2x2 square, in the order (row, column) (0,0) (1,0) (0,1) (1,1), are
// joined, normalised and reduced by a linear map without bias (DiNAT_s; arXiv
// 2103.14030, section 3.1). An odd side is extended by a row or column of zeros.
type PatchMerging struct {
	nn.Module
	Reduction *nn.Linear
	Norm      *nn.LayerNorm

	dim int64
}

// NewPatchMerging makes one from dim to 2*dim channels, its weight from a
// deviation of initStd (0: InitStd).
func NewPatchMerging(path *gotchnn.Path, dim int64, initStd float64) (*PatchMerging, error) {
	d := &PatchMerging{dim: dim}
	d.Module = nn.NewModule(d, "PatchMerging", path)
	linear := LinearInit(initStd)
	linear.NoBias = true
	var err error
	if d.Reduction, err = nn.NewLinear(path.Sub("reduction"), 4*dim, 2*dim, linear); err != nil {
		return nil, err
	}
	d.Norm, err = nn.NewLayerNorm(path.Sub("norm"), 4*dim)
	return d, err
}

// Apply maps [B, H, W, dim] to [B, H/2, W/2, 2*dim], rounded up.
func (d *PatchMerging) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return d.Run(func(s *torch.Scope) *ts.Tensor {
		info, err := torch.InfoOf(x)
		if s.Fail(err); err != nil {
			return nil
		}
		if len(info.Shape) != 4 {
			s.Fail(fmt.Errorf("input has shape %v, want [batch, height, width, %d]", info.Shape, d.dim))
			return nil
		}
		height, width := info.Shape[1], info.Shape[2]
		if height%2+width%2 > 0 {
			x = s.Pad(x, 0, 0, 0, width%2, 0, height%2)
		}
		squares := s.Unflatten(s.Unflatten(x, 2, -1, 2), 1, -1, 2) // [B, H/2, 2, W/2, 2, dim]
		joined := s.Flatten(s.Permute(squares, 0, 1, 3, 4, 2, 5), 3, 5)
		return s.Own(d.Reduction.Apply(s.Own(d.Norm.Apply(joined, train)), train))
	})
}

// Visit goes through the parameters in the order of the official state dict.
func (d *PatchMerging) Visit(visit Visitor) {
	visit.linear(d.Reduction)
	visit.norm(d.Norm)
}
