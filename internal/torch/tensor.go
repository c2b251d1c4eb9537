package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

type operatorHandle = C.natten_operator

// Info is what there is to know about a tensor without reading its data.
type Info struct {
	DType        gotch.DType
	Device       Device
	Shape        []int64
	Strides      []int64 // in elements
	ElementSize  int64   // bytes
	Contiguous   bool
	RequiresGrad bool
	Nested       bool // samples of their own sizes: those are -1 in Shape
}

// Numel is the number of elements.
func (i *Info) Numel() int64 {
	n := int64(1)
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// InfoOf reads a tensor's facts in one call. A nil, dropped or undefined
// tensor is an error.
func InfoOf(t *ts.Tensor) (*Info, error) {
	const fixed, maxDim = 9, 64
	if handle(t) == nil {
		return nil, fmt.Errorf("tensor is nil or was dropped")
	}
	var words [fixed + 2*maxDim]int64
	err := failure(C.natten_tensor_info(handle(t), (*C.int64_t)(unsafe.Pointer(&words[0])), C.int64_t(len(words))))
	runtime.KeepAlive(t)
	if err != nil {
		return nil, err
	}
	if words[0] == 0 {
		return nil, fmt.Errorf("tensor is undefined")
	}
	dim := words[7]
	sizes := append([]int64(nil), words[fixed:fixed+2*dim]...)
	return &Info{
		DType:        gotch.DType(words[1]),
		Device:       Device{words[2], words[3]},
		ElementSize:  words[4],
		Contiguous:   words[5] != 0,
		RequiresGrad: words[6] != 0,
		Nested:       words[8] != 0,
		Shape:        sizes[:dim:dim],
		Strides:      sizes[dim:],
	}, nil
}

// Element is a Go type that has a dtype.
type Element interface {
	float32 | float64 | int64 | int32 | int16 | int8 | uint8 | bool
}

func dtypeOf[E Element]() gotch.DType {
	var zero E
	switch any(zero).(type) {
	case float32:
		return gotch.Float
	case float64:
		return gotch.Double
	case int64:
		return gotch.Int64
	case int32:
		return gotch.Int
	case int16:
		return gotch.Int16
	case int8:
		return gotch.Int8
	case uint8:
		return gotch.Uint8
	}
	return gotch.Bool
}

// FromSlice makes a CPU tensor of that shape holding a copy of data, which
// must have exactly as many elements.
func FromSlice[E Element](data []E, shape ...int64) (*ts.Tensor, error) {
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(E))))
	return FromBytes(raw, dtypeOf[E](), shape...)
}

var empty = NewOp("aten::empty.memory_format")

// FromBytes makes a CPU tensor of that dtype and shape from row-major bytes in
// the machine's byte order. The bytes are copied.
func FromBytes(data []byte, dtype gotch.DType, shape ...int64) (*ts.Tensor, error) {
	s := NewScope()
	defer s.Close()
	t := s.Op(empty, append([]int64{}, shape...), dtype, Default, CPU)
	if s.err == nil {
		s.Fail(Write(t, data))
	}
	return s.Return(t)
}

// Upload is FromSlice on a device, owned by the scope. For a CUDA device the
// data goes through page-locked memory, so that the copy runs beside what the
// device computes.
func Upload[E Element](s *Scope, data []E, device Device, shape ...int64) *ts.Tensor {
	if !device.Is(CUDA) {
		return s.Own(FromSlice(data, shape...))
	}
	const nonBlocking = true
	staged := pageLocked(s, data, shape)
	t := s.Op(opToDevice, staged, device, dtypeOf[E](), nonBlocking)
	s.Free(staged)
	return t
}

// pageLocked is FromSlice in page-locked memory. Libtorch keeps that memory, and
// gives it to others only when the copies from it are done.
func pageLocked[E Element](s *Scope, data []E, shape []int64) *ts.Tensor {
	const pinned = true
	t := s.Op(empty, append([]int64{}, shape...), dtypeOf[E](), Default, CPU, pinned)
	if s.err == nil {
		s.Fail(Write(t, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(E))))))
	}
	return t
}

// Memory is where the elements of a contiguous tensor on the CPU lie, to be
// overwritten. It is good as long as the tensor is.
func Memory(t *ts.Tensor) ([]byte, error) {
	info, err := InfoOf(t)
	if err != nil {
		return nil, err
	}
	var data unsafe.Pointer
	err = failure(C.natten_tensor_memory(handle(t), &data))
	runtime.KeepAlive(t)
	return unsafe.Slice((*byte)(data), info.Numel()*info.ElementSize), err
}

// Write replaces a tensor's contents by row-major bytes of its dtype.
func Write(t *ts.Tensor, data []byte) error {
	err := failure(C.natten_tensor_write(handle(t), unsafe.Pointer(unsafe.SliceData(data)), C.int64_t(len(data))))
	runtime.KeepAlive(t)
	return err
}

// Read fills data with a tensor's contents, row-major, in its own dtype.
func Read(t *ts.Tensor, data []byte) error {
	err := failure(C.natten_tensor_read(handle(t), unsafe.Pointer(unsafe.SliceData(data)), C.int64_t(len(data))))
	runtime.KeepAlive(t)
	return err
}

// Bytes is a copy of a tensor's contents, row-major, in its own dtype.
func Bytes(t *ts.Tensor) ([]byte, error) {
	info, err := InfoOf(t)
	if err != nil {
		return nil, err
	}
	data := make([]byte, info.Numel()*info.ElementSize)
	return data, Read(t, data)
}

// Slice is a copy of a tensor's contents, row-major, converted to E.
func Slice[E Element](t *ts.Tensor) ([]E, error) {
	s := NewScope()
	defer s.Close()
	converted := s.To(t, dtypeOf[E]())
	if s.err != nil {
		return nil, s.err
	}
	info, err := InfoOf(converted)
	if err != nil {
		return nil, err
	}
	data := make([]E, info.Numel())
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(E))))
	return data, Read(converted, raw)
}

// Scalar reads a one-element tensor.
func Scalar(t *ts.Tensor) (float64, error) {
	values, err := Slice[float64](t)
	if err != nil {
		return 0, err
	}
	if len(values) != 1 {
		return 0, fmt.Errorf("torch: Scalar: tensor has %d elements, want 1", len(values))
	}
	return values[0], nil
}

// Alias is a second handle on the same tensor.
func Alias(t *ts.Tensor) (*ts.Tensor, error) {
	results, err := alias.Call(t)
	if err != nil {
		return nil, err
	}
	return results[0].(*ts.Tensor), nil
}

var alias = NewOp("aten::alias")
