package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch/ts"
)

// Gradients, as an argument of [Op.Call], stands for the list of the gradients
// of these leaves. The gradients never become Go tensors, so a step over all
// parameters of a model is one call. Each leaf must have one.
type Gradients []*ts.Tensor

// HasGradients tells for each leaf whether it has a gradient.
func HasGradients(leaves []*ts.Tensor) ([]bool, error) {
	if len(leaves) == 0 {
		return nil, nil
	}
	handles, defined := handles(leaves), make([]bool, len(leaves))
	err := failure(C.natten_gradients_defined(&handles[0], C.int64_t(len(handles)),
		(*C.uint8_t)(unsafe.Pointer(&defined[0]))))
	runtime.KeepAlive(leaves)
	return defined, err
}

// ClearGradients removes the gradients of all leaves, memory included.
func ClearGradients(leaves []*ts.Tensor) error {
	if len(leaves) == 0 {
		return nil
	}
	handles := handles(leaves)
	err := failure(C.natten_gradients_clear(&handles[0], C.int64_t(len(handles))))
	runtime.KeepAlive(leaves)
	return err
}

func handles(tensors []*ts.Tensor) []C.natten_tensor {
	list := make([]C.natten_tensor, len(tensors))
	for i, t := range tensors {
		list[i] = handle(t)
	}
	return list
}
