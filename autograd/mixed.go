package autograd

import (
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

// Autocast runs f in mixed precision on that device: matrix products,
// convolutions and attention in dtype (gotch.BFloat16 or gotch.Half), sums and
// norms in float32, as PyTorch's autocast. The forward pass and the loss belong
// inside; the backward pass may be outside.
func Autocast(device gotch.Device, dtype gotch.DType, f func() error) error {
	return torch.Autocast(torch.DeviceOf(device), dtype, f)
}
