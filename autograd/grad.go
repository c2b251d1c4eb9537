package autograd

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// GradOptions of [Grad]; the zero value means the defaults.
type GradOptions struct {
	// Seeds are the gradients of the outputs, one per output; nil for scalar outputs.
	Seeds []*ts.Tensor
	// CreateGraph makes the result differentiable and keeps the outputs' graph.
	CreateGraph bool
}

// Grad returns the gradients of sum(outputs * seeds) with respect to inputs,
// without touching the inputs' own accumulated gradients. An entry is nil
// where no output depends on the input. The caller drops the results.
func Grad(outputs, inputs []*ts.Tensor, o GradOptions) ([]*ts.Tensor, error) {
	gradients, err := torch.GradientsOf(outputs, o.Seeds, inputs, o.CreateGraph)
	if err != nil {
		return nil, fmt.Errorf("autograd: Grad: %w", err)
	}
	return gradients, nil
}

// NoGrad runs f without recording for gradients.
func NoGrad(f func() error) error { return torch.NoGrad(f) }

// EnableGrad undoes NoGrad inside it.
func EnableGrad(f func() error) error { return torch.EnableGrad(f) }
