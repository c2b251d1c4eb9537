package optim

import (
	"fmt"
	"math"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	foreachLerp = torch.NewOp("aten::_foreach_lerp_.Scalar")
)

// EMA keeps the exponential moving average of weights, on their device:
//
//	average <- average + (1 - decay)(weights - average)
type EMA struct {
	// Decay is the weight of the past, 0.9998 in the published recipes.
	Decay float64
	// Warmup lets the decay grow from 0 towards Decay: at update t (from 0) it is
	// min(Decay, 1 - (1 + t)^(-2/3)).
	Warmup bool
	// Updates done so far.
	Updates int

	names   []string
	weights []*ts.Tensor
	average []*ts.Tensor
}

// NewEMA starts the average at the parameters' present values. Close it to give
// the memory back.
func NewEMA(parameters []Parameter, decay float64, warmup bool) (*EMA, error) {
	if decay < 0 || decay > 1 {
		return nil, fmt.Errorf("optim: NewEMA: decay is %g, want 0 to 1", decay)
	}
	e := &EMA{Decay: decay, Warmup: warmup, weights: Tensors(parameters)}
	err := torch.NoGrad(func() error {
		for _, p := range parameters {
			s := torch.NewScope()
			t, err := s.Return(s.Clone(p.Tensor))
			s.Close()
			if err != nil {
				return fmt.Errorf("optim: NewEMA: %s: %w", p.Name, err)
			}
			e.names = append(e.names, p.Name)
			e.average = append(e.average, t)
		}
		return nil
	})
	if err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// DecayAt is the decay of update t, the first being 0.
func (e *EMA) DecayAt(t int) float64 {
	if !e.Warmup {
		return e.Decay
	}
	return math.Min(e.Decay, 1-math.Pow(1+float64(t), -2.0/3))
}

// Update moves the average towards the present weights.
func (e *EMA) Update() error {
	err := torch.NoGrad(func() error {
		_, err := foreachLerp.Call(e.average, e.weights, 1-e.DecayAt(e.Updates))
		return err
	})
	if err != nil {
		return fmt.Errorf("optim: EMA: %w", err)
	}
	e.Updates++
	return nil
}

// Parameters are the averaged tensors under their names; they stay the EMA's.
func (e *EMA) Parameters() []Parameter {
	list := make([]Parameter, len(e.average))
	for i, t := range e.average {
		list[i] = Parameter{e.names[i], t}
	}
	return list
}

// Swap exchanges the weights and their average, so that the model computes with
// the average; a second Swap restores it.
func (e *EMA) Swap() error {
	err := torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		for i := range e.average { // one tensor at a time: no second copy of the model
			held := s.Clone(e.weights[i])
			s.Copy(e.weights[i], e.average[i])
			s.Copy(e.average[i], held)
			s.Free(held)
		}
		return s.Err()
	})
	if err != nil {
		return fmt.Errorf("optim: EMA: %w", err)
	}
	return nil
}

// Close drops the average.
func (e *EMA) Close() {
	for _, t := range e.average {
		t.MustDrop()
	}
	e.average = nil
}
