package nn

import (
	"fmt"
	"math"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// Init fills a new parameter of that shape.
type Init func(s *torch.Scope, shape []int64, device torch.Device) *ts.Tensor

var (
	opUniform = torch.NewOp("aten::uniform_")
	opErfinv  = torch.NewOp("aten::erfinv")
	opClamp   = torch.NewOp("aten::clamp")
)

// Constant fills with one value.
func Constant(value float64) Init {
	return func(s *torch.Scope, shape []int64, device torch.Device) *ts.Tensor {
		return s.Full(shape, value, gotch.Float, device)
	}
}

// Uniform draws from [-bound, bound).
func Uniform(bound float64) Init {
	return func(s *torch.Scope, shape []int64, device torch.Device) *ts.Tensor {
		x := s.Zeros(shape, gotch.Float, device)
		s.Call(opUniform, x, -bound, bound)
		return x
	}
}

// FanIn is PyTorch's default for linear and convolution weights and biases:
// uniform within 1/sqrt(inputs per output), that is kaiming_uniform with a = sqrt(5).
func FanIn(inputs int64) Init { return Uniform(1 / math.Sqrt(float64(max(inputs, 1)))) }

// TruncNormal draws from the normal distribution of mean 0 cut at ±2, by the
// inverse of its distribution function, as PyTorch's trunc_normal_ does.
func TruncNormal(std float64) Init {
	const limit = 2.0
	return func(s *torch.Scope, shape []int64, device torch.Device) *ts.Tensor {
		tail := math.Erf(limit / std / math.Sqrt2)
		x := s.Zeros(shape, gotch.Float, device)
		s.Call(opUniform, x, -tail, tail)
		return s.Op(opClamp, s.MulScalar(s.Op(opErfinv, x), std*math.Sqrt2), -limit, limit)
	}
}

// NewParameter makes a trainable float32 parameter in the path's VarStore.
func NewParameter(path *gotchnn.Path, name string, init Init, shape ...int64) (*ts.Tensor, error) {
	return newVariable(path, name, init, true, shape)
}

// NewBuffer makes a tensor that is saved with the model and not trained.
func NewBuffer(path *gotchnn.Path, name string, value *ts.Tensor) (*ts.Tensor, error) {
	return path.Add(name, value, false, gotchnn.WithVarType("buffer"))
}

func newVariable(path *gotchnn.Path, name string, init Init, trainable bool, shape []int64) (*ts.Tensor, error) {
	for i, d := range shape {
		if d < 1 {
			return nil, fmt.Errorf("nn: parameter %s: dimension %d is %d, want at least 1", name, i, d)
		}
	}
	s := torch.NewScope()
	defer s.Close()
	value := init(s, shape, torch.DeviceOf(path.Device()))
	if s.Err() != nil {
		return nil, fmt.Errorf("nn: parameter %s: %w", name, s.Err())
	}
	return path.Add(name, value, trainable)
}
