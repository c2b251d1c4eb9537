package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary is the command where this is set, so that exit codes and
// streams are the real ones.
const actAsCommand = "NATTEN_TEST_COMMAND"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "torchrun" && os.Getenv(actAsTorchrun) != "" {
		os.Exit(torchrun(os.Args[1:]))
	}
	if os.Getenv(actAsCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), actAsCommand+"=1")
	return c
}

// natten runs the command and returns its streams and exit code.
func natten(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := command(t, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// await polls until a condition holds; minutes are far more than any takes.
func await(t testing.TB, every time.Duration, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); time.Sleep(every) {
		require.True(t, time.Now().Before(deadline), "the run does not get on")
	}
}

// folder writes 16x16 PNG pictures of two classes.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, split := range []string{"train", "val"} {
		for class, shade := range map[string]uint8{"dark": 10, "light": 200} {
			for i := range 8 {
				m := image.NewGray(image.Rect(0, 0, 16, 16))
				for k := range m.Pix {
					m.Pix[k] = color.Gray{shade + uint8((k*7+i*13)%50)}.Y
				}
				path := filepath.Join(dir, split, class, fmt.Sprint(i, ".png"))
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				f, err := os.Create(path)
				require.NoError(t, err)
				require.NoError(t, png.Encode(f, m))
				require.NoError(t, f.Close())
			}
		}
	}
	return dir
}

func smallTraining(dir, output string, more ...string) []string {
	return append([]string{"train", dir, "--config", "fashion_mnist", "--dataset", "", "--img-size", "16", "--batch_size", "4",
		"--epochs", "2", "--warmup-epochs", "0", "--output", output}, more...)
}

func TestTrainPredictEval(t *testing.T) {
	dir, output := folder(t), t.TempDir()
	stdout, stderr, code := natten(t, smallTraining(dir, output, "--json")...)
	require.Zero(t, code, stderr)
	var summary struct {
		Model, Checkpoint, Samples string
		TestAccuracy               *float64 `json:"test_accuracy"`
		ImagesPerSecond            *float64 `json:"images_per_second"`
		Seconds                    *float64
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &summary), stdout)
	require.Equal(t, "nat_nano_28", summary.Model)
	require.NotNil(t, summary.TestAccuracy)
	require.Positive(t, *summary.ImagesPerSecond)
	require.Positive(t, *summary.Seconds)
	require.Contains(t, stderr, "epoch 2/2")
	require.NotContains(t, stderr, "\x1b", "plain lines where there is no terminal")

	stdout, stderr, code = natten(t, "predict", "--checkpoint", summary.Checkpoint, "--json", "--quiet", summary.Samples)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	var predicted struct {
		Pictures []struct {
			Picture string
			Guesses []struct {
				Name        string
				Probability float64
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &predicted), stdout)
	require.Len(t, predicted.Pictures, 10)
	require.Len(t, predicted.Pictures[0].Guesses, 2)

	stdout, _, code = natten(t, "predict", "--checkpoint", summary.Checkpoint, filepath.Join(dir, "val", "dark", "0.png"))
	require.Zero(t, code)
	require.Contains(t, stdout, "%  dark")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.png"), []byte("no picture"), 0o600))
	stdout, stderr, code = natten(t, "predict", "--checkpoint", summary.Checkpoint, filepath.Join(dir, "broken.png"), filepath.Join(dir, "val", "dark"))
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "1 of 9 pictures could not be read")
	require.Contains(t, stdout, "7.png", "the others are predicted")

	stdout, stderr, code = natten(t, "eval", "--checkpoint", summary.Checkpoint, "--json")
	require.Zero(t, code, stderr)
	var result map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &result))
	require.Equal(t, *summary.TestAccuracy, result["test_accuracy"])
	require.EqualValues(t, 16, result["images"])
	stdout, _, code = natten(t, "eval", "--checkpoint", summary.Checkpoint, dir, "--split", "train")
	require.Zero(t, code)
	require.Contains(t, stdout, "nat_nano_28 on 16 images: top-1")
}

