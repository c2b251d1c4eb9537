package checkpoint

import "fmt"

// DType is the type of a tensor's elements. The zero value is no type.
type DType uint8

// The element types of safetensors and of torch storages. All are stored little-endian.
const (
	F64 DType = iota + 1
	F32
	F16
	BF16
	I64
	I32
	I16
	I8
	U64
	U32
	U16
	U8
	Bool     // one byte, 0 or 1
	C64      // two F32: real, imaginary
	C128     // two F64: real, imaginary; torch only
	F8E4M3   // 8-bit float, 4 exponent bits (torch.float8_e4m3fn)
	F8E5M2   // 8-bit float, 5 exponent bits
	numDType = iota + 1
)

// dtypeTable gives each type its size in bytes and its names: in safetensors headers, as torch.<name>, and of the
// typed storage class in torch ("" where torch has none and writes an untyped storage).
var dtypeTable = [numDType]struct {
	size                       int
	safetensors, torch, legacy string
}{
	F64:    {8, "F64", "float64", "DoubleStorage"},
	F32:    {4, "F32", "float32", "FloatStorage"},
	F16:    {2, "F16", "float16", "HalfStorage"},
	BF16:   {2, "BF16", "bfloat16", "BFloat16Storage"},
	I64:    {8, "I64", "int64", "LongStorage"},
	I32:    {4, "I32", "int32", "IntStorage"},
	I16:    {2, "I16", "int16", "ShortStorage"},
	I8:     {1, "I8", "int8", "CharStorage"},
	U64:    {8, "U64", "uint64", ""},
	U32:    {4, "U32", "uint32", ""},
	U16:    {2, "U16", "uint16", ""},
	U8:     {1, "U8", "uint8", "ByteStorage"},
	Bool:   {1, "BOOL", "bool", "BoolStorage"},
	C64:    {8, "C64", "complex64", "ComplexFloatStorage"},
	C128:   {16, "C128", "complex128", "ComplexDoubleStorage"},
	F8E4M3: {1, "F8_E4M3", "float8_e4m3fn", ""},
	F8E5M2: {1, "F8_E5M2", "float8_e5m2", ""},
}

// Valid reports whether d is one of the declared types.
func (d DType) Valid() bool { return d > 0 && d < numDType }

// Size returns the bytes of one element, 0 for an invalid type.
func (d DType) Size() int {
	if !d.Valid() {
		return 0
	}
	return dtypeTable[d].size
}

// String returns the name that safetensors headers use, such as "F32".
func (d DType) String() string {
	if !d.Valid() {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	return dtypeTable[d].safetensors
}

// Torch returns PyTorch's name without the module, such as "float32".
func (d DType) Torch() string {
	if !d.Valid() {
		return d.String()
	}
	return dtypeTable[d].torch
}

// IsFloat reports whether the elements are real floating-point numbers.
func (d DType) IsFloat() bool {
	switch d {
	case F64, F32, F16, BF16, F8E4M3, F8E5M2:
		return true
	}
	return false
}

// ParseDType returns the type with the given safetensors name ("F32") or torch name ("float32").
func ParseDType(name string) (DType, error) {
	for d := DType(1); d < numDType; d++ {
		if dtypeTable[d].safetensors == name || dtypeTable[d].torch == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("checkpoint: unknown element type %q", name)
}
