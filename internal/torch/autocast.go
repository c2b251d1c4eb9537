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
// starts on. Regions do not nest: the inner one ends the outer.
func Autocast(device Device, dtype gotch.DType, f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := failure(C.natten_autocast_enter(C.int(device.kind), C.int(dtype))); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, failure(C.natten_autocast_leave(C.int(device.kind)))) }()
	return f()
}
