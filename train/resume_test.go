package train_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/record"
	"github.com/gonatten/gonatten/train/state"
)

// everything is a configuration in which all that has state takes part.
const everything = "epochs: 3\nlog_interval: 3\ndrop_path: 0.2\nmixup: 0.8\ncutmix: 1\nmodel_ema: true\nmodel_ema_decay: 0.9\n" +
	"clip_grad: 1\nexperiment: one\nrecovery_interval: 2\n"

var errKilled = errors.New("killed")

// killAfter ends a run abruptly: nothing is saved any more.
func killAfter(step int) train.RunOptions {
	return train.RunOptions{Prepare: func(l *train.Loop) error {
		l.On(train.StepEnd, func(context.Context, *train.Loop) error {
			if l.State.Step == step {
				return errKilled
			}
			return nil
		})
		return nil
	}}
}

// course is what a run's records say, but for the times.
func course(t testing.TB, folder string) []record.Row {
	t.Helper()
	rows, err := record.ReadLog(filepath.Join(folder, train.MetricsFile))
	require.NoError(t, err)
	for i := range rows {
		rows[i].Time, rows[i].ImagesPerSecond, rows[i].Seconds, rows[i].ResidentBytes = "", 0, 0, 0
		rows[i].FLOPsPerSecond, rows[i].Utilisation = 0, 0
	}
	return rows
}

// TestResumedDraws: after going on, a run draws the random numbers of the device
// (dropout, dropped paths) that it would have drawn without a stop, step by step.
func TestResumedDraws(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4) // 4 steps an epoch
	record := func(states map[int]string, kill int) train.RunOptions {
		return train.RunOptions{Prepare: func(l *train.Loop) error {
			l.On(train.StepEnd, func(context.Context, *train.Loop) error {
				if l.State.Step == kill {
					return errKilled
				}
				generator, err := torch.GeneratorStateOf(device)
				if err != nil {
					return err
				}
				defer generator.MustDrop()
				state, err := torch.Bytes(generator)
				states[l.State.Step] = string(state)
				return err
			})
			return nil
		}}
	}
	configured := func() *config.Config {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte(everything+"drop: 0.1\nresume: auto\ndevice: "+device.Kind())))
		return c
	}
	want, got := map[int]string{}, map[int]string{}
	_, err := train.Run(context.Background(), configured(), record(want, -1))
	require.NoError(t, err)
	require.Len(t, want, 12)
	require.NotEqual(t, want[1], want[2], "each step draws")
	c := configured()
	_, err = train.Run(context.Background(), c, record(got, 7))
	require.ErrorIs(t, err, errKilled)
	require.NoError(t, torch.ManualSeed(77))
	_, err = train.Run(context.Background(), c, record(got, -1))
	require.NoError(t, err)
	require.True(t, maps.Equal(want, got))
}

