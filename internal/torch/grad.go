package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch/ts"
)

var backward = NewOp("aten::_backward")

// Backward accumulates the gradients of a scalar into the leaves it depends on.
func Backward(loss *ts.Tensor) error {
	_, err := backward.Call(loss, []*ts.Tensor{}, nil, nil, false)
	return err
}

// BackwardWith is Backward of a tensor of any shape with the gradient given.
func BackwardWith(t, gradient *ts.Tensor) error {
	_, err := backward.Call(t, []*ts.Tensor{}, gradient, nil, false)
	return err
}

// Grad is a new handle on the gradient of a leaf, nil where it has none.
func Grad(t *ts.Tensor) (*ts.Tensor, error) {
	var grad C.natten_tensor
	err := failure(C.natten_tensor_grad(handle(t), &grad))
	runtime.KeepAlive(t)
	return wrap(unsafe.Pointer(grad)), err
}

// ZeroGrad removes a leaf's gradient, memory included.
func ZeroGrad(t *ts.Tensor) error { return SetGrad(t, nil) }

// SetGrad replaces a leaf's gradient; nil removes it.
func SetGrad(t, grad *ts.Tensor) error {
	err := failure(C.natten_tensor_set_grad(handle(t), handle(grad)))
	runtime.KeepAlive(t)
	runtime.KeepAlive(grad)
	return err
}

// NoGrad runs f without recording for gradients. Gradient mode belongs to the
// OS thread, so f keeps the thread it starts on; goroutines that f starts do
// not inherit the mode.
func NoGrad(f func() error) error { return withGrad(false, f) }

// EnableGrad is NoGrad's opposite, for use inside it.
func EnableGrad(f func() error) error { return withGrad(true, f) }

func withGrad(enabled bool, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := C.natten_grad_enabled()
	C.natten_set_grad_enabled(C.int(bit(enabled)))
	defer C.natten_set_grad_enabled(before)
	return f()
}

// GradEnabled tells the mode of the calling thread.
func GradEnabled() bool { return C.natten_grad_enabled() != 0 }
