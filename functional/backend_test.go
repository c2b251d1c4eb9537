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
	o.Backend = "window"
	_, err := functional.NA2D(x, x, x, o)
	if device.Is(torch.CPU) {
		require.EqualError(t, err, `functional: NA2D: option Backend is "window", a class of CUDA kernels, and q is on cpu`)
		if !torch.HasCUDAKernels() {
			require.ErrorContains(t, torch.ForceCUDABackend("window"), "there are no CUDA kernels here")
		}
		return
	}
	require.ErrorContains(t, err, "the dtype is neither float16 nor bfloat16")
	for _, class := range []string{"tile", "naive"} {
		o.Backend = class
		for _, dtype := range []gotch.DType{gotch.Half, gotch.Float, gotch.Double} {
			y := s.To(x, dtype)
			s.Own(functional.NA2D(y, y, y, o))
			require.NoError(t, s.Err(), "%s, %v", class, dtype)
		}
	}
	o.Backend = "nonsense"
	_, err = functional.NA2D(x, x, x, o)
	require.ErrorContains(t, err, "there is no kernel class of that name")
}
