//go:build linux

package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/testproc"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/state"
)

// spoiled is a loss that is no number in the steps for which bad says so.
func spoiled(l *train.Loop, bad func(step int) bool) {
	loss := l.Loss
	l.Loss = func(s *torch.Scope, logits, targets *ts.Tensor) *ts.Tensor {
		value := loss(s, logits, targets)
		if bad(l.State.Step) {
			return s.MulScalar(value, math.NaN())
		}
		return value
	}
}

// atStep calls f after a step, with the run's folder.
func atStep(step int, folder string, f func(folder string)) train.RunOptions {
	return train.RunOptions{Prepare: func(l *train.Loop) error {
		l.On(train.StepEnd, func(context.Context, *train.Loop) error {
			if l.State.Step == step {
				f(folder)
			}
			return nil
		})
		return nil
	}}
}

func TestNaNIsSkipped(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	s, err := train.Run(context.Background(), c, train.RunOptions{Prepare: func(l *train.Loop) error {
		spoiled(l, func(step int) bool { return step == 1 || step == 4 || step == 5 })
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, []int{8, 3}, []int{s.Steps, s.Skipped})
	rows := course(t, s.Folder)
	require.True(t, math.IsNaN(float64(rows[0].Loss)), "the record tells")
	require.False(t, math.IsNaN(float64(rows[len(rows)-1].Loss)), "the weights are unharmed")
}

// TestNaNEndsTheRun: after max_skipped_steps in a row the run ends, what the model
// was given is kept, and the last checkpoint is from before.
func TestNaNEndsTheRun(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("experiment: one\nmax_skipped_steps: 2\nrecovery_interval: 1\nmixup: 0.8")))
	_, err := train.Run(context.Background(), c, train.RunOptions{Prepare: func(l *train.Loop) error {
		spoiled(l, func(step int) bool { return step >= 3 })
		return nil
	}})
	require.ErrorContains(t, err, "train: epoch 1, batch 1: the loss is NaN, for the 3rd time in a row, and at most 2 such steps are skipped")
	folder := filepath.Join(c.Output, "one")
	inputs, err := checkpoint.OpenSafetensors(filepath.Join(folder, "nonfinite-5.safetensors"))
	require.NoError(t, err)
	defer inputs.Close()
	images, ok := inputs.Tensors.Get("images")
	require.True(t, ok)
	require.Equal(t, []int64{8, 1, 16, 16}, images.Shape())
	require.Equal(t, map[string]string{"epoch": "1", "batch": "1"}, inputs.Metadata)
	steps, err := state.Folder(filepath.Join(folder, train.CheckpointsDir)).Steps()
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, steps)
}

func TestFolderVanishes(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("experiment: one\nrecovery_interval: 2")))
	folder := filepath.Join(c.Output, "one")
	_, err := train.Run(context.Background(), c, atStep(1, folder, func(folder string) { _ = os.RemoveAll(folder) }))
	require.ErrorContains(t, err, folder)
	require.ErrorContains(t, err, "no such file or directory")
	require.NotContains(t, err.Error(), "\n")
}

