package nn

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// DropPath is stochastic depth (arXiv 1603.09382): while training it zeroes
// the residual branch of a whole sample with probability rate and scales the
// survivors by 1/(1-rate). It has no parameters and adds nothing at rate 0.
func DropPath(s *torch.Scope, branch *ts.Tensor, rate float64, train bool) *ts.Tensor {
	if rate == 0 || !train || branch == nil {
		return branch
	}
	info, err := torch.InfoOf(branch)
	if err != nil {
		s.Fail(err)
		return nil
	}
	if len(info.Shape) == 0 {
		s.Fail(fmt.Errorf("nn: DropPath: branch has no dimension, want [batch, ...]"))
		return nil
	}
	shape := make([]int64, len(info.Shape))
	for i := range shape {
		shape[i] = 1
	}
	shape[0] = info.Shape[0]
	keep := 1 - rate
	mask := s.Bernoulli(s.Zeros(shape, info.DType, info.Device), keep)
	if keep > 0 {
		mask = s.MulScalar(mask, 1/keep)
	}
	return s.Mul(branch, mask)
}
