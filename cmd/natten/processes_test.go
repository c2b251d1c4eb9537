//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/record"
	"github.com/gonatten/gonatten/train/state"
)

func severalProcesses(dir, output string) []string {
	return smallTraining(dir, output, "--experiment", "x", "--amp=false", "--epochs", "6", "--drop-path", "0.2", "--model-ema", "--recovery-interval", "1",
		"--log-interval", "1", "--val-interval", "3", "--zero", "--grad-accum-steps", "2", "--batch-size", "2", "--dist-timeout", "60", "--json")[1:]
}

// outcomeOf is a run's records but for the times, and its last state.
func outcomeOf(t *testing.T, run string) string {
	t.Helper()
	rows, err := record.ReadLog(filepath.Join(run, train.MetricsFile))
	require.NoError(t, err)
	for i := range rows {
		rows[i].Time, rows[i].ImagesPerSecond, rows[i].Seconds, rows[i].ResidentBytes = "", 0, 0, 0
		rows[i].FLOPsPerSecond, rows[i].Utilisation = 0, 0
	}
	text, err := json.Marshal(rows)
	require.NoError(t, err)
	s, err := state.Folder(filepath.Join(run, train.CheckpointsDir)).Latest(nil)
	require.NoError(t, err)
	defer s.Close()
	for name, tensor := range s.Tensors.All() {
		text = append(append(text, name...), tensor.Bytes()...)
	}
	return string(text)
}

// TestTorchrun runs the job file with two processes; then again, and kills one in
// the middle: the other names it, both are started again and come to the same end.
func TestTorchrun(t *testing.T) {
	dir, output := folder(t), t.TempDir()
	c := torchrunJob(t, 2, severalProcesses(dir, output)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(t, c.Run(), "%s", &stderr)
	var s train.Summary
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &s), "rank 0 alone prints: %s", &stdout)
	require.Equal(t, []int{2, 6, 12}, []int{s.Processes, s.Epochs, s.Steps})
	require.Equal(t, 2*s.Steps, s.Reductions, "2 MB in two buckets, once a step of two batches")
	want := outcomeOf(t, filepath.Join(output, "x"))

	output = t.TempDir() // and recomputing, which changes no bit
	c = torchrunJob(t, 2, append(severalProcesses(dir, output), "--grad-checkpointing")...)
	stderr.Reset()
	c.Stderr = &stderr
	require.NoError(t, c.Start())
	var victim int
	await(t, 5*time.Millisecond, func() bool {
		steps, err := state.Folder(filepath.Join(output, "x", train.CheckpointsDir)).Steps()
		if err != nil || len(steps) == 0 || steps[len(steps)-1] < 2 {
			return false
		}
		victim = childWith(c.Process.Pid, "RANK=1")
		return victim > 0
	})
	require.NoError(t, syscall.Kill(victim, syscall.SIGKILL))
	require.NoError(t, c.Wait(), "%s", &stderr)
	require.Regexp(t, fmt.Sprintf(`natten: .*dist: rank 0 of 2 stops: rank 1 \(host .*, process %d\) has died or was stopped`, victim), stderr.String())
	require.Contains(t, stderr.String(), "msg=resuming")
	require.True(t, want == outcomeOf(t, filepath.Join(output, "x")), "it comes to the same end")
}

// childWith is a descendant process that has a variable, or 0.
func childWith(parent int, variable string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/environ", &pid); err != nil || pid == parent {
			continue
		}
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(append([]byte{0}, text...), []byte("\x00"+variable+"\x00")) && descends(pid, parent) {
			return pid
		}
	}
	return 0
}

func descends(pid, from int) bool {
	for pid > 1 {
		if pid == from {
			return true
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return false
		}
		_, after, _ := strings.Cut(string(text), "\nPPid:")
		pid = 0
		if _, err := fmt.Sscan(after, &pid); err != nil {
			return false
		}
	}
	return false
}

// TestSlurm starts two processes as srun would. They have the losses and gradients
// of one process with batches of twice the size.
func TestSlurm(t *testing.T) {
	dir, output := folder(t), t.TempDir()
	port, err := openPort()
	require.NoError(t, err)
	plain := []string{"--max-steps", "2", "--drop-path", "0", "--clip-grad", "5", "--quiet"}
	var list []*exec.Cmd
	outputs := make([]bytes.Buffer, 2)
	for rank := range outputs {
		c := command(t, append([]string{"train"}, append(severalProcesses(dir, output), plain...)...)...)
		c.Env = append(c.Env, fmt.Sprint("SLURM_PROCID=", rank), "SLURM_NTASKS=2", fmt.Sprint("SLURM_LOCALID=", rank), "SLURM_STEP_ID=0",
			"SLURM_JOB_ID=77", "SLURM_STEP_NODELIST=localhost", fmt.Sprint("MASTER_PORT=", port), "OMP_NUM_THREADS=1")
		c.Stdout, c.Stderr = &outputs[rank], &outputs[rank]
		require.NoError(t, c.Start())
		list = append(list, c)
	}
	for rank, c := range list {
		require.NoError(t, c.Wait(), "%s", &outputs[rank])
	}
	require.Contains(t, outputs[0].String(), `"processes": 2`)
	require.Empty(t, outputs[1].String())
	two := filepath.Join(output, "x", train.MetricsFile)

	output = t.TempDir()
	_, stderr, code := natten(t, append([]string{"train"}, append(append(severalProcesses(dir, output), plain...), "--batch-size", "4")...)...)
	require.Zero(t, code, stderr)
	got, err := record.ReadLog(two)
	require.NoError(t, err)
	want, err := record.ReadLog(filepath.Join(output, "x", train.MetricsFile))
	require.NoError(t, err)
	require.Len(t, want, 3)
	require.Len(t, got, 3)
	for i := range want {
		require.InDelta(t, float64(want[i].Loss), float64(got[i].Loss), 1e-5)
		require.InEpsilon(t, float64(want[i].GradNorm)+1, float64(got[i].GradNorm)+1, 1e-5)
		require.Equal(t, []any{want[i].Images, want[i].Top1}, []any{got[i].Images, got[i].Top1})
	}
}

// TestJobFiles: every flag that the examples give exists.
func TestJobFiles(t *testing.T) {
	help, _, code := natten(t, "train", "--help")
	require.Zero(t, code)
	for _, name := range []string{"slurm.sbatch", "pytorchjob.yaml"} {
		text, err := os.ReadFile("../../examples/jobs/" + name)
		require.NoError(t, err)
		_, command, found := strings.Cut(strings.ReplaceAll(string(text), ", ", " "), "natten train ")
		require.True(t, found, name)
		flags := regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(command, -1)
		require.Greater(t, len(flags), 3, name)
		for _, flag := range flags {
			require.Contains(t, help, flag+" ", name)
		}
	}
}
