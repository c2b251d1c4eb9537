package train

import (
	"errors"
	"runtime"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// Segmented is a model whose forward pass is a chain of parts, no parameter in
// two of them; a *models.Model is one.
type Segmented interface {
	Segments() []models.Segment
}

var errNotSegmented = errors.New("train: Loop: Recompute needs a model with Segments")

func (l *Loop) segmented() bool {
	m, ok := l.Model.(Segmented)
	return ok && len(m.Segments()) > 1
}

// returnedSize is the size from which freed tensors go back to the system while
// a run recomputes. glibc keeps them otherwise: a test model's peak fell by a
// third instead of to a fifth.
const returnedSize = 1 << 20

// recompute adds a batch's gradients as the plain backward pass does, but keeps
// only the segments' inputs (gradient checkpointing, arXiv 1604.06174). The
// forward pass runs without graph; then each segment, from the last to the
// first, runs again with the random numbers that it had, and its graph is used
// at once. The price is one more forward pass.
//
// There is no callback from libtorch into Go: between segments gradients are
// handed over as values. Values and gradients have the same bits as without.
func (l *Loop) recompute(s *torch.Scope, images, targets *ts.Tensor, share float64) (*ts.Tensor, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	segments := l.Model.(Segmented).Segments() // checked at the start of the run
	last := len(segments) - 1
	inputs, random := make([]*ts.Tensor, last+1), make([]*ts.Tensor, last)
	inputs[0] = images
	err := torch.NoGrad(func() error {
		for i, segment := range segments[:last] {
			random[i] = s.Own(torch.GeneratorStateOf(l.Device))
			if err := l.inPrecision(func() error {
				inputs[i+1] = s.Own(segment(inputs[i], true))
				return s.Err()
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}

	var loss *ts.Tensor
	leaf := l.leaf(s, inputs[last])
	if err := l.inPrecision(func() error {
		loss = l.Loss(s, s.Own(segments[last](leaf, true)), targets)
		return s.Err()
	}); err != nil {
		return nil, err
	}
	if weighted := l.weigh(s, loss, share); s.Err() == nil {
		s.Fail(torch.Backward(weighted))
	}
	after := s.Own(torch.GeneratorStateOf(l.Device))
	gradient := s.Own(torch.Grad(leaf))
	s.Free(leaf, inputs[last])
	for i := last - 1; i >= 0 && s.Err() == nil; i-- {
		gradient = l.segmentBackward(s, segments[i], inputs[i], random[i], gradient, i > 0)
		if i > 0 { // the images are the caller's
			s.Free(inputs[i])
		}
	}
	if s.Err() == nil {
		s.Fail(torch.SetGeneratorStateOf(l.Device, after))
	}
	err = s.Err()
	if l.Peers != nil {
		err = l.Peers.Backward(err)
	}
	return loss, err
}

// segmentBackward computes a segment again and its gradients from that of its
// result; it returns that of its input, or nil where nobody needs it.
func (l *Loop) segmentBackward(s *torch.Scope, segment models.Segment, x, random, gradient *ts.Tensor, inner bool) *ts.Tensor {
	if s.Fail(torch.SetGeneratorStateOf(l.Device, random)); s.Err() != nil {
		return nil
	}
	if inner {
		x = l.leaf(s, x)
	}
	var y *ts.Tensor
	if err := l.inPrecision(func() error {
		y = s.Own(segment(x, true))
		return s.Err()
	}); err != nil {
		return nil
	}
	info, err := torch.InfoOf(y)
	if s.Fail(err); s.Err() != nil {
		return nil
	}
	if info.RequiresGrad { // not so with a frozen first segment
		s.Fail(torch.BackwardWith(y, gradient))
	}
	s.Free(y, gradient)
	if !inner || s.Err() != nil {
		return nil
	}
	gradient = s.Own(torch.Grad(x))
	s.Free(x)
	return gradient
}

// leaf is a tensor's data as the start of a graph of its own.
func (l *Loop) leaf(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
	if s.Err() != nil {
		return nil
	}
	inner := torch.NewScope() // marking makes a second handle, which must not stay
	defer inner.Close()
	y := inner.Detach(x)
	inner.RequiresGrad(y, true)
	return s.Own(inner.Return(y))
}

// inPrecision runs a forward pass in the loop's precision.
func (l *Loop) inPrecision(forward func() error) error {
	if l.Precision == gotch.BFloat16 || l.Precision == gotch.Half {
		return torch.Autocast(l.Device, l.Precision, forward)
	}
	return forward()
}

// weigh is what is differentiated for a batch's loss.
func (l *Loop) weigh(s *torch.Scope, loss *ts.Tensor, share float64) *ts.Tensor {
	if share != 1 {
		loss = s.MulScalar(loss, share)
	}
	if l.Scaler != nil && s.Err() == nil {
		loss = l.Scaler.Scale(s, loss)
	}
	return loss
}
