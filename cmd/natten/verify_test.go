package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/verify"
)

const goldens = "../../verify/testdata/golden"

// A line a case with its errors, and the flags choose what runs.
func TestVerifyPrintsEachCase(t *testing.T) {
	stdout, stderr, code := natten(t, "verify", goldens, "--dtype", "float32", "--device", "cpu")
	require.Zero(t, code, stderr)
	cases := strings.Count(stdout, "max_abs")
	require.Greater(t, cases, 39+18)
	require.Contains(t, stdout, "ops/na1d_00_7_k7_d1_rpb cpu float32")
	require.NotContains(t, stdout, "float64")
	require.Contains(t, stdout, " cases, 0 failed")
}

// A damaged file fails the command, which still prints the whole report.
func TestVerifyFailsOnDamage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(goldens)))
	file := filepath.Join(dir, "ops", "na2d_13_7x7_k7x7_d1x1_rpb.safetensors")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	data[len(data)-2] ^= 1
	require.NoError(t, os.WriteFile(file, data, 0o600))

	stdout, stderr, code := natten(t, "verify", dir, "--json", "--dtype", "float32")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "na2d_13_7x7_k7x7_d1x1_rpb")
	var report verify.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &report), stdout)
	require.Positive(t, report.Failed)
	require.Greater(t, len(report.Cases), 39+18)
}

func TestVerifyFlags(t *testing.T) {
	for flag, want := range map[string]string{
		"--dtype=float8":  `--dtype is "float8", want float64, float32, bfloat16 or float16`,
		"--device=mps":    `--device is "mps", want cpu, cuda or cuda:INDEX`,
		"--device=cuda:x": `--device is "cuda:x", want cpu, cuda or cuda:INDEX`,
	} {
		_, stderr, code := natten(t, "verify", goldens, flag)
		require.Equal(t, 1, code)
		require.Equal(t, "natten: "+want+"\n", stderr)
	}
}
