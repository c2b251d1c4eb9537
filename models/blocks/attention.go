package blocks

import (
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
)

// newAttention is the token mixer that the configuration asks for.
func newAttention(path *gotchnn.Path, c BlockConfig) (Attention, error) {
	if c.GlobalSize > 0 {
		return NewGlobalAttention(path, c)
	}
	return NewLocalAttention(path, c)
}

// LocalAttention is 2D neighborhood attention.
type LocalAttention struct{ *nn.NeighborhoodAttention2D }

// NewLocalAttention makes the attention layer of a block.
func NewLocalAttention(path *gotchnn.Path, c BlockConfig) (*LocalAttention, error) {
	a, err := nn.NewNeighborhoodAttention2D(path, c.Dim, c.NumHeads, nn.AttentionConfig{
		KernelSize: c.KernelSize,
		Dilation:   c.Dilation,
		NoQKVBias:  c.NoQKVBias,
		QKScale:    c.QKScale,
		AttnDrop:   c.AttnDrop,
		ProjDrop:   c.Drop,
		LinearInit: nn.TruncNormal(InitStd),
	})
	if err != nil {
		return nil, err
	}
	return &LocalAttention{a}, nil
}

// Visit goes through the parameters in the order of the official state dict.
func (a *LocalAttention) Visit(visit Visitor) {
	visit.named(a.Name(), "rpb", a.RPB)
	visit.linear(a.QKV)
	visit.linear(a.Proj)
}
