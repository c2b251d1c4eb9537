package functional

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opVarlen = torch.NewOp("natten::na_varlen")
	opNest   = torch.NewOp("aten::_nested_tensor_from_tensor_list")
)

// NAVarlen is fused attention over a packed batch of samples of different
// sizes: q [tokens, heads, head_dim] holds the tokens of all samples behind
// each other, row-major, and sizes each sample's spatial sizes, 1, 2 or 3 of
// them, the same number for all. No padding, one call; gradients flow to the
// packed tensors. Layout, ExtraK, ExtraV, DropoutP and Seed do not apply.
func NAVarlen(q, k, v *ts.Tensor, sizes [][]int64, o Options) (*ts.Tensor, error) {
	const name = "NAVarlen"
	if len(sizes) == 0 {
		return nil, wrap(name, fmt.Errorf("sizes is empty, want the spatial sizes of each sample"))
	}
	rank := len(sizes[0])
	if rank < 1 || rank > 3 {
		return nil, wrap(name, fmt.Errorf("sizes[0] has %d entries, want 1 to 3", rank))
	}
	var flat []int64
	for i, size := range sizes {
		if len(size) != rank {
			return nil, wrap(name, fmt.Errorf("sizes[%d] has %d entries, want %d like sizes[0]", i, len(size), rank))
		}
		flat = append(flat, size...)
	}
	if err := o.without("Layout", "ExtraK", "ExtraV", "DropoutP", "Seed"); err != nil {
		return nil, wrap(name, fmt.Errorf("%w to packed batches", err))
	}
	for _, in := range []input{{"q", q}, {"k", k}, {"v", v}} {
		if _, err := torch.InfoOf(in.tensor); err != nil {
			return nil, wrap(name, fmt.Errorf("%s: %w", in.name, err))
		}
	}
	a, err := o.arguments(rank)
	if err != nil {
		return nil, wrap(name, err)
	}
	free, err := force(o.Backend, input{"q", q})
	if err != nil {
		return nil, wrap(name, err)
	}
	defer free()
	s := torch.NewScope()
	defer s.Close()
	out, err := s.Return(s.Op(opVarlen, q, k, v, o.RPB, flat, a.kernelSize, a.dilation, a.isCausal, o.scale(), a.stride))
	return out, wrap(name, err)
}

// Nest makes a nested tensor of samples that differ in their leading sizes,
// [*spatial, heads, head_dim] each. The heads-last functions of this package
// take nested q, k and v (and extra keys) and return nested results, without
// padding and with gradients that reach the samples.
func Nest(samples []*ts.Tensor) (*ts.Tensor, error) {
	if len(samples) == 0 {
		return nil, wrap("Nest", fmt.Errorf("no samples"))
	}
	for i, sample := range samples {
		if _, err := torch.InfoOf(sample); err != nil {
			return nil, wrap("Nest", fmt.Errorf("samples[%d]: %w", i, err))
		}
	}
	s := torch.NewScope()
	defer s.Close()
	nested, err := s.Return(s.Op(opNest, samples))
	return nested, wrap("Nest", err)
}

// Unnest returns the samples of a nested tensor. The caller drops them.
func Unnest(nested *ts.Tensor) ([]*ts.Tensor, error) {
	info, err := torch.InfoOf(nested)
	if err == nil && !info.Nested {
		err = fmt.Errorf("tensor of shape %v, want a nested one", info.Shape)
	}
	if err != nil {
		return nil, wrap("Unnest", err)
	}
	s := torch.NewScope()
	defer s.Close()
	views := s.Unbind(nested, 0)
	samples := make([]*ts.Tensor, len(views))
	for i, view := range views {
		samples[i], _ = s.Return(view)
	}
	return samples, wrap("Unnest", s.Err())
}
