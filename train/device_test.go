package train_test

import (
	"os"

	"github.com/gonatten/gonatten/internal/torch"
)

// device is where the tests of loops, recomputation, scaling and resuming train:
// the CPU, or a CUDA device where NATTEN_TEST_DEVICE is cuda (scripts/gpu-check).
var device = map[string]torch.Device{"": torch.CPU, "cpu": torch.CPU, "cuda": torch.CUDAIndex(0)}[os.Getenv("NATTEN_TEST_DEVICE")]
