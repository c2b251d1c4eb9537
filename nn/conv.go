package nn

import (
	"fmt"

	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// Conv2dConfig are a Conv2d's options; the zero value is PyTorch's default.
type Conv2dConfig struct {
	Stride  int64 // 0: 1
	Padding int64
	NoBias  bool
}

// Conv2d convolves [B, in, H, W] with a square kernel, weight [out, in, k, k].
type Conv2d struct {
	Module
	Weight, Bias    *ts.Tensor // Bias is nil with NoBias
	stride, padding int64
}

// NewConv2d makes a layer from in to out channels.
func NewConv2d(path *gotchnn.Path, in, out, kernel int64, c Conv2dConfig) (*Conv2d, error) {
	l := &Conv2d{stride: max(c.Stride, 1), padding: c.Padding}
	l.Module = NewModule(l, "Conv2d", path)
	if c.Stride < 0 || c.Padding < 0 {
		return nil, l.wrap(fmt.Errorf("stride is %d and padding %d, want none below 0", c.Stride, c.Padding))
	}
	init := FanIn(in * kernel * kernel)
	var err error
	if l.Weight, err = NewParameter(path, "weight", init, out, in, kernel, kernel); err != nil {
		return nil, l.wrap(err)
	}
	if !c.NoBias {
		if l.Bias, err = NewParameter(path, "bias", init, out); err != nil {
			return nil, l.wrap(err)
		}
	}
	return l, nil
}

// Apply maps [B, in, H, W] to [B, out, H', W'].
func (l *Conv2d) Apply(x *ts.Tensor, _ bool) (*ts.Tensor, error) {
	return l.Run(func(s *torch.Scope) *ts.Tensor {
		return s.Conv2d(x, l.Weight, l.Bias, l.stride, l.padding)
	})
}
