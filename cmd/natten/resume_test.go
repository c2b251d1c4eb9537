package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTerminationSavesAndResumes: SIGTERM, as schedulers send it, ends a run with
// 143 and everything to go on from.
func TestTerminationSavesAndResumes(t *testing.T) {
	output := t.TempDir()
	c := command(t, smallTraining(folder(t), output, "--epochs", "100000", "--val-interval", "100000", "--experiment", "x", "--log-interval", "1")...)
	stderr, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	go io.Copy(io.Discard, stderr)
	run := filepath.Join(output, "x")
	await(t, 10*time.Millisecond, func() bool {
		text, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
		return err == nil && bytes.Count(text, []byte("\n")) > 3
	})
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, c.Wait(), &exit)
	require.Equal(t, 128+int(syscall.SIGTERM), exit.ExitCode())

	text, err := os.ReadFile(filepath.Join(run, "summary.json"))
	require.NoError(t, err)
	var before struct{ Steps int }
	require.NoError(t, json.Unmarshal(text, &before))
	stdout, errors, code := natten(t, "train", "--resume", run, "--max-steps", fmt.Sprint(before.Steps+3))
	require.Zero(t, code, errors)
	require.Contains(t, errors, "msg=resuming")
	require.Contains(t, stdout, "Saved")
	_, errors, code = natten(t, "train", "--resume", output)
	require.Equal(t, 1, code)
	require.Contains(t, errors, "is not the folder of a run: it has no config.yaml")
}
