package train

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
	"github.com/gonatten/gonatten/train/state"
)

// TestLocalDevice: each process of a machine has the device of its number there.
func TestLocalDevice(t *testing.T) {
	device, err := localDevice(dist.Environment{LocalRank: 1, LocalVariable: "LOCAL_RANK"}, 2)
	require.NoError(t, err)
	require.Equal(t, torch.CUDAIndex(1), device)
	_, err = localDevice(dist.Environment{LocalRank: 2, LocalVariable: "SLURM_LOCALID"}, 2)
	require.ErrorContains(t, err, "SLURM_LOCALID is 2, and this machine has 2 CUDA devices, one for each process")
}

// TestRandomNumbersOfDevices: a checkpoint has the generators of the devices that
// the run uses, and one that was made elsewhere is no obstacle.
func TestRandomNumbersOfDevices(t *testing.T) {
	var log bytes.Buffer
	on := func(d torch.Device) randomPart {
		return randomPart{&run{device: d, options: RunOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}}}
	}
	snapshot := state.New(1)
	section := snapshot.Section(sectionRandom)
	require.NoError(t, on(torch.CPU).SaveState(section))
	require.True(t, section.Has("torch.0"))
	require.False(t, section.Has("cuda.0"))
	require.NoError(t, on(torch.CUDAIndex(0)).LoadState(section), "the CPU's generator alone")
	require.Contains(t, log.String(), "device=cuda:0")
	require.NoError(t, section.PutBytes("cuda.0", make([]byte, 16)))
	require.NoError(t, on(torch.CPU).LoadState(section), "what CUDA has left is passed over")
	if torch.CUDA.Count() > 0 {
		require.NoError(t, on(torch.CUDAIndex(0)).LoadState(section))
	}
	require.NoError(t, snapshot.Close())
}
