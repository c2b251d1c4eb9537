package optim

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	clipNorm = torch.NewOp("natten::clip_grad_norm_")
	clampMin = torch.NewOp("aten::_foreach_clamp_min_.Scalar")
	clampMax = torch.NewOp("aten::_foreach_clamp_max_.Scalar")
)

// withGradient are the leaves that have a gradient.
func withGradient(leaves []*ts.Tensor) ([]*ts.Tensor, error) {
	defined, err := torch.HasGradients(leaves)
	if err != nil {
		return nil, err
	}
	for _, d := range defined {
		if !d {
			var list []*ts.Tensor
			for i, d := range defined {
				if d {
					list = append(list, leaves[i])
				}
			}
			return list, nil
		}
	}
	return leaves, nil
}

// ClipNorm scales the gradients of the leaves so that their common 2-norm is at
// most maxNorm (as torch.nn.utils.clip_grad_norm_), and returns the norm before
// that, a float scalar which the caller drops: reading it waits for the device.
// A maxNorm of 0 only measures.
func ClipNorm(leaves []*ts.Tensor, maxNorm float64) (*ts.Tensor, error) {
	leaves, err := withGradient(leaves)
	if err != nil {
		return nil, fmt.Errorf("optim: ClipNorm: %w", err)
	}
	result, err := clipNorm.Call(torch.Gradients(leaves), maxNorm)
	if err != nil {
		return nil, fmt.Errorf("optim: ClipNorm: %w", err)
	}
	return result[0].(*ts.Tensor), nil
}

// ClipValue limits every element of the gradients to [-limit, limit].
func ClipValue(leaves []*ts.Tensor, limit float64) error {
	leaves, err := withGradient(leaves)
	if err == nil && len(leaves) > 0 {
		if _, err = clampMin.Call(torch.Gradients(leaves), -limit); err == nil {
			_, err = clampMax.Call(torch.Gradients(leaves), limit)
		}
	}
	if err != nil {
		return fmt.Errorf("optim: ClipValue: %w", err)
	}
	return nil
}

// ZeroGrad removes the gradients of all parameters, memory included.
func (o *Optimizer) ZeroGrad() error {
	if err := torch.ClearGradients(o.all); err != nil {
		return fmt.Errorf("optim: ZeroGrad: %w", err)
	}
	return nil
}
