package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

func TestAutocastReachesLinearAndAttention(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 9, 2, 8}, gotch.Float, torch.CPU)
	rpb := s.Randn([]int64{2, 5}, gotch.Float, torch.CPU)
	w := s.Randn([]int64{4, 8}, gotch.Float, torch.CPU)
	s.RequiresGrad(x, true)
	s.RequiresGrad(rpb, true)
	o := functional.K(3)
	o.RPB = rpb
	require.NoError(t, torch.Autocast(torch.CPU, gotch.BFloat16, func() error {
		y := s.Own(functional.NA1D(x, x, x, o))
		require.NoError(t, s.Err())
		require.Equal(t, gotch.BFloat16, y.DType())
		require.Equal(t, gotch.BFloat16, s.Linear(y, w, nil).DType())
		return torch.Backward(s.Sum(y))
	}))
	require.Equal(t, gotch.Float, s.Own(torch.Grad(x)).DType(), "gradients come back in the leaf's dtype")
	require.Equal(t, gotch.Float, s.Own(torch.Grad(rpb)).DType())
	require.Equal(t, gotch.Float, s.Linear(x, w, nil).DType(), "the region is over")
	require.ErrorContains(t, torch.Autocast(torch.CPU, gotch.Double, func() error { return nil }), "want float16 or bfloat16")
}
