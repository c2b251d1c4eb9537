package functional_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/functional"
)

// What the queries answer must agree with each other, with a device and without.
func TestCapabilities(t *testing.T) {
	require.True(t, functional.HasHalf())
	require.True(t, functional.HasBFloat())
	cc := functional.DeviceCC()
	require.Equal(t, cc > 0, functional.HasCUDA())
	require.Equal(t, functional.HasCUDA() && cc >= 75, functional.HasGEMM())
	require.Equal(t, functional.HasCUDA() && cc >= 80, functional.HasFP32GEMM())
	for _, absent := range []int{-1, 4096} {
		require.False(t, functional.HasCUDA(absent))
		require.False(t, functional.HasHalf(absent))
		require.False(t, functional.HasBFloat(absent))
		require.False(t, functional.HasGEMM(absent))
		require.False(t, functional.HasFP32GEMM(absent))
		require.Zero(t, functional.DeviceCC(absent))
	}
}
