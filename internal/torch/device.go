package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"fmt"

	"github.com/sugarme/gotch"
)

// Device is where a tensor lives. gotch has no name for libtorch's meta
// device (shapes without data), hence a type of our own.
type Device struct {
	kind, index int64 // c10::DeviceType and index, -1 for the current one
}

// The devices this project knows. CUDA is the current CUDA device.
var (
	CPU  = Device{0, -1}
	CUDA = Device{1, -1}
	Meta = Device{14, -1}
)

// CUDAIndex is the CUDA device of that number.
func CUDAIndex(i int) Device { return Device{1, int64(i)} }

// Count is the number of devices of a kind; 0 where libtorch cannot use any.
func (d Device) Count() int { return int(C.natten_device_count(C.int(d.kind))) }

// Use makes a CUDA device the one that the calling OS thread is at: what needs a
// device and has no tensor to tell it takes that one.
func (d Device) Use() error { return failure(C.natten_set_device(C.int(d.kind), C.int(d.index))) }

// gotchMeta stands for the meta device in gotch's types: a VarStore made with
// it carries it to the layers built on it, which allocate by this package.
// gotch's own functions take it for the CPU.
var gotchMeta = gotch.Device{Name: "META", Value: -14}

// DeviceOf converts gotch's device.
func DeviceOf(d gotch.Device) Device {
	switch {
	case d == gotchMeta:
		return Meta
	case d.Value < 0:
		return CPU
	}
	return CUDAIndex(d.Value)
}

// Gotch converts to gotch's device. The result for Meta serves to make a
// VarStore whose parameters have shapes and no data.
func (d Device) Gotch() gotch.Device {
	switch {
	case d.Is(Meta):
		return gotchMeta
	case d.Is(CUDA):
		return gotch.CudaBuilder(uint(max(d.index, 0)))
	}
	return gotch.CPU
}

// Is reports whether both are of one kind, whatever their index.
func (d Device) Is(other Device) bool { return d.kind == other.kind }

// Kind is the device's name without a number: "cpu", "cuda", "meta".
func (d Device) Kind() string {
	name := map[int64]string{0: "cpu", 1: "cuda", 14: "meta"}[d.kind]
	if name == "" {
		name = fmt.Sprintf("device%d", d.kind)
	}
	return name
}

// String is libtorch's spelling: "cpu", "cuda:0", "meta".
func (d Device) String() string {
	name := d.Kind()
	if d.index >= 0 && d.kind != CPU.kind {
		return fmt.Sprintf("%s:%d", name, d.index)
	}
	return name
}
