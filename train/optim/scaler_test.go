package optim_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/optim"
)

// TestScalerAgainstTorch repeats 24 steps of AdamW under torch.amp.GradScaler,
// four of them with gradients that are not finite.
func TestScalerAgainstTorch(t *testing.T) {
	want := reference(t).Scaler
	require.Len(t, want.Scales, 24)
	spoilt := map[int]float64{3: math.Inf(1), 9: math.Inf(1), 10: math.Inf(-1), 15: math.NaN()}
	list := parameters(t)
	groups, err := optim.Groups(list, optim.Grouping{WeightDecay: 0.05})
	require.NoError(t, err)
	opt, err := optim.New("adamw", groups, optim.Options{})
	require.NoError(t, err)
	defer opt.Close()
	scaler, err := optim.NewScaler(torch.CPU, optim.ScalerOptions{Init: 1024, Interval: 4})
	require.NoError(t, err)
	defer scaler.Close()
	for step := range want.Scales {
		scale, _, err := scaler.State()
		require.NoError(t, err)
		setGradients(t, list, step)
		for i, p := range list {
			g, err := torch.Grad(p.Tensor)
			require.NoError(t, err)
			_, err = torch.NewOp("aten::mul_.Scalar").Call(g, scale)
			require.NoError(t, err)
			if v, ok := spoilt[step]; ok && i == 1 {
				_, err = torch.NewOp("aten::fill_.Scalar").Call(g, v)
				require.NoError(t, err)
			}
			g.MustDrop()
		}
		finite, err := scaler.Unscale(opt.Parameters())
		require.NoError(t, err)
		_, bad := spoilt[step]
		require.Equal(t, !bad, finite, "step %d", step)
		require.NoError(t, scaler.Update())
		if finite {
			require.NoError(t, opt.Step(0.01))
		}
		scale, _, err = scaler.State()
		require.NoError(t, err)
		require.Equal(t, want.Scales[step], scale, "after step %d", step)
	}
	for i, p := range list {
		require.InDeltaSlice(t, want.Values[i], values(t, p.Tensor), 1e-6, p.Name)
	}
}

func TestScalerState(t *testing.T) {
	scaler, err := optim.NewScaler(torch.CPU, optim.ScalerOptions{})
	require.NoError(t, err)
	defer scaler.Close()
	scale, growth, err := scaler.State()
	require.NoError(t, err)
	require.Equal(t, []any{65536.0, 0}, []any{scale, growth})
	require.NoError(t, scaler.SetState(8, 1999))
	list := parameters(t)
	finite, err := scaler.Unscale(optim.Tensors(list))
	require.NoError(t, err)
	require.True(t, finite, "no gradients at all")
	require.NoError(t, scaler.Update())
	scale, growth, err = scaler.State()
	require.NoError(t, err)
	require.Equal(t, []any{16.0, 0}, []any{scale, growth}, "the 2000th finite step")

	require.ErrorContains(t, scaler.SetState(0, 0), "scale 0 after 0 finite steps")
	require.ErrorContains(t, scaler.SetState(math.Inf(1), 0), "scale +Inf")
	_, err = optim.NewScaler(torch.CPU, optim.ScalerOptions{Growth: 0.5})
	require.ErrorContains(t, err, "growth 0.5")
}
