package functional_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/procmem"
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
	const variable = "NATTEN_TEST_MEMORY_OF"
	problems := map[string]struct {
		shape  []int64
		kernel []int64
		attend func(q, k, v *ts.Tensor, o functional.Options) (*ts.Tensor, error)
	}{
		"map":      {[]int64{1, 256, 256, 2, 32}, []int64{31}, functional.NA2D},
		"sequence": {[]int64{1, 131072, 1, 32}, []int64{511}, functional.NA1D},
	}
	if name := os.Getenv(variable); name != "" {
		problem := problems[name]
		run := func(shape []int64, kernel ...int64) int64 {
			s := torch.NewScope()
			defer s.Close()
			var inputs [3]*ts.Tensor
			for i := range inputs {
				inputs[i] = s.Randn(shape, gotch.Float, torch.CPU)
				s.RequiresGrad(inputs[i], true)
			}
			require.NoError(t, s.Err())
			before := procmem.Peak()
			out := s.Own(problem.attend(inputs[0], inputs[1], inputs[2], functional.Options{KernelSize: kernel}))
			s.Fail(torch.Backward(s.Sum(out)))
			require.NoError(t, s.Err())
			return procmem.Peak() - before
		}
		small := append([]int64{}, problem.shape...)
		for i := 1; i < len(small)-2; i++ {
			small[i] = 32
		}
		run(small, 3)
		fmt.Printf("took %d bytes\n", run(problem.shape, problem.kernel...))
		return
	}
	for name, problem := range problems {
		t.Run(name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestMemoryIsLinear$", "-test.v")
			child.Env = append(os.Environ(), variable+"="+name, "NATTEN_CPU_POOL_MB=0", "OMP_NUM_THREADS=2")
			output, err := child.CombinedOutput()
			require.NoError(t, err, "%s", output)
			_, after, found := strings.Cut(string(output), "took ")
			require.True(t, found, "%s", output)
			var taken int64
			_, err = fmt.Sscan(after, &taken)
			require.NoError(t, err)
			tensor := int64(4)
			for _, n := range problem.shape {
				tensor *= n
			}
			t.Logf("%d MiB beside inputs of %d MiB each", taken>>20, tensor>>20)
			require.Less(t, taken, 6*tensor+32<<20)
		})
	}
}
