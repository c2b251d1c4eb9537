package optim

import (
	"fmt"
	"math"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	unscale     = torch.NewOp("aten::_amp_foreach_non_finite_check_and_unscale_")
	updateScale = torch.NewOp("aten::_amp_update_scale_")
	reciprocal  = torch.NewOp("aten::reciprocal")
	zeroInPlace = torch.NewOp("aten::zero_")
	fillInPlace = torch.NewOp("aten::fill_.Scalar")
)

// ScalerOptions of NewScaler. Zero values are torch.amp.GradScaler's defaults.
type ScalerOptions struct {
	Init     float64 // first scale; 0 means 65536
	Growth   float64 // factor on the scale after Interval finite steps; 0 means 2
	Backoff  float64 // factor after a step that was not finite; 0 means 0.5
	Interval int     // finite steps until the scale grows; 0 means 2000
}

// Scaler keeps small float16 gradients from vanishing (arXiv 1710.03740,
// section 3.2): the loss is multiplied by a scale, gradients are divided by it,
// and a step whose gradients are not all finite is left out. The scale falls
// after such a step and grows after a long run of others, as that of
// torch.amp.GradScaler does. All of it lives on the parameters' device.
type Scaler struct {
	options ScalerOptions
	scale   *ts.Tensor // float32 scalar
	growth  *ts.Tensor // int32 scalar: finite steps since the scale last changed
	found   *ts.Tensor // float32 scalar: not 0 where the last gradients were not finite
}

// NewScaler makes a scaler for parameters on that device. Close it.
func NewScaler(device torch.Device, o ScalerOptions) (*Scaler, error) {
	o.Init, o.Growth, o.Backoff = defaultTo(o.Init, 65536), defaultTo(o.Growth, 2), defaultTo(o.Backoff, 0.5)
	if o.Interval == 0 {
		o.Interval = 2000
	}
	if o.Init <= 0 || o.Growth <= 1 || o.Backoff <= 0 || o.Backoff >= 1 || o.Interval < 1 {
		return nil, fmt.Errorf("optim: NewScaler: init %g, growth %g, backoff %g, interval %d, want above 0, above 1, between 0 and 1, at least 1",
			o.Init, o.Growth, o.Backoff, o.Interval)
	}
	s := torch.NewScope()
	defer s.Close()
	k := &Scaler{options: o}
	for _, part := range []struct {
		to    **ts.Tensor
		value float64
		dtype gotch.DType
	}{{&k.scale, o.Init, gotch.Float}, {&k.growth, 0, gotch.Int}, {&k.found, 0, gotch.Float}} {
		t, err := s.Return(s.Full([]int64{}, part.value, part.dtype, device))
		if err != nil {
			k.Close()
			return nil, fmt.Errorf("optim: NewScaler: %w", err)
		}
		*part.to = t
	}
	return k, nil
}

// Scale is the loss times the scale, in the caller's scope.
func (k *Scaler) Scale(s *torch.Scope, loss *ts.Tensor) *ts.Tensor { return s.Mul(loss, k.scale) }

// Unscale divides the gradients of the leaves by the scale and tells whether all
// are finite. It waits for the device.
func (k *Scaler) Unscale(leaves []*ts.Tensor) (finite bool, err error) {
	leaves, err = withGradient(leaves)
	if err != nil {
		return false, fmt.Errorf("optim: Scaler: %w", err)
	}
	err = torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		s.Op(zeroInPlace, k.found)
		if len(leaves) > 0 {
			inverse := s.To(s.Op(reciprocal, s.To(k.scale, gotch.Double)), gotch.Float)
			s.Call(unscale, torch.Gradients(leaves), k.found, inverse)
		}
		return s.Err()
	})
	if err != nil {
		return false, fmt.Errorf("optim: Scaler: %w", err)
	}
	found, err := torch.Scalar(k.found)
	return found == 0, err
}

// Update moves the scale by what the last Unscale found. Call it once per step,
// whether the step was taken or not.
func (k *Scaler) Update() error {
	err := torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		s.Op(updateScale, k.scale, k.growth, k.found, k.options.Growth, k.options.Backoff, k.options.Interval)
		return s.Err()
	})
	if err != nil {
		return fmt.Errorf("optim: Scaler: %w", err)
	}
	return nil
}

// State is the scale and the number of finite steps since it last changed: all
// that a resumed run needs. It waits for the device.
func (k *Scaler) State() (scale float64, growth int, err error) {
	if scale, err = torch.Scalar(k.scale); err != nil {
		return 0, 0, fmt.Errorf("optim: Scaler: %w", err)
	}
	steps, err := torch.Scalar(k.growth)
	if err != nil {
		return 0, 0, fmt.Errorf("optim: Scaler: %w", err)
	}
	return scale, int(steps), nil
}

// SetState restores what State gave.
func (k *Scaler) SetState(scale float64, growth int) error {
	if !(scale > 0) || math.IsInf(scale, 1) || growth < 0 {
		return fmt.Errorf("optim: Scaler: scale %g after %d finite steps, want a finite number above 0 and at least 0", scale, growth)
	}
	err := torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		s.Op(fillInPlace, k.scale, scale)
		s.Op(fillInPlace, k.growth, growth)
		return s.Err()
	})
	if err != nil {
		return fmt.Errorf("optim: Scaler: %w", err)
	}
	return nil
}

// Close drops the state.
func (k *Scaler) Close() {
	for _, t := range []**ts.Tensor{&k.scale, &k.growth, &k.found} {
		if *t != nil {
			(*t).MustDrop()
			*t = nil
		}
	}
}
