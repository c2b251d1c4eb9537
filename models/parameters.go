package models

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models/blocks"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

// Named is a parameter or buffer and its name in the state dict.
type Named struct {
	Name   string
	Tensor *ts.Tensor
}

// Tensors are the parameters and buffers in the order of the official state
// dict. They are the model's own: do not drop them.
func (m *Model) Tensors() []Named {
	var list []Named
	visit := blocks.Visitor(func(name string, t *ts.Tensor) { list = append(list, Named{name, t}) })
	m.PatchEmbed.Visit(visit)
	for _, level := range m.Levels {
		level.Visit(visit)
	}
	for _, norm := range m.OutNorms {
		visit.Norm(norm)
	}
	if m.Head != nil {
		visit.Norm(m.Norm)
		visit.Linear(m.Head)
	}
	return list
}

// NumParameters is the number of parameter elements, without buffers.
func (m *Model) NumParameters() (int64, error) {
	total := int64(0)
	for _, named := range m.Tensors() {
		info, err := torch.InfoOf(named.Tensor)
		if err != nil {
			return 0, fmt.Errorf("models: NumParameters: %s: %w", named.Name, err)
		}
		if isParameter(info.DType) {
			total += info.Numel()
		}
	}
	return total, nil
}

// isParameter tells parameters from buffers, which here are all integers. A
// frozen parameter is still one, so requires_grad does not tell.
func isParameter(dtype gotch.DType) bool { return gotch.IsFloatDType(dtype) }

var opSetData = torch.NewOp("aten::set_data")

// ToDType converts every parameter in place, gradients dropped: float64 for
// exact comparisons, bfloat16 for inference. The tensors stay the ones that
// the VarStore and the optimizer hold, which gotch's own VarStore.ToDType does
// not achieve.
func (m *Model) ToDType(dtype gotch.DType) error {
	if !gotch.IsFloatDType(dtype) {
		return fmt.Errorf("models: ToDType: %v is not a floating-point dtype", dtype)
	}
	return torch.NoGrad(func() error {
		for _, named := range m.Tensors() {
			if err := convert(named.Tensor, dtype); err != nil {
				return fmt.Errorf("models: ToDType: %s: %w", named.Name, err)
			}
		}
		return nil
	})
}

func convert(t *ts.Tensor, dtype gotch.DType) error {
	info, err := torch.InfoOf(t)
	if err != nil || !isParameter(info.DType) || info.DType == dtype {
		return err
	}
	if err := torch.ZeroGrad(t); err != nil {
		return err
	}
	s := torch.NewScope()
	defer s.Close()
	s.Call(opSetData, t, s.To(t, dtype))
	return s.Err()
}
