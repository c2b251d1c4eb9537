package train_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/train"
)

// tensorsOf are a weights file's tensors.
func tensorsOf(t *testing.T, path string) *checkpoint.StateDict {
	t.Helper()
	c, err := checkpoint.Open(path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.Tensors
}

// A run that starts from another's weights and freezes what is not the head:
// the frozen stays the checkpoint's; a head for other classes starts anew even
// where they are as many.
func TestInitialWeightsAndFreezing(t *testing.T) {
	dir := imageFolder(t, 16, 4, 2)
	first := smallRun(t, dir)
	require.NoError(t, first.Read([]byte("max_steps: 1\nval_split: ''")))
	began, err := train.Run(context.Background(), first, train.RunOptions{})
	require.NoError(t, err)
	before := tensorsOf(t, began.Checkpoint)

	tune := func(dir string) *checkpoint.StateDict {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte("max_steps: 2\nval_split: ''\nlr: 1e-7\nwarmup_lr: 1e-7\nmin_lr: 0\nfreeze: 'patch_embed, levels, norm'")))
		c.InitialCheckpoint = began.Checkpoint
		s, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		return tensorsOf(t, s.Checkpoint)
	}
	far := func(after *checkpoint.StateDict) float64 {
		a, _ := before.Get("head.weight")
		b, _ := after.Get("head.weight")
		x, err := a.Float64s()
		require.NoError(t, err)
		y, err := b.Float64s()
		require.NoError(t, err)
		worst := 0.0
		for i := range x {
			worst = max(worst, x[i]-y[i], y[i]-x[i])
		}
		return worst
	}
	same := tune(dir)
	for name, tensor := range before.All() {
		other, ok := same.Get(name)
		require.True(t, ok)
		require.Equal(t, !strings.HasPrefix(name, "head."), tensor.Equal(other), name)
	}
	require.Less(t, far(same), 1e-5, "the same classes: the head goes on")

	for _, split := range []string{"train", "val"} {
		require.NoError(t, os.Rename(filepath.Join(dir, split, "blue"), filepath.Join(dir, split, "azure")))
	}
	require.Greater(t, far(tune(dir)), 1e-3, "other classes: a new head")

	c := smallRun(t, dir)
	require.NoError(t, c.Read([]byte("freeze: tail")))
	_, err = train.Run(context.Background(), c, train.RunOptions{})
	require.ErrorContains(t, err, `pattern "tail" fits no parameter`)
}
