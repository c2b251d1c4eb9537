package functional_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// A class of CUDA kernels that cannot run a call is an error, on every machine.
func TestForcedBackend(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 7, 7, 2, 8}, gotch.Float, device)
	o := functional.K(3)
	for _, choose := range []string{"", "auto"} {
		o.Backend = choose
		s.Own(functional.NA2D(x, x, x, o))
		require.NoError(t, s.Err())
	}
	o.Backend = "tile"
	_, err := functional.NA2D(x, x, x, o)
	if device.Is(torch.CPU) {
		require.EqualError(t, err, `functional: NA2D: option Backend is "tile", a class of CUDA kernels, and q is on cpu`)
		if !torch.HasCUDAKernels() {
			require.ErrorContains(t, torch.ForceCUDABackend("tile"), "there are no CUDA kernels here")
		}
		return
	}
	require.ErrorContains(t, err, "the dtype is neither float16 nor bfloat16")
	half := s.To(x, gotch.Half)
	s.Own(functional.NA2D(half, half, half, o))
	o.Backend = "naive"
	s.Own(functional.NA2D(x, x, x, o))
	require.NoError(t, s.Err())
	o.Backend = "nonsense"
	_, err = functional.NA2D(x, x, x, o)
	require.ErrorContains(t, err, "there is no kernel class of that name")
}
