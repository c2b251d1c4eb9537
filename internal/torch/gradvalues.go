package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/sugarme/gotch/ts"
)

// GradientsOf are the gradients of sum(outputs * seeds) with respect to inputs;
// an entry is nil where no output depends on the input. seeds is nil (outputs
// are scalars) or has one entry per output, nil for 1. With createGraph the
// result can be differentiated again and the outputs' graph is kept.
func GradientsOf(outputs, seeds, inputs []*ts.Tensor, createGraph bool) ([]*ts.Tensor, error) {
	if len(outputs) == 0 || len(inputs) == 0 {
		return nil, fmt.Errorf("torch: GradientsOf: %d outputs and %d inputs, want at least one of each", len(outputs), len(inputs))
	}
	if seeds == nil {
		seeds = make([]*ts.Tensor, len(outputs))
	}
	if len(seeds) != len(outputs) {
		return nil, fmt.Errorf("torch: GradientsOf: %d seeds, want %d, one per output", len(seeds), len(outputs))
	}
	found := make([]C.natten_tensor, len(inputs))
	err := failure(C.natten_gradients(&handles(outputs)[0], &handles(seeds)[0], C.int64_t(len(outputs)),
		&handles(inputs)[0], C.int64_t(len(inputs)), C.int(bit(createGraph)), &found[0]))
	runtime.KeepAlive([3][]*ts.Tensor{outputs, seeds, inputs})
	if err != nil {
		return nil, err
	}
	gradients := make([]*ts.Tensor, len(inputs))
	for i, g := range found {
		gradients[i] = wrap(unsafe.Pointer(g))
	}
	return gradients, nil
}

// libtorch has one level of forward-mode differentiation per process.
var dualLevel sync.Mutex

// WithDuals runs f inside a level of forward-mode differentiation; the
// tangents end with it. Concurrent callers wait for each other; a call inside f
// is an error. f keeps the OS thread it starts on.
func WithDuals(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if C.natten_dual_entered() != 0 {
		return errors.New("torch: forward-mode levels do not nest: libtorch has one")
	}
	dualLevel.Lock()
	defer dualLevel.Unlock()
	if err := failure(C.natten_dual_enter()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failure(C.natten_dual_leave())) }()
	return f()
}
