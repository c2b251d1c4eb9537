package functional_test

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/internal/torch"
)

// residentBytes is the process's memory in RAM, Go's unused part given back first.
func residentBytes(t *testing.T) int64 {
	debug.FreeOSMemory()
	resident := procmem.Resident()
	if resident == 0 {
		t.Skip("this system does not tell a process's memory")
	}
	return resident
}

// 500 steps forward and backward, fused and unfused, with an error in each:
// as many tensors alive as before, and no more memory. One lost tensor a step
// would be 128 MiB.
func TestMemoryStaysFlat(t *testing.T) {
	leaves := torch.NewScope()
	defer leaves.Close()
	shape := []int64{1, 32, 32, 2, 32} // 256 KiB in float32
	q, k, v := leaves.Randn(shape, gotch.Float, torch.CPU), leaves.Randn(shape, gotch.Float, torch.CPU), leaves.Randn(shape, gotch.Float, torch.CPU)
	rpb := leaves.Randn([]int64{2, 5, 5}, gotch.Float, torch.CPU)
	inputs := []*ts.Tensor{q, k, v, rpb}
	for _, x := range inputs {
		leaves.RequiresGrad(x, true)
	}
	require.NoError(t, leaves.Err())
	o := functional.Options{KernelSize: []int64{3}, RPB: rpb}

	step := func() {
		s := torch.NewScope()
		defer s.Close()
		y := s.Own(functional.NA2D(q, k, v, o))
		attn := s.Softmax(s.Own(functional.NA2DQK(q, k, o)), -1)
		y = s.Add(y, s.Own(functional.NA2DAV(attn, v, o)))
		s.Fail(torch.Backward(s.Sum(y)))
		require.NoError(t, s.Err())
		for _, x := range inputs {
			require.NoError(t, torch.ZeroGrad(x))
		}
		_, err := functional.NA2D(q, k, v, functional.K(33))
		require.Error(t, err)
	}
	for i := 0; i < 200; i++ {
		step()
	}
	tensors, memory := torch.TensorsAlive(), residentBytes(t)
	for i := 0; i < 500; i++ {
		step()
	}
	require.Equal(t, tensors, torch.TensorsAlive())
	grown := residentBytes(t) - memory
	t.Logf("%d tensors alive, %+d KiB after 500 steps", tensors, grown>>10)
	require.Less(t, grown, int64(32<<20))
}
