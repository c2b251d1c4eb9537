package functional_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/internal/testproc"
	"github.com/gonatten/gonatten/internal/torch"
)

// Forward and backward beside their inputs take the results, the gradients and
// little more: what the package's documentation says.
// The weights of these windows alone would be 30 and 16 times an input. Each
// problem has a process of its own, since a process remembers its peak.
func TestMemoryIsLinear(t *testing.T) {
	if device != torch.CPU {
		t.Skip("the process's memory is the CPU's")
	}
	if procmem.Peak() == 0 {
		t.Skip("the system does not tell the peak of memory")
	}
	for name, problem := range map[string]struct {
		shape  []int64
		kernel int64
		attend func(q, k, v *ts.Tensor, o functional.Options) (*ts.Tensor, error)
	}{
		"map":      {[]int64{1, 256, 256, 2, 32}, 31, functional.NA2D},
		"sequence": {[]int64{1, 131072, 1, 32}, 511, functional.NA1D},
	} {
		t.Run(name, func(t *testing.T) {
			if !testproc.Alone(t, "NATTEN_CPU_POOL_MB=0", "OMP_NUM_THREADS=2") {
				return
			}
			take := func(shape []int64, kernel int64) int64 {
				s := torch.NewScope()
				defer s.Close()
				var inputs [3]*ts.Tensor
				for i := range inputs {
					inputs[i] = s.Randn(shape, gotch.Float, torch.CPU)
					s.RequiresGrad(inputs[i], true)
				}
				require.NoError(t, s.Err())
				before := procmem.Peak()
				out := s.Own(problem.attend(inputs[0], inputs[1], inputs[2], functional.Options{KernelSize: []int64{kernel}}))
				s.Fail(torch.Backward(s.Sum(out)))
				require.NoError(t, s.Err())
				return procmem.Peak() - before
			}
			small := append([]int64{}, problem.shape...)
			for i := 1; i < len(small)-2; i++ {
				small[i] = 32
			}
			take(small, 3)
			taken, tensor := take(problem.shape, problem.kernel), int64(4)
			for _, n := range problem.shape {
				tensor *= n
			}
			t.Logf("%d MiB beside inputs of %d MiB each", taken>>20, tensor>>20)
			require.Less(t, taken, 6*tensor+32<<20)
		})
	}
}
