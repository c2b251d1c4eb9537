package optim

import "github.com/gonatten/gonatten/internal/torch"

var fusedSGD = torch.NewOp("aten::_fused_sgd_")

// sgd is stochastic gradient descent with momentum, weight decay added to the
// gradient (as in torch.optim.SGD without dampening):
//
//	g <- g + wd p,  b <- momentum b + g
//	p <- p - lr b            or, with Nesterov,  p <- p - lr (g + momentum b)
type sgd struct {
	momentum float64
	nesterov bool
}

func (r sgd) name() string {
	if r.nesterov {
		return "sgd"
	}
	return "momentum"
}

func (r sgd) slots() []string {
	if r.momentum == 0 {
		return nil
	}
	return []string{"momentum_buffer"}
}

func (r sgd) update(s *torch.Scope, b batch, lr float64) {
	const dampening, maximize, firstStep = 0.0, false, false // buffers start at zero
	s.Call(addScalar, b.steps, 1.0)
	buffers := b.tensors[:0] // without momentum the operator takes none, on CUDA it insists
	if r.momentum > 0 {
		buffers = b.slots[0]
	}
	s.Call(fusedSGD, b.tensors, torch.Gradients(b.tensors), buffers,
		b.weightDecay, r.momentum, lr, dampening, r.nesterov && r.momentum > 0, maximize, firstStep)
}
