package checkpoint

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewTensorChecks(t *testing.T) {
	_, err := NewTensor(F32, []int64{2, 2}, make([]byte, 15))
	require.EqualError(t, err, "checkpoint: NewTensor: shape [2 2] of F32 takes 16 bytes, data has 15")
	_, err = NewTensor(F32, []int64{-1}, nil)
	require.ErrorContains(t, err, "negative size")
	_, err = NewTensor(0, nil, nil)
	require.ErrorContains(t, err, "unknown element type")
	_, err = NewTensor(U8, make([]int64, 65), nil)
	require.ErrorContains(t, err, "more than 64")
	scalar, err := NewTensor(F64, nil, make([]byte, 8))
	require.NoError(t, err)
	require.Equal(t, "F64[]", scalar.String())
}

func TestDTypeNames(t *testing.T) {
	for d := DType(1); d < numDType; d++ {
		require.Positive(t, d.Size(), d)
		for _, name := range []string{d.String(), d.Torch()} {
			got, err := ParseDType(name)
			require.NoError(t, err)
			require.Equal(t, d, got)
		}
	}
	_, err := ParseDType("F99")
	require.Error(t, err)
	require.Equal(t, "DType(0)", DType(0).String())
}

// TestSmallFloats checks landmarks of the narrow formats: largest, smallest normal and subnormal, special values.
func TestSmallFloats(t *testing.T) {
	for _, c := range []struct {
		dtype DType
		bits  uint16
		want  float64
	}{
		{F16, 0x7bff, 65504}, {F16, 0x0400, math.Ldexp(1, -14)}, {F16, 0x0001, math.Ldexp(1, -24)}, {F16, 0xfc00, math.Inf(-1)},
		{F16, 0x3555, 0.333251953125}, {F16, 0x8000, math.Copysign(0, -1)},
		{BF16, 0x3f80, 1}, {BF16, 0xff80, math.Inf(-1)}, {BF16, 0x4049, 3.140625},
		{F8E4M3, 0x7e, 448}, {F8E4M3, 0x01, math.Ldexp(1, -9)}, {F8E4M3, 0xb8, -1},
		{F8E5M2, 0x7b, 57344}, {F8E5M2, 0x01, math.Ldexp(1, -16)}, {F8E5M2, 0x7c, math.Inf(1)},
	} {
		tensor := must(NewTensor(c.dtype, nil, []byte{byte(c.bits), byte(c.bits >> 8)}[:c.dtype.Size()]))
		got, err := tensor.Float64s()
		require.NoError(t, err)
		require.Equal(t, c.want, got[0], "%s %#x", c.dtype, c.bits)
		require.Equal(t, math.Signbit(c.want), math.Signbit(got[0]))
	}
	for _, c := range []struct {
		dtype DType
		data  []byte
	}{{F16, []byte{1, 0x7c}}, {F8E4M3, []byte{0x7f}}, {F8E5M2, []byte{0xfe}}} {
		got, err := must(NewTensor(c.dtype, nil, c.data)).Float64s()
		require.NoError(t, err)
		require.True(t, math.IsNaN(got[0]), c.dtype)
	}
}

func TestConversions(t *testing.T) {
	ints, err := must(NewTensor(I8, []int64{2}, []byte{0xff, 5})).Int64s()
	require.NoError(t, err)
	require.Equal(t, []int64{-1, 5}, ints)
	_, err = must(FromFloat32s([]float32{1})).Int64s()
	require.Error(t, err)
	_, err = must(NewTensor(U64, nil, []byte{0, 0, 0, 0, 0, 0, 0, 0x80})).Int64s()
	require.ErrorContains(t, err, "exceeds")
	_, err = must(NewTensor(C64, nil, make([]byte, 8))).Float64s()
	require.Error(t, err)

	_, err = FromFloat64s([]float64{0.1, -2})
	require.ErrorContains(t, err, "takes 8 bytes") // two values are no scalar
	f, err := must(FromFloat64s([]float64{0.1, -2}, 2)).ToFloat(F32)
	require.NoError(t, err)
	v, err := f.Float32s()
	require.NoError(t, err)
	require.Equal(t, []float32{0.1, -2}, v)
	back, err := f.ToFloat(F64)
	require.NoError(t, err)
	w, err := back.Float64s()
	require.NoError(t, err)
	require.Equal(t, []float64{float64(float32(0.1)), -2}, w)
	_, err = f.ToFloat(I8)
	require.ErrorContains(t, err, "neither F32 nor F64")
}

