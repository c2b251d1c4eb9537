package train

import (
	"runtime"

	"github.com/sugarme/gotch"
	"golang.org/x/sys/cpu"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/config"
)

// precision is the dtype of the configured mixed precision; gotch.Float where
// there is none. On an x86 processor without bfloat16 instructions libtorch
// imitates them, several times slower than float32: there a run in bfloat16
// trains in float32, and reduced tells so.
func precision(c *config.Config, device torch.Device) (dtype gotch.DType, reduced bool) {
	return precisionOn(c, device, runtime.GOARCH != "amd64" || cpu.X86.HasAVX512BF16)
}

func precisionOn(c *config.Config, device torch.Device, bfloat16 bool) (dtype gotch.DType, reduced bool) {
	switch {
	case !c.AMP:
		return gotch.Float, false
	case c.AMPDType == "float16":
		return gotch.Half, false
	case device.Is(torch.CPU) && !bfloat16:
		return gotch.Float, true
	}
	return gotch.BFloat16, false
}
