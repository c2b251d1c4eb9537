package nn

import (
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// LinearConfig are a Linear's options; the zero value is PyTorch's default.
type LinearConfig struct {
	NoBias     bool
	WeightInit Init // nil: FanIn(in)
	BiasInit   Init // nil: FanIn(in)
}

// Linear is y = x W^T + b over the last dimension, weight [out, in].
type Linear struct {
	Module
	Weight, Bias *ts.Tensor // Bias is nil with NoBias
}

// NewLinear makes a layer from in to out features.
func NewLinear(path *gotchnn.Path, in, out int64, c LinearConfig) (*Linear, error) {
	l := &Linear{}
	l.Module = NewModule(l, "Linear", path)
	var err error
	if l.Weight, err = NewParameter(path, "weight", or(c.WeightInit, FanIn(in)), out, in); err != nil {
		return nil, l.wrap(err)
	}
	if !c.NoBias {
		if l.Bias, err = NewParameter(path, "bias", or(c.BiasInit, FanIn(in)), out); err != nil {
			return nil, l.wrap(err)
		}
	}
	return l, nil
}

// Apply maps [..., in] to [..., out].
func (l *Linear) Apply(x *ts.Tensor, _ bool) (*ts.Tensor, error) {
	return l.Run(func(s *torch.Scope) *ts.Tensor { return s.Linear(x, l.Weight, l.Bias) })
}

func or(init, fallback Init) Init {
	if init != nil {
		return init
	}
	return fallback
}
