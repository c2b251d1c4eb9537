package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"errors"
	"runtime"

	"github.com/sugarme/gotch"
)

// Autocast runs f with matrix products, convolutions and attention in dtype
// (gotch.Half or gotch.BFloat16) on that device, everything else as PyTorch's
// autocast has it. It belongs to the OS thread, so f keeps the thread it
// starts on. After an inner region the outer one goes on.
func Autocast(device Device, dtype gotch.DType, f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before C.natten_autocast
	if err := failure(C.natten_autocast_enter(C.int(device.kind), C.int(dtype), &before)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failure(C.natten_autocast_leave(C.int(device.kind), before))) }()
	return f()
}
