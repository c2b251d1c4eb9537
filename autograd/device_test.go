package autograd_test

import (
	"os"

	"github.com/gonatten/gonatten/internal/torch"
)

// device is where the operators under test run: the CPU, or the current CUDA
// device where NATTEN_TEST_DEVICE is cuda (scripts/gpu-check).
var device = map[string]torch.Device{"": torch.CPU, "cpu": torch.CPU, "cuda": torch.CUDA}[os.Getenv("NATTEN_TEST_DEVICE")]
