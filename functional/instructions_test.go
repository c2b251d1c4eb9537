package functional_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
)

// The matrix in every instruction set that this build and machine have. A
// process chooses its set once, at the start, so each runs in a process of its own.
func TestMatrixInEveryInstructionSet(t *testing.T) {
	if device != torch.CPU {
		t.Skip("instruction sets are the CPU's")
	}
	used := regexp.MustCompile(`\d+ configurations in (\w+)`)
	run := func(t *testing.T, set, configurations string) string {
		child := exec.Command(os.Args[0], "-test.run=^TestMatrixAgainstDefinition$", "-test.v", "-configurations="+configurations)
		child.Env = append(os.Environ(), "NATTEN_CPU_ISA="+set)
		output, err := child.CombinedOutput()
		require.NoError(t, err, "%s", output)
		found := used.FindSubmatch(output)
		require.NotNil(t, found, "%s", output)
		return string(found[1])
	}
	ran := map[string]bool{}
	for _, set := range []string{"scalar", "neon", "avx2", "avx512", "avx512_bf16", "avx512_amx"} {
		t.Run(set, func(t *testing.T) {
			if other := run(t, set, "0"); other != set {
				t.Skipf("not on this machine or not in this build, which would use %s", other)
			}
			require.Equal(t, set, run(t, set, "800"))
			ran[set] = true
		})
	}
	require.True(t, ran["scalar"], "the scalar kernels are in every build")
	require.True(t, ran[torch.CPUInstructionSet()], "%s, which this process uses, did not run", torch.CPUInstructionSet())
}
