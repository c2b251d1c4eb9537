package nn

import (
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// LayerNormEps is PyTorch's default, which all published models use.
const LayerNormEps = 1e-5

// LayerNorm normalises the last dimension to mean 0 and variance 1, then
// scales and shifts (arXiv 1607.06450).
type LayerNorm struct {
	Module
	Weight, Bias *ts.Tensor
	dim          int64
}

// NewLayerNorm makes a layer over a last dimension of dim.
func NewLayerNorm(path *gotchnn.Path, dim int64) (*LayerNorm, error) {
	l := &LayerNorm{dim: dim}
	l.Module = NewModule(l, "LayerNorm", path)
	var err error
	if l.Weight, err = NewParameter(path, "weight", Constant(1), dim); err != nil {
		return nil, l.wrap(err)
	}
	if l.Bias, err = NewParameter(path, "bias", Constant(0), dim); err != nil {
		return nil, l.wrap(err)
	}
	return l, nil
}

// Apply maps [..., dim] to [..., dim].
func (l *LayerNorm) Apply(x *ts.Tensor, _ bool) (*ts.Tensor, error) {
	return l.Run(func(s *torch.Scope) *ts.Tensor {
		return s.LayerNorm(x, []int64{l.dim}, l.Weight, l.Bias, LayerNormEps)
	})
}
