package optim

import "github.com/gonatten/gonatten/internal/torch"

var lambStep = torch.NewOp("natten::lamb_")

// lamb is LAMB (arXiv 1904.00962, algorithm 2), for large batches: Adam's step,
// weight decay included, scaled per tensor by the ratio of the weights' norm to
// the step's. Tensors that are not decayed keep a ratio of 1.
type lamb struct{ beta1, beta2, eps float64 }

func newLAMB(o Options) lamb {
	return lamb{defaultTo(o.Beta1, 0.9), defaultTo(o.Beta2, 0.999), defaultTo(o.Eps, 1e-6)}
}

func (lamb) name() string    { return "lamb" }
func (lamb) slots() []string { return []string{"exp_avg", "exp_avg_sq"} }

func (r lamb) update(s *torch.Scope, b batch, lr float64) {
	s.Call(addScalar, b.steps, 1.0)
	s.Call(lambStep, b.tensors, torch.Gradients(b.tensors), b.slots[0], b.slots[1],
		b.count, lr, r.beta1, r.beta2, b.weightDecay, r.eps)
}
