package autograd

import (
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
)

// UseDeterministicAlgorithms makes every operator of the process give bits that
// do not depend on the number of threads, or an error where libtorch has no such
// kernel. Neighborhood attention then plans its backward pass for any machine
// alike, which may be slower; without it two runs with the same number of
// threads still give the same bits on the CPU.
func UseDeterministicAlgorithms(enabled bool) error {
	if err := torch.SetDeterministic(enabled); err != nil {
		return fmt.Errorf("autograd: UseDeterministicAlgorithms: %w", err)
	}
	return nil
}

// DeterministicAlgorithms says whether [UseDeterministicAlgorithms] is in force.
func DeterministicAlgorithms() bool { return torch.Deterministic() }
