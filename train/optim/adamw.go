package optim

import (
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

const float32Type = gotch.Float

var (
	fusedAdamW = torch.NewOp("natten::adamw_")
	addScalar  = torch.NewOp("aten::_foreach_add_.Scalar")
)

// adamW is Adam with decoupled weight decay (arXiv 1711.05101) in libtorch's
// fused form:
//
//	p <- p (1 - lr wd)
//	m <- m + (1 - beta1)(g - m),  v <- beta2 v + (1 - beta2) g^2
//	p <- p - lr/(1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
type adamW struct{ beta1, beta2, eps float64 }

func newAdamW(o Options) adamW {
	return adamW{defaultTo(o.Beta1, 0.9), defaultTo(o.Beta2, 0.999), defaultTo(o.Eps, 1e-8)}
}

func (adamW) name() string    { return "adamw" }
func (adamW) slots() []string { return []string{"exp_avg", "exp_avg_sq"} }

func (a adamW) update(s *torch.Scope, b batch, lr float64) {
	s.Call(addScalar, b.steps, 1.0)
	s.Call(fusedAdamW, b.tensors, torch.Gradients(b.tensors), b.slots[0], b.slots[1], b.steps, lr, a.beta1, a.beta2,
		b.weightDecay, a.eps)
}

func defaultTo(value, otherwise float64) float64 {
	if value == 0 {
		return otherwise
	}
	return value
}
