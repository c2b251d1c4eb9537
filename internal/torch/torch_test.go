package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

func TestCallReachesBuiltInOperators(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Own(torch.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 2, 3))
	w := s.Own(torch.FromSlice([]float32{1, 0, 0, 0, 1, 1}, 2, 3))
	y := s.Linear(x, w, nil)
	require.NoError(t, s.Err())
	values, err := torch.Slice[float64](y)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 5, 4, 11}, values)

	info, err := torch.InfoOf(y)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 2}, info.Shape)
	require.Equal(t, []int64{2, 1}, info.Strides)
}

func TestErrorsBelongToTheirCall(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Own(torch.FromSlice([]float32{1, 2, 3}, 3))
	require.Nil(t, s.Matmul(x, s.Own(torch.FromSlice([]float32{1, 2}, 2))))
	require.ErrorContains(t, s.Err(), "inconsistent tensor size")
	require.Nil(t, s.Add(x, x), "a failed scope does nothing more")

	_, err := torch.NewOp("natten::absent").Call()
	require.ErrorContains(t, err, "no operator natten::absent")
	_, err = torch.NewOp("aten::relu").Call(struct{}{})
	require.ErrorContains(t, err, "argument 0: no conversion from struct")
	_, err = torch.NewOp("aten::relu").Call()
	require.ErrorContains(t, err, "argument self is missing")
	_, err = torch.NewOp("aten::relu").Call(x, x)
	require.ErrorContains(t, err, "more arguments than its schema")
	_, err = torch.FromSlice([]float32{1, 2, 3}, 2, 2)
	require.ErrorContains(t, err, "tensor holds 16 bytes, buffer has 12")
}

func TestGradients(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Own(torch.FromSlice([]float64{1, -2, 3}, 3))
	s.RequiresGrad(x, true)
	require.NoError(t, torch.Backward(s.Sum(s.Mul(x, x))))
	g := s.Own(torch.Grad(x))
	values, err := torch.Slice[float64](g)
	require.NoError(t, err)
	require.Equal(t, []float64{2, -4, 6}, values)
	require.NoError(t, torch.ZeroGrad(x))
	g, err = torch.Grad(x)
	require.NoError(t, err)
	require.Nil(t, g)

	require.NoError(t, torch.NoGrad(func() error {
		require.False(t, torch.GradEnabled())
		info, err := torch.InfoOf(s.Mul(x, x))
		require.NoError(t, err)
		require.False(t, info.RequiresGrad)
		return nil
	}))
	require.True(t, torch.GradEnabled())
}

func TestListsStringsAndScalars(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Own(torch.FromSlice([]int64{1, 2, 3, 4}, 2, 2))
	parts := s.Unbind(x, 0)
	require.Len(t, parts, 2)
	joined, err := torch.Slice[int64](s.Cat([]*ts.Tensor{parts[1], parts[0]}, 0))
	require.NoError(t, err)
	require.Equal(t, []int64{3, 4, 1, 2}, joined)

	size, err := torch.NewOp("aten::size.int").Call(x, 1)
	require.NoError(t, err)
	require.Equal(t, []any{int64(2)}, size)
	d := s.Op(torch.NewOp("aten::div.Tensor_mode"), x, x, "a mode that is not there, longer than a word")
	require.Nil(t, d)
	require.ErrorContains(t, s.Err(), "a mode that is not there, longer than a word")
}

func TestMetaTensorsHaveShapesOnly(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Zeros([]int64{1 << 20, 1 << 20}, 6, torch.Meta)
	info, err := torch.InfoOf(s.Matmul(x, x))
	require.NoError(t, err)
	require.Equal(t, []int64{1 << 20, 1 << 20}, info.Shape)
	require.Equal(t, "meta", info.Device.String())
}
