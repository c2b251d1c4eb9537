package blocks

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// ConvTokenizer turns an image into overlapping tokens by two 3x3 convolutions
// of stride 2 and a layer norm (NAT and DiNAT). A total stride of 2 or 1, for
// small images, takes the stride off the second convolution, or off both.
type ConvTokenizer struct {
	nn.Module
	Proj [2]*nn.Conv2d
	Norm *nn.LayerNorm
}

// NewConvTokenizer makes one for images of inChans channels. stride is 4, 2 or 1.
func NewConvTokenizer(path *gotchnn.Path, inChans, dim, stride int64) (*ConvTokenizer, error) {
	strides, ok := map[int64][2]int64{4: {2, 2}, 2: {2, 1}, 1: {1, 1}}[stride]
	if !ok {
		return nil, fmt.Errorf("blocks: ConvTokenizer: stride is %d, want 4, 2 or 1", stride)
	}
	t := &ConvTokenizer{}
	t.Module = nn.NewModule(t, "ConvTokenizer", path)
	channels := []int64{inChans, dim / 2, dim}
	for i := range t.Proj {
		var err error
		t.Proj[i], err = nn.NewConv2d(path.Sub("proj").Sub(fmt.Sprint(i)), channels[i], channels[i+1], 3,
			nn.Conv2dConfig{Stride: strides[i], Padding: 1})
		if err != nil {
			return nil, err
		}
	}
	var err error
	t.Norm, err = nn.NewLayerNorm(path.Sub("norm"), dim)
	return t, err
}

// Apply maps [B, in, H, W] to tokens [B, H/stride, W/stride, dim], rounded up.
func (t *ConvTokenizer) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return t.Run(func(s *torch.Scope) *ts.Tensor {
		for _, conv := range t.Proj {
			x = s.Own(conv.Apply(x, train))
		}
		return s.Own(t.Norm.Apply(s.Permute(x, 0, 2, 3, 1), train))
	})
}

// Visit goes through the parameters in the order of the official state dict.
func (t *ConvTokenizer) Visit(visit Visitor) {
	visit.conv(t.Proj[0])
	visit.conv(t.Proj[1])
	visit.norm(t.Norm)
}

// PatchEmbed turns an image into tokens by a linear map of square patches and
// a layer norm (DiNAT_s and the isotropic models). An image that is no
// multiple of the patch is extended by zeros at its right and bottom.
type PatchEmbed struct {
	nn.Module
	Proj *nn.Conv2d
	Norm *nn.LayerNorm

	patch int64
}

// NewPatchEmbed makes one for images of inChans channels and patches of patch
// x patch pixels.
func NewPatchEmbed(path *gotchnn.Path, inChans, dim, patch int64) (*PatchEmbed, error) {
	t := &PatchEmbed{patch: patch}
	t.Module = nn.NewModule(t, "PatchEmbed", path)
	var err error
	if t.Proj, err = nn.NewConv2d(path.Sub("proj"), inChans, dim, patch, nn.Conv2dConfig{Stride: patch}); err != nil {
		return nil, err
	}
	t.Norm, err = nn.NewLayerNorm(path.Sub("norm"), dim)
	return t, err
}

// Apply maps [B, in, H, W] to tokens [B, H/patch, W/patch, dim], rounded up.
func (t *PatchEmbed) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return t.Run(func(s *torch.Scope) *ts.Tensor {
		info, err := torch.InfoOf(x)
		if s.Fail(err); err != nil {
			return nil
		}
		if len(info.Shape) != 4 {
			s.Fail(fmt.Errorf("image has shape %v, want [batch, channels, height, width]", info.Shape))
			return nil
		}
		bottom, right := missing(info.Shape[2], t.patch), missing(info.Shape[3], t.patch)
		if bottom+right > 0 {
			x = s.Pad(x, 0, right, 0, bottom)
		}
		h := s.Own(t.Proj.Apply(x, train))
		return s.Own(t.Norm.Apply(s.Permute(h, 0, 2, 3, 1), train))
	})
}

// missing is what length lacks to be a multiple of unit.
func missing(length, unit int64) int64 { return (unit - length%unit) % unit }

// Visit goes through the parameters in the order of the official state dict.
func (t *PatchEmbed) Visit(visit Visitor) {
	visit.conv(t.Proj)
	visit.norm(t.Norm)
}