// TestResume: wherever a run is killed, going on gives the records and weights,
// bit for bit, of a run that never was.
func TestResume(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4) // 4 steps an epoch
	configured := func(resume string) *config.Config {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte(everything)))
		c.Resume = resume
		return c
	}
	whole := configured("")
	want, err := train.Run(context.Background(), whole, train.RunOptions{})
	require.NoError(t, err)
	weights := func(folder string) []byte {
		s, err := state.Folder(filepath.Join(folder, train.CheckpointsDir)).Latest(nil)
		require.NoError(t, err)
		defer s.Close()
		var all []byte
		for _, tensor := range s.Tensors.All() {
			all = append(all, tensor.Bytes()...)
		}
		return all
	}
	for _, kill := range []int{1, 4, 7} {
		c := configured("")
		_, err := train.Run(context.Background(), c, killAfter(kill))
		require.ErrorIs(t, err, errKilled)
		c.Resume = train.ResumeAuto
		got, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		require.Equal(t, filepath.Join(c.Output, "one"), got.Folder)
		require.Equal(t, []any{want.Steps, want.Epochs, want.TestAccuracy, want.BestEpoch},
			[]any{got.Steps, got.Epochs, got.TestAccuracy, got.BestEpoch})
		require.Equal(t, course(t, want.Folder), course(t, got.Folder), "killed after step %d", kill)
		require.True(t, bytes.Equal(weights(want.Folder), weights(got.Folder)), "killed after step %d", kill)
	}
	t.Run("float16, recomputed", func(t *testing.T) {
		more := []byte("amp: true\namp_dtype: float16\ngrad_checkpointing: true\nepochs: 2")
		whole := configured("")
		require.NoError(t, whole.Read(more))
		want, err := train.Run(context.Background(), whole, train.RunOptions{})
		require.NoError(t, err)
		c := configured("")
		require.NoError(t, c.Read(more))
		_, err = train.Run(context.Background(), c, killAfter(5))
		require.ErrorIs(t, err, errKilled)
		c.Resume = train.ResumeAuto
		got, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		require.Equal(t, course(t, want.Folder), course(t, got.Folder))
		require.True(t, bytes.Equal(weights(want.Folder), weights(got.Folder)))
		table, err := os.ReadFile(filepath.Join(got.Folder, record.CSVFile))
		require.NoError(t, err)
		require.Equal(t, len(course(t, got.Folder))+1, bytes.Count(table, []byte("\n")), "the table was cut back too")
	})
	t.Run("the folder remembers its configuration", func(t *testing.T) {
		c, err := train.ResumeConfig(filepath.Join(want.Folder, train.CheckpointsDir))
		require.NoError(t, err)
		require.Equal(t, whole, c)
	})
	t.Run("a finished run has nothing left to do", func(t *testing.T) {
		c := configured(want.Folder)
		got, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		require.Contains(t, got.StopReason, "nothing is left to train: "+want.Folder+" is at epoch 3")
		got.StopReason = ""
		require.Equal(t, want, got)
	})
	t.Run("fewer epochs than it has are an error that changes nothing", func(t *testing.T) {
		before := contents(t, want.Folder)
		for change, wrong := range map[string]string{
			"epochs: 2":               "is at epoch 3, and the end is epoch 2 (epochs 2, cooldown_epochs 0); to train on: natten train --resume " + want.Folder + " --epochs 4 or more",
			"max_steps: 5":            "nothing is left to train",
			"max_steps: 5\nepochs: 9": "is at step 12, and max_steps is 5; to train on: natten train --resume " + want.Folder + " --max-steps 13 or more",
		} {
			c := configured(want.Folder)
			require.NoError(t, c.Read([]byte(change)))
			_, err := train.Run(context.Background(), c, train.RunOptions{})
			require.ErrorContains(t, err, wrong, change)
			require.NotContains(t, err.Error(), "\n")
		}
		require.Equal(t, before, contents(t, want.Folder))
	})
	t.Run("what a finished run cannot take up is an error", func(t *testing.T) {
		c := configured(want.Folder)
		require.NoError(t, c.Read([]byte("lr: 0.125")))
		_, err := train.Run(context.Background(), c, train.RunOptions{})
		require.ErrorContains(t, err, "not taken up: lr 0.125 (was ")
	})
	t.Run("more epochs", func(t *testing.T) {
		c := configured(want.Folder)
		c.Epochs = 4
		got, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		require.Equal(t, 16, got.Steps)
	})
}

// contents are the files of a folder and of those in it.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	return files
}

// TestDamagedCheckpoint: the one before is taken, and one line says so.
func TestDamagedCheckpoint(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte(everything)))
	_, err := train.Run(context.Background(), c, killAfter(6))
	require.ErrorIs(t, err, errKilled)
	folder := state.Folder(filepath.Join(c.Output, "one", train.CheckpointsDir))
	steps, err := folder.Steps()
	require.NoError(t, err)
	require.Equal(t, []int{4, 6}, steps, "checkpoint_hist is 2")
	text, err := os.ReadFile(folder.Path(6))
	require.NoError(t, err)
	text[len(text)-5] ^= 1
	require.NoError(t, os.WriteFile(folder.Path(6), text, 0o600))

	_, err = state.Open(folder.Path(6))
	require.ErrorContains(t, err, "checksum")
	var log bytes.Buffer
	c.Resume = filepath.Join(c.Output, "one")
	s, err := train.Run(context.Background(), c, train.RunOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Equal(t, 12, s.Steps)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("damaged checkpoint passed over")))
	require.Contains(t, log.String(), "msg=resuming folder="+c.Resume+" step=4")
}

func TestResumeErrors(t *testing.T) {
	dir := imageFolder(t, 16, 12, 4)
	c := smallRun(t, dir)
	require.NoError(t, c.Read([]byte("experiment: one\nmax_steps: 2\n")))
	s, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	for change, want := range map[string]string{
		"resume: /nowhere":                     "resume: there is no /nowhere: give the folder of a run, or leave resume out to start one",
		"resume: " + s.Folder + "2":            "2: give the folder of a run (such as " + s.Folder + "), or leave",
		"resume: " + dir:                       "is not the folder of a run: it has no config.yaml",
		"resume: " + c.Output:                  "it has no config.yaml (such as " + s.Folder + ")",
		"resume: " + s.Checkpoint:              "holds weights, not the state of a run",
		"opt: sgd\nresume: " + s.Folder:        "of optimizer adamw, the run has sgd",
		"model_ema: true\nresume: " + s.Folder: "ema: ",
		"batch_size: 4\nresume: " + s.Folder:   "1 processes with batch_size 8, this run has 1 with 4",
	} {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte(change)))
		_, err := train.Run(context.Background(), c, train.RunOptions{})
		require.ErrorContains(t, err, want, change)
		require.NotContains(t, err.Error(), "\n", change)
	}
}
