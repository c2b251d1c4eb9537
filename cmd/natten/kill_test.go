//go:build linux

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/state"
)

// killsVariable is how many runs TestKilled kills; scripts/kill-runs sets it.
const killsVariable = "NATTEN_KILLS"

// TestKilled kills runs with SIGKILL at random moments, every second one while it
// saves, and lets them go on: records and final state are those, bit for bit, of a
// run that was left alone.
func TestKilled(t *testing.T) {
	kills := 2
	if text := os.Getenv(killsVariable); text != "" {
		var err error
		kills, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := folder(t)
	arguments := func(output string) []string {
		return smallTraining(dir, output, "--experiment", "x", "--epochs", "6", "--drop-path", "0.2", "--model-ema", "--model-ema-decay", "0.9",
			"--mixup", "0.8", "--recovery-interval", "1", "--log-interval", "1", "--val-interval", "2", "--threads", "1", "--resume", "auto", "--quiet")
	}
	output := t.TempDir()
	_, stderr, code := natten(t, arguments(output)...)
	require.Zero(t, code, stderr)
	want := outcomeOf(t, filepath.Join(output, "x"))
	unfinished, resumed := 0, 0
	for i := range kills {
		output := t.TempDir()
		c := command(t, arguments(output)...)
		require.NoError(t, c.Start())
		run := filepath.Join(output, "x")
		after := rng.IntN(26) // of the run's 27 records
		await(t, 50*time.Microsecond, func() bool {
			text, _ := os.ReadFile(filepath.Join(run, train.MetricsFile))
			return bytes.Count(text, []byte("\n")) >= after
		})
		if i%2 == 1 && after < 24 {
			await(t, 50*time.Microsecond, func() bool {
				saving, _ := filepath.Glob(filepath.Join(run, train.CheckpointsDir, ".*"))
				return len(saving) > 0
			})
		} else {
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
		}
		require.NoError(t, c.Process.Kill())
		if c.Wait() != nil {
			unfinished++
		}
		if steps, _ := state.Folder(filepath.Join(run, train.CheckpointsDir)).Steps(); len(steps) > 0 {
			resumed++
		}
		_, stderr, code := natten(t, arguments(output)...)
		require.Zero(t, code, "seed %d, run %d, killed after %d records: %s", seed, i, after, stderr)
		got := outcomeOf(t, run)
		require.True(t, want == got, "seed %d, run %d, killed after %d records", seed, i, after)
	}
	t.Logf("seed %d: %d runs, %d killed before their end, %d had a checkpoint; all ended alike", seed, kills, unfinished, resumed)
}
