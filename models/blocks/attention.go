package blocks

import (
	"fmt"
	"math"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// newAttention is the token mixer that the configuration asks for.
func newAttention(path *gotchnn.Path, c BlockConfig) (Attention, error) {
	if c.GlobalSize > 0 {
		return NewGlobalAttention(path, c)
	}
	return NewLocalAttention(path, c)
}

// LocalAttention is 2D neighborhood attention.
type LocalAttention struct {
	*nn.NeighborhoodAttention2D
	// KernelSize and Dilation of both axes, and the number of heads.
	KernelSize, Dilation, NumHeads int64

	dim     int64
	qkScale float64
}

// NewLocalAttention makes the attention layer of a block.
func NewLocalAttention(path *gotchnn.Path, c BlockConfig) (*LocalAttention, error) {
	layer, err := nn.NewNeighborhoodAttention2D(path, c.Dim, c.NumHeads, nn.AttentionConfig{
		KernelSize: c.KernelSize,
		Dilation:   c.Dilation,
		NoQKVBias:  c.NoQKVBias,
		QKScale:    c.QKScale,
		AttnDrop:   c.AttnDrop,
		ProjDrop:   c.Drop,
		LinearInit: LinearInit(c.InitStd).WeightInit,
	})
	if err != nil {
		return nil, err
	}
	a := &LocalAttention{NeighborhoodAttention2D: layer, KernelSize: c.KernelSize, Dilation: max(c.Dilation, 1),
		NumHeads: c.NumHeads, dim: c.Dim, qkScale: c.QKScale}
	if a.qkScale == 0 {
		a.qkScale = 1 / math.Sqrt(float64(c.Dim/c.NumHeads))
	}
	return a, nil
}

// Weights are the attention weights of tokens [B, H, W, dim] as the layer
// computes them in evaluation: [B, H', W', heads, KernelSize^2], where H' and
// W' are at least KernelSize*Dilation, as the layer extends its input.
func (a *LocalAttention) Weights(x *ts.Tensor) (*ts.Tensor, error) {
	info, err := torch.InfoOf(x)
	if err != nil {
		return nil, fmt.Errorf("blocks: Weights: %w", err)
	}
	if len(info.Shape) != 4 || info.Shape[3] != a.dim {
		return nil, fmt.Errorf("blocks: Weights: input has shape %v, want [batch, height, width, %d]", info.Shape, a.dim)
	}
	return a.Run(func(s *torch.Scope) *ts.Tensor {
		batch, span := info.Shape[0], a.KernelSize*a.Dilation
		height, width := max(info.Shape[1], span), max(info.Shape[2], span)
		if height != info.Shape[1] || width != info.Shape[2] {
			x = s.Pad(x, 0, 0, 0, width-info.Shape[2], 0, height-info.Shape[1])
		}
		qkv := s.View(s.Own(a.QKV.Apply(x, false)), batch, height, width, 3, a.NumHeads, a.dim/a.NumHeads)
		parts := s.Unbind(qkv, 3)
		if len(parts) != 3 {
			return nil
		}
		logits := s.Own(functional.NA2DQK(parts[0], parts[1], functional.Options{
			KernelSize: []int64{a.KernelSize}, Dilation: []int64{a.Dilation}, RPB: a.RPB, Scale: a.qkScale}))
		return s.Softmax(logits, -1)
	})
}

// Local is the layer itself, and that of a GlobalAttention, whose kernel is the
// whole map.
func (a *LocalAttention) Local() *LocalAttention { return a }

// Visit goes through the parameters in the order of the official state dict.
func (a *LocalAttention) Visit(visit Visitor) {
	visit.named(a.Name(), "rpb", a.RPB)
	visit.linear(a.QKV)
	visit.linear(a.Proj)
}