func TestSummaryNamesTheNextCommand(t *testing.T) {
	stdout, stderr, code := natten(t, smallTraining(folder(t), t.TempDir(), "--epochs", "1", "--quiet")...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Contains(t, stdout, "Test accuracy")
	_, suggestion, found := strings.Cut(stdout, " predict ")
	require.True(t, found, stdout)
	words := strings.Fields("predict " + suggestion)
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	_, stderr, code = natten(t, words...)
	require.Zero(t, code, stderr)
}

func TestInterruptSaves(t *testing.T) {
	output := t.TempDir()
	c := command(t, smallTraining(folder(t), output, "--epochs", "100000", "--val-interval", "100000", "--experiment", "x", "--log-interval", "1")...)
	var stdout bytes.Buffer
	c.Stdout = &stdout
	stderr, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	go io.Copy(io.Discard, stderr)
	metrics := filepath.Join(output, "x", "metrics.jsonl")
	await(t, 10*time.Millisecond, func() bool {
		text, err := os.ReadFile(metrics)
		return err == nil && bytes.Count(text, []byte("\n")) > 3
	})
	require.NoError(t, c.Process.Signal(os.Interrupt))
	err = c.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 128+int(syscall.SIGINT), exit.ExitCode())
	require.Contains(t, stdout.String(), "what was learnt is saved")
	_, err = os.Stat(filepath.Join(output, "x", "last.safetensors"))
	require.NoError(t, err)
}

func TestErrorsAreOneLine(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"train on what?", []string{"train", "--model", "nat_mini"}},
		{"which model?", []string{"train", dir}},
		{"there is no variant", []string{"train", dir, "--model", "nat_huge"}},
		{"unknown flag: --epohcs", []string{"train", "--epohcs", "3"}},
		{"lr: \"fast\" is not a number", []string{"train", "--lr", "fast"}},
		{"no file absent.yml", []string{"train", "--config", "absent.yml"}},
		{"required flag(s) \"checkpoint\"", []string{"predict", dir}},
		{"absent.safetensors", []string{"predict", "--checkpoint", "absent.safetensors", dir}},
		{"picture absent.png: no such file", []string{"predict", "--checkpoint", "x", "absent.png"}},
		{"--top is 0", []string{"predict", "--checkpoint", "x", "--top", "0", dir}},
		{"--threads is -1", []string{"info", "--threads", "-1"}},
		{"unknown command \"trian\"", []string{"trian"}},
		{"accepts 1 arg", []string{"verify"}},
		{"absent", []string{"verify", "absent"}},
		{"no exports beside this program", []string{"env"}},
	} {
		stdout, stderr, code := natten(t, c.args...)
		require.Equal(t, 1, code, c.args)
		require.Empty(t, stdout, c.args)
		require.Contains(t, stderr, c.want, c.args)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.True(t, strings.HasPrefix(stderr, "natten: "), stderr)
	}
}

func TestInfo(t *testing.T) {
	stdout, stderr, code := natten(t, "info", "--json")
	require.Zero(t, code, stderr)
	var info infoResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &info))
	require.NotEmpty(t, info.Libtorch)
	require.Positive(t, info.Threads)
	require.NotEqual(t, info.CUDA, info.WhyNoCUDA != "", "a reason where there is no CUDA")
	stdout, _, code = natten(t, "info", "--threads", "1")
	require.Zero(t, code)
	require.Contains(t, stdout, "threads          1 of")
	stdout, _, code = natten(t, "info", "--models")
	require.Zero(t, code)
	require.Contains(t, stdout, "\nnat_mini ")
	stdout, _, code = natten(t, "info", "--config")
	require.Zero(t, code)
	require.Contains(t, stdout, "\n  batch_size ")
}

func TestVerify(t *testing.T) {
	const goldens = "../../verify/testdata/golden"
	entries, err := os.ReadDir(goldens)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	stdout, stderr, code := natten(t, "verify", goldens, "--json")
	var report struct {
		Cases  []struct{ Name string }
		Failed int
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report), stderr)
	require.NotEmpty(t, report.Cases)
	require.Equal(t, report.Failed > 0, code == 1)
}

func TestEnvironmentBesideTheProgram(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := os.ReadFile(self)
	require.NoError(t, err)
	for _, place := range []string{"build/env.sh", "share/gonatten/env.sh"} {
		dir := t.TempDir()
		program := filepath.Join(dir, "bin", "natten")
		exports := filepath.Join(dir, place)
		require.NoError(t, os.MkdirAll(filepath.Dir(program), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Dir(exports), 0o755))
		require.NoError(t, os.WriteFile(program, text, 0o755))
		require.NoError(t, os.WriteFile(exports, []byte("export A=1\n"), 0o600))
		c := exec.Command(program, "env")
		c.Env = append(os.Environ(), actAsCommand+"=1")
		out, err := c.Output()
		require.NoError(t, err)
		require.Equal(t, "export A=1\n", string(out))
	}
}