func TestReshape(t *testing.T) {
	a := must(FromFloat32s([]float32{1, 2, 3, 4, 5, 6}, 2, 3))
	b, err := a.Reshape(3, 2)
	require.NoError(t, err)
	require.Equal(t, a.Bytes(), b.Bytes())
	require.False(t, a.Equal(b))
	_, err = a.Reshape(4)
	require.Error(t, err)
}

func TestStateDict(t *testing.T) {
	var s StateDict
	s.Set("b.x", FromBytes([]byte{1}))
	s.Set("a", FromBytes([]byte{2}))
	s.Set("b.y", FromBytes([]byte{3, 4}))
	s.Set("b.x", FromBytes([]byte{5}))
	require.Equal(t, []string{"b.x", "a", "b.y"}, s.Names())
	require.EqualValues(t, 4, s.NumBytes())
	require.Equal(t, []string{"x", "y"}, s.WithPrefix("b.").Names())
	c := s.Clone()
	require.True(t, c.Delete("a"))
	require.False(t, c.Delete("a"))
	require.Equal(t, 3, s.Len())
	require.Equal(t, []string{"b.x", "b.y"}, c.Names())
	require.False(t, s.Equal(c))
}

func TestGather(t *testing.T) {
	data := must(FromInt64s([]int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 12)).Bytes()
	for name, c := range map[string]struct {
		shape, strides []int64
		want           []int64
	}{
		"transposed": {[]int64{4, 3}, []int64{1, 4}, []int64{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}},
		"sliced":     {[]int64{2, 2}, []int64{8, 1}, []int64{0, 1, 8, 9}},
		"expanded":   {[]int64{2, 2}, []int64{0, 3}, []int64{0, 3, 0, 3}},
		"scalar":     {nil, nil, []int64{0}},
		"3-D":        {[]int64{2, 2, 3}, []int64{6, 1, 2}, []int64{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}},
		"empty":      {[]int64{2, 0}, []int64{1, 1}, []int64{}},
	} {
		t.Run(name, func(t *testing.T) {
			v := &strided{data: data, dtype: I64, shape: c.shape, strides: c.strides}
			tensor := &Tensor{dtype: I64, shape: c.shape, gather: v.gather}
			got, err := tensor.Int64s()
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.want, must(tensor.Clone().Int64s()))
		})
	}
	big := &strided{
		data: []byte{1, 2, 3, 4, 5, 6, 7, 8}, dtype: C64, shape: []int64{1}, strides: []int64{1}, bigEndian: true,
	}
	require.Equal(t, []byte{4, 3, 2, 1, 8, 7, 6, 5}, big.gather())
}

func TestRows(t *testing.T) {
	a := must(FromInt64s([]int64{0, 1, 2, 3, 4, 5}, 3, 2))
	mid := must(a.rows(1, 2, []int64{2}))
	require.Equal(t, []int64{2, 3}, must(mid.Int64s()))
	joined := must(joinRows([]*Tensor{mid, must(a.rows(0, 1, []int64{2}))}, []int64{2, 2}))
	require.Equal(t, []int64{2, 3, 0, 1}, must(joined.Int64s()))
	require.False(t, joined.Aliased())
	require.Equal(t, []int64{0, 1}, must(must(joined.rows(1, 2, []int64{1, 2})).Int64s()))
	_, err := a.rows(1, 4, []int64{6})
	require.Error(t, err)
	_, err = a.rows(0, 1, []int64{3})
	require.Error(t, err)
	_, err = joinRows([]*Tensor{mid}, []int64{3})
	require.Error(t, err)
	_, err = joinRows([]*Tensor{mid, FromBytes(nil)}, []int64{2})
	require.ErrorContains(t, err, "cannot be joined")
}
