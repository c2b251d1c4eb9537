package torch

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUpload: what arrives is what was there at the call, whatever becomes of the
// source afterwards; on CUDA (NATTEN_TEST_DEVICE=cuda) by way of page-locked memory.
func TestUpload(t *testing.T) {
	device := map[string]Device{"": CPU, "cpu": CPU, "cuda": CUDA}[os.Getenv("NATTEN_TEST_DEVICE")]
	s := NewScope()
	defer s.Close()
	const rows, columns = 64, 1000
	source := make([]float32, rows*columns)
	for round := range 20 {
		for i := range source {
			source[i] = float32(i%251 + round)
		}
		x := Upload(s, source, device, rows, columns)
		for i := range source {
			source[i] = -1
		}
		require.NoError(t, s.Err())
		info, err := InfoOf(x)
		require.NoError(t, err)
		require.Equal(t, []int64{rows, columns}, info.Shape)
		require.True(t, info.Device.Is(device))
		got, err := Slice[float32](x)
		require.NoError(t, err)
		for i, v := range got {
			if v != float32(i%251+round) {
				require.Equal(t, float32(i%251+round), v, "round %d, element %d", round, i)
			}
		}
	}
	if device.Is(CUDA) {
		staged := pageLocked(s, source, []int64{rows, columns})
		results, err := NewOp("aten::is_pinned").Call(staged)
		require.NoError(t, err)
		require.Equal(t, true, results[0])
	}
}
