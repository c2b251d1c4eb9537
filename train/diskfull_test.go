//go:build unix

package train_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/testproc"
	"github.com/gonatten/gonatten/train"
)

// TestDiskFull saves where files may not grow beyond 100 kB, as on a full disk:
// one clear error, the file that was there before is whole, nothing half-written
// is left.
func TestDiskFull(t *testing.T) {
	if !testproc.Alone(t) {
		return
	}
	c := smallRun(t, imageFolder(t, 16, 4, 1))
	s, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	p, err := train.OpenPredictor(s.Checkpoint, train.PredictorOptions{})
	require.NoError(t, err)
	defer p.Close()
	before, err := os.ReadFile(s.Checkpoint)
	require.NoError(t, err)
	require.Greater(t, len(before), 200_000)
	names, err := os.ReadDir(s.Folder)
	require.NoError(t, err)

	signal.Ignore(syscall.SIGXFSZ) // so that the write fails instead
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	small := limit
	small.Cur = 100_000
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small))
	card := p.Card
	card.Step++
	err = train.SaveWeights(s.Checkpoint, p.Model, card)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	require.ErrorContains(t, err, "best.safetensors")

	after, err := os.ReadFile(s.Checkpoint)
	require.NoError(t, err)
	require.Equal(t, before, after)
	now, err := os.ReadDir(s.Folder)
	require.NoError(t, err)
	require.Equal(t, len(names), len(now))
	require.NoError(t, train.SaveWeights(s.Checkpoint, p.Model, card), "and with room again")
}