// TestEvaluationFails: what was trained until then is kept, and going on evaluates
// it first.
func TestEvaluationFails(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4)
	c := smallRun(t, dir)
	require.NoError(t, c.Read([]byte("experiment: one\nepochs: 1")))
	good := filepath.Join(dir, "val", "blue", "0.png")
	picture, err := os.ReadFile(good)
	require.NoError(t, err)
	for i := range 4 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "val", "blue", fmt.Sprint(i, ".png")), picture[:50], 0o600))
	}
	_, err = train.Run(context.Background(), c, train.RunOptions{})
	require.ErrorContains(t, err, "unreadable samples, at most 1 are put up with")
	require.ErrorContains(t, err, "max_bad_samples")
	for i := range 4 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "val", "blue", fmt.Sprint(i, ".png")), picture, 0o600))
	}
	c.Resume = filepath.Join(c.Output, "one")
	s, err := train.Run(context.Background(), c, train.RunOptions{Prepare: func(l *train.Loop) error {
		l.On(train.StepEnd, func(context.Context, *train.Loop) error { return errors.New("nothing is trained again") })
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, []int{1, 4, 1}, []int{s.Epochs, s.Steps, s.BestEpoch})
	require.FileExists(t, filepath.Join(s.Folder, train.BestFile))
}

// TestFolderBecomesReadOnly takes the right to write from the thread, which works
// for root, too.
func TestFolderBecomesReadOnly(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("experiment: one\nrecovery_interval: 2")))
	folder := filepath.Join(c.Output, "one")
	_, err := train.Run(context.Background(), c, atStep(3, folder, func(folder string) {
		for _, dir := range []string{folder, filepath.Join(folder, train.CheckpointsDir)} {
			require.NoError(t, os.Chmod(dir, 0o555))
		}
		if os.Getuid() == 0 {
			require.NoError(t, syscall.Setfsuid(65534))
		}
	}))
	if os.Getuid() == 0 {
		require.NoError(t, syscall.Setfsuid(0))
	}
	require.ErrorContains(t, err, "permission denied")
	require.NotContains(t, err.Error(), "\n")
	require.NoError(t, os.Chmod(folder, 0o755))
	require.NoError(t, os.Chmod(filepath.Join(folder, train.CheckpointsDir), 0o755))
	c.Resume = folder
	s, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err, "with the right to write it goes on")
	require.Equal(t, 8, s.Steps)
}

func TestFolderIsReadOnly(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	c.Output = "/proc/runs" // where nobody makes folders
	_, err := train.Run(context.Background(), c, train.RunOptions{})
	require.ErrorContains(t, err, "train: run folder: mkdir /proc/runs")
}

// TestDiskFullInARun: the run ends with one error, the checkpoint before is whole,
// and with room again it goes on.
func TestDiskFullInARun(t *testing.T) {
	if !testproc.Alone(t) {
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)) }()
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("experiment: one\nrecovery_interval: 1")))
	_, err := train.Run(context.Background(), c, atStep(2, "", func(string) {
		small := limit
		small.Cur = 100_000
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small))
	}))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	require.ErrorContains(t, err, "checkpoint-0000000003.safetensors")
	require.NotContains(t, err.Error(), "\n")
	c.Resume = filepath.Join(c.Output, "one")
	s, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	require.Equal(t, 8, s.Steps)
	left, err := filepath.Glob(filepath.Join(c.Resume, train.CheckpointsDir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestClockJumps: the order of checkpoints does not come from the clock.
func TestClockJumps(t *testing.T) {
	dir := state.Folder(filepath.Join(t.TempDir(), "checkpoints"))
	for _, step := range []int{9, 10, 11} {
		require.NoError(t, dir.Save(state.New(step), 3))
		past := time.Now().AddDate(-step, 0, 0)
		require.NoError(t, os.Chtimes(dir.Path(step), past, past))
	}
	s, err := dir.Latest(nil)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, 11, s.Step)
}

// TestPictureCannotBeDecoded: it is replaced and named; too many end the run.
func TestPictureCannotBeDecoded(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4)
	broken := filepath.Join(dir, "train", "green", "3.png")
	require.NoError(t, os.WriteFile(broken, []byte("no picture"), 0o600))
	c := smallRun(t, dir)
	require.NoError(t, c.Read([]byte("max_steps: 4")))
	var log bytes.Buffer
	s, err := train.Run(context.Background(), c, train.RunOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Equal(t, 4, s.Steps)
	require.Equal(t, 1, strings.Count(log.String(), "unreadable image skipped"))
	require.Contains(t, log.String(), broken)
	require.NoError(t, c.Read([]byte("max_bad_samples: -1")))
	_, err = train.Run(context.Background(), c, train.RunOptions{})
	require.ErrorContains(t, err, broken)
}
