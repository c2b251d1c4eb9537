//go:build linux

package main

import (
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
	start := time.Now()
	_, stderr, code := natten(t, arguments(output)...)
	took := time.Since(start)
	require.Zero(t, code, stderr)
	want := outcomeOf(t, filepath.Join(output, "x"))
	unfinished, resumed := 0, 0
	for i := range kills {
		output := t.TempDir()
		c := command(t, arguments(output)...)
		require.NoError(t, c.Start())
		wait := time.Duration(rng.Float64() * float64(took))
		time.Sleep(wait)
		if i%2 == 1 {
			for deadline := time.Now().Add(took); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
				if saving, _ := filepath.Glob(filepath.Join(output, "x", train.CheckpointsDir, ".*")); len(saving) > 0 {
					break
				}
			}
		}
		require.NoError(t, c.Process.Kill())
		if c.Wait() != nil {
			unfinished++
		}
		if steps, _ := state.Folder(filepath.Join(output, "x", train.CheckpointsDir)).Steps(); len(steps) > 0 {
			resumed++
		}
		_, stderr, code := natten(t, arguments(output)...)
		require.Zero(t, code, "seed %d, run %d, killed after %v: %s", seed, i, wait, stderr)
		got := outcomeOf(t, filepath.Join(output, "x"))
		require.True(t, want == got, "seed %d, run %d, killed after %v", seed, i, wait)
	}
	t.Logf("seed %d: %d runs of %v, %d killed before their end, %d had a checkpoint; all ended alike", seed, kills, took, unfinished, resumed)
}
