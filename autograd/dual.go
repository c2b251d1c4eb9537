package autograd

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opMakeDual   = torch.NewOp("aten::_make_dual")
	opUnpackDual = torch.NewOp("aten::_unpack_dual")
)

// ForwardMode runs f inside a level of forward-mode differentiation (Wengert
// 1964): tensors made by [MakeDual] carry a tangent along, and [Tangent] reads
// a result's, the Jacobian-vector product. libtorch has one level per process,
// so levels do not nest and concurrent callers wait for each other. Within the
// level the primals may require gradients: reverse mode over the tangents
// gives Hessian-vector products.
func ForwardMode(f func() error) error {
	if err := torch.WithDuals(f); err != nil {
		return fmt.Errorf("autograd: ForwardMode: %w", err)
	}
	return nil
}

// MakeDual joins a primal and a tangent of the same shape and dtype.
func MakeDual(primal, tangent *ts.Tensor) (*ts.Tensor, error) {
	s := torch.NewScope()
	defer s.Close()
	dual, err := s.Return(s.Op(opMakeDual, primal, tangent, 0))
	if err != nil {
		return nil, fmt.Errorf("autograd: MakeDual: %w", err)
	}
	return dual, nil
}

// Tangent is the tangent of a dual; nil for a tensor that has none.
func Tangent(dual *ts.Tensor) (*ts.Tensor, error) {
	results, err := opUnpackDual.Call(dual, 0)
	if err != nil {
		return nil, fmt.Errorf("autograd: Tangent: %w", err)
	}
	results[0].(*ts.Tensor).MustDrop()
	tangent, _ := results[1].(*ts.Tensor)
	return tangent, nil
}
