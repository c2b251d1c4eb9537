package blocks

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// GlobalAttention is multi-head attention over all tokens of a map of fixed
// size S x S, with relative positional bias (the ViT-rpb models of arXiv
// 2209.15001). It is neighborhood attention with a kernel of S: every query's
// window is the whole map, and the bias has the same index, key - query + S - 1
// on each axis.
type GlobalAttention struct {
	nn.Module
	LocalAttention
	// RelativePositionIndex is the bias's flat index of each query and key,
	// int64 [S*S, S*S]. The operator computes it; the buffer is there because
	// the official state dict has it.
	RelativePositionIndex *ts.Tensor

	size int64
}

// NewGlobalAttention makes the attention layer of a block over
// GlobalSize x GlobalSize tokens.
func NewGlobalAttention(path *gotchnn.Path, c BlockConfig) (*GlobalAttention, error) {
	c.KernelSize, c.Dilation = c.GlobalSize, 1
	local, err := NewLocalAttention(path, c)
	if err != nil {
		return nil, err
	}
	a := &GlobalAttention{LocalAttention: *local, size: c.GlobalSize}
	a.Module = nn.NewModule(a, "GlobalAttention", path)
	tokens := a.size * a.size
	s := torch.NewScope()
	defer s.Close()
	device := torch.DeviceOf(path.Device())
	var index *ts.Tensor
	if device.Is(torch.Meta) { // only the shape is wanted, and the table may be large
		index = s.Zeros([]int64{tokens, tokens}, gotch.Int64, device)
	} else {
		index = s.ToDevice(s.Own(torch.FromSlice(relativePositionIndex(a.size), tokens, tokens)), device, gotch.Int64)
	}
	if s.Err() != nil {
		return nil, fmt.Errorf("blocks: GlobalAttention: %w", s.Err())
	}
	a.RelativePositionIndex, err = nn.NewBuffer(path, "relative_position_index", index)
	return a, err
}

// relativePositionIndex is the flat rpb index of all pairs of tokens.
func relativePositionIndex(size int64) []int64 {
	index := make([]int64, 0, size*size*size*size)
	for query := int64(0); query < size*size; query++ {
		for key := int64(0); key < size*size; key++ {
			row := key/size - query/size + size - 1
			column := key%size - query%size + size - 1
			index = append(index, row*(2*size-1)+column)
		}
	}
	return index
}

// Apply maps [B, S, S, dim] to the same shape.
func (a *GlobalAttention) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return a.Run(func(s *torch.Scope) *ts.Tensor {
		info, err := torch.InfoOf(x)
		if s.Fail(err); err != nil {
			return nil
		}
		if len(info.Shape) != 4 || info.Shape[1] != a.size || info.Shape[2] != a.size {
			s.Fail(fmt.Errorf("input has shape %v, want %d x %d tokens: the bias is of that size", info.Shape, a.size, a.size))
			return nil
		}
		return s.Own(a.LocalAttention.Apply(x, train))
	})
}

// Visit goes through the parameters in the order of the official state dict.
func (a *GlobalAttention) Visit(visit Visitor) {
	visit.named(a.Name(), "rpb", a.RPB)
	visit.named(a.Name(), "relative_position_index", a.RelativePositionIndex)
	visit.linear(a.QKV)
	visit.linear(a.Proj)
}
