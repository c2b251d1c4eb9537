package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// FromFloat32s makes an F32 tensor; values are copied. It fails when their number is not the product of shape.
func FromFloat32s(values []float32, shape ...int64) (*Tensor, error) {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return NewTensor(F32, shape, data)
}

// FromFloat64s makes an F64 tensor; values are copied. It fails when their number is not the product of shape.
func FromFloat64s(values []float64, shape ...int64) (*Tensor, error) {
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	return NewTensor(F64, shape, data)
}

// FromInt64s makes an I64 tensor; values are copied. It fails when their number is not the product of shape.
func FromInt64s(values []int64, shape ...int64) (*Tensor, error) {
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	return NewTensor(I64, shape, data)
}

// FromBytes makes a U8 tensor of one axis that keeps data. Serialised state (a random generator, say) travels so.
func FromBytes(data []byte) *Tensor {
	return &Tensor{dtype: U8, shape: []int64{int64(len(data))}, data: data}
}

// Float64s returns a copy of the elements as float64, exact for every real type but I64 and U64 beyond 2^53. It fails
// for complex types.
func (t *Tensor) Float64s() ([]float64, error) {
	read, err := t.dtype.reader()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: Float64s: %w", err)
	}
	return convert(t.Bytes(), t.dtype.Size(), read), nil
}

// Float32s returns a copy of the elements as float32, rounded to nearest where the type holds more. It fails for
// complex types.
func (t *Tensor) Float32s() ([]float32, error) {
	if t.dtype == F32 {
		return convert(t.Bytes(), 4, func(b []byte) float32 {
			return math.Float32frombits(binary.LittleEndian.Uint32(b))
		}), nil
	}
	read, err := t.dtype.reader()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: Float32s: %w", err)
	}
	return convert(t.Bytes(), t.dtype.Size(), func(b []byte) float32 { return float32(read(b)) }), nil
}

// Int64s returns a copy of the elements of an integer or boolean tensor.
func (t *Tensor) Int64s() ([]int64, error) {
	le := binary.LittleEndian
	var read func([]byte) int64
	switch t.dtype {
	case I64, U64:
		read = func(b []byte) int64 { return int64(le.Uint64(b)) }
	case I32:
		read = func(b []byte) int64 { return int64(int32(le.Uint32(b))) }
	case I16:
		read = func(b []byte) int64 { return int64(int16(le.Uint16(b))) }
	case I8:
		read = func(b []byte) int64 { return int64(int8(b[0])) }
	case U32:
		read = func(b []byte) int64 { return int64(le.Uint32(b)) }
	case U16:
		read = func(b []byte) int64 { return int64(le.Uint16(b)) }
	case U8, Bool:
		read = func(b []byte) int64 { return int64(b[0]) }
	default:
		return nil, fmt.Errorf("checkpoint: Int64s: element type %s is not an integer", t.dtype)
	}
	out := convert(t.Bytes(), t.dtype.Size(), read)
	if t.dtype == U64 && slices.Min(append(out, 0)) < 0 {
		return nil, fmt.Errorf("checkpoint: Int64s: a U64 element exceeds %d", int64(math.MaxInt64))
	}
	return out, nil
}

// ToFloat returns the tensor with elements of type dtype, F32 or F64; a tensor of that type already is returned as it
// is.
func (t *Tensor) ToFloat(dtype DType) (*Tensor, error) {
	switch {
	case t.dtype == dtype:
		return t, nil
	case dtype == F32:
		v, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		return FromFloat32s(v, t.shape...)
	case dtype == F64:
		v, err := t.Float64s()
		if err != nil {
			return nil, err
		}
		return FromFloat64s(v, t.shape...)
	}
	return nil, fmt.Errorf("checkpoint: ToFloat: target type %s is neither F32 nor F64", dtype)
}

func convert[T any](b []byte, size int, read func([]byte) T) []T {
	out := make([]T, len(b)/size)
	for i := range out {
		out[i] = read(b[i*size : (i+1)*size])
	}
	return out
}

// reader returns the conversion of one stored element to float64.
func (d DType) reader() (func([]byte) float64, error) {
	le := binary.LittleEndian
	switch d {
	case F64:
		return func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) }, nil
	case F32:
		return func(b []byte) float64 { return float64(math.Float32frombits(le.Uint32(b))) }, nil
	case F16:
		return func(b []byte) float64 { return smallFloat(uint32(le.Uint16(b)), 5, 10, false) }, nil
	case BF16:
		return func(b []byte) float64 { return float64(math.Float32frombits(uint32(le.Uint16(b)) << 16)) }, nil
	case F8E5M2:
		return func(b []byte) float64 { return smallFloat(uint32(b[0]), 5, 2, false) }, nil
	case F8E4M3:
		return func(b []byte) float64 { return smallFloat(uint32(b[0]), 4, 3, true) }, nil
	case I64:
		return func(b []byte) float64 { return float64(int64(le.Uint64(b))) }, nil
	case I32:
		return func(b []byte) float64 { return float64(int32(le.Uint32(b))) }, nil
	case I16:
		return func(b []byte) float64 { return float64(int16(le.Uint16(b))) }, nil
	case I8:
		return func(b []byte) float64 { return float64(int8(b[0])) }, nil
	case U64:
		return func(b []byte) float64 { return float64(le.Uint64(b)) }, nil
	case U32:
		return func(b []byte) float64 { return float64(le.Uint32(b)) }, nil
	case U16:
		return func(b []byte) float64 { return float64(le.Uint16(b)) }, nil
	case U8, Bool:
		return func(b []byte) float64 { return float64(b[0]) }, nil
	}
	return nil, fmt.Errorf("element type %s has no real value", d)
}

// smallFloat decodes an IEEE-like number with the given widths of exponent and mantissa. finite marks the "fn" formats
// (no infinities; only an all-ones pattern is NaN), as in Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
func smallFloat(bits uint32, exponentBits, mantissaBits uint, finite bool) float64 {
	sign := 1.0
	if bits>>(exponentBits+mantissaBits)&1 == 1 {
		sign = -1
	}
	top := uint32(1)<<exponentBits - 1
	exponent := bits >> mantissaBits & top
	mantissa := bits & (1<<mantissaBits - 1)
	bias := int(top >> 1)
	switch {
	case finite && exponent == top && mantissa == 1<<mantissaBits-1:
		return math.NaN()
	case !finite && exponent == top && mantissa != 0:
		return math.NaN()
	case !finite && exponent == top:
		return math.Inf(int(sign))
	case exponent == 0:
		return sign * math.Ldexp(float64(mantissa), 1-bias-int(mantissaBits))
	}
	return sign * math.Ldexp(float64(mantissa|1<<mantissaBits), int(exponent)-bias-int(mantissaBits))
}
