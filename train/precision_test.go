package train

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/config"
)

func TestPrecision(t *testing.T) {
	for _, c := range []struct {
		amp       bool
		dtype     string
		device    torch.Device
		supported bool

		want    gotch.DType
		reduced bool
	}{
		{false, "bfloat16", torch.CPU, true, gotch.Float, false},
		{true, "bfloat16", torch.CPU, true, gotch.BFloat16, false},
		{true, "bfloat16", torch.CPU, false, gotch.Float, true},
		{true, "float16", torch.CPU, false, gotch.Half, false},
		{true, "bfloat16", torch.CUDAIndex(0), false, gotch.BFloat16, false},
	} {
		got, reduced := precisionOn(&config.Config{AMP: c.amp, AMPDType: c.dtype}, c.device, c.supported)
		require.Equal(t, []any{c.want, c.reduced}, []any{got, reduced}, "%+v", c)
	}
}
