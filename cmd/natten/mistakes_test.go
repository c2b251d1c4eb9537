package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOwnPicturesWithAPreset: a folder of one's own pictures replaces the dataset
// that a preset names.
func TestOwnPicturesWithAPreset(t *testing.T) {
	dir, output := folder(t), t.TempDir()
	args := []string{"train", dir, "--config", "fashion_mnist", "--img-size", "16", "--batch_size", "4", "--epochs", "1",
		"--warmup-epochs", "0", "--output", output, "--experiment", "own"}
	_, stderr, code := natten(t, args...)
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, `msg="training on pictures of your own in place of fashion-mnist" folder=`+dir)
	config, err := os.ReadFile(filepath.Join(output, "own", "config.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(config), "\ndata_dir: "+dir)
	require.Contains(t, string(config), "\ndataset: \"\"")

	_, stderr, code = natten(t, append(args, "--dataset", "fashion-mnist", "--experiment", "named")...)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, dir+" holds pictures of its own: to use them, name no dataset")
	_, stderr, code = natten(t, "train", t.TempDir(), "--config", "fashion_mnist")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "no file of the set")
}

// TestMistakes walks through what goes wrong with a run at hand: every time one
// line, exit code 1, and no file that is not as it was before.
func TestMistakes(t *testing.T) {
	dir, output := folder(t), t.TempDir()
	_, stderr, code := natten(t, smallTraining(dir, output, "--experiment", "run", "--quiet")...)
	require.Zero(t, code, stderr)
	run := filepath.Join(output, "run")
	at := func(name string) string { return filepath.Join(run, name) }
	best, picture := at("best.safetensors"), filepath.Join(dir, "val", "dark", "0.png")
	states, err := filepath.Glob(at("checkpoints/*"))
	require.NoError(t, err)
	require.NotEmpty(t, states)
	whole, err := os.ReadFile(best)
	require.NoError(t, err)
	cut := filepath.Join(output, "cut.safetensors")
	require.NoError(t, os.WriteFile(cut, whole[:100_000], 0o600))
	flat := filepath.Join(dir, "train")

	before := sumsBelow(t, output)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"there is no " + run + "2: give the folder of a run (such as " + run + ")", []string{"train", "--resume", run + "2"}},
		{"is at epoch 2, and the end is epoch 1", []string{"train", "--resume", run, "--epochs", "1"}},
		{"--epochs 3 or more", []string{"train", "--resume", run, "--epochs", "1"}},
		{"batch_size 4, this run has 1 with 2", []string{"train", "--resume", run, "--epochs", "3", "-b", "2"}},
		{"train: resume: ", []string{"train", "--resume", run, "--epochs", "3", "--model", "nat_mini"}},
		{"experiment is ../x, want a folder's name", smallTraining(dir, output, "--experiment", "../x")},
		{"16 samples do not fill one batch of 17", smallTraining(dir, output, "--batch-size", "17")},
		{"a batch of 4 images of 60000x60000 is more than 2^31 values", smallTraining(dir, output, "--img-size", "60000")},
		{"workers is 1000000, want 0 to 1024", smallTraining(dir, output, "--workers", "1000000")},
		{`--threads is "many", want a whole number`, []string{"info", "--threads", "many"}},
		{`unknown command "trian"`, []string{"help", "trian"}},
		{"give the run's folder to go on", []string{"train", "--resume", best}},
		{"did you mean --epochs?", []string{"train", "--epohcs", "3"}},
		{"accepts 1 arg(s), received 0: natten report RUN", []string{"report"}},

		{"did you mean " + best, []string{"eval", "--checkpoint", run}},
		{"is the state of a training run", []string{"eval", "--checkpoint", states[0]}},
		{"truncated?", []string{"eval", "--checkpoint", cut}},
		{"--batch-size is -1", []string{"eval", "--checkpoint", best, "-b", "-1"}},
		{"workers is -1", []string{"eval", "--checkpoint", best, "-j", "-1"}},
		{`device is "tpu", want cpu or cuda`, []string{"eval", "--checkpoint", best, "--device", "tpu"}},
		{"has no split val", []string{"eval", "--checkpoint", best, flat}},
		{"--split train", []string{"eval", "--checkpoint", best, flat}},
		{"did you mean fashion-mnist?", []string{"eval", "--checkpoint", best, "--dataset", "fashion_mnist"}},
		{"100000 threads, want 1 to 1024", []string{"eval", "--checkpoint", best, "--threads", "100000"}},

		{"says that it is a nat_nano_28, not a dinat_mini: name no model", []string{"predict", "--checkpoint", best, "--model", "dinat_mini", picture}},
		{"says that it is a nat_nano_28", []string{"convert", best, at("x.pth"), "--model", "nat_mini"}},
		{"--at is the token for --attention", []string{"predict", "--checkpoint", best, "--at", "0,0", picture}},
		{"--models stands alone", []string{"info", "nat_mini", "--models"}},
		{"--size is of a model", []string{"info", "--size", "384"}},
		{"more than can be counted", []string{"info", "nat_tiny", "--size", "100000000"}},
		{"--batch is of a whole model", []string{"bench", "--batch", "4"}},
		{"[model dtype]", []string{"bench", "--model", "nat_mini", "--dtype", "bfloat16"}},
		{"give one", []string{"eval", "--checkpoint", best, dir, "--data-dir", dir}},
		{"--at is \"2,3\"", []string{"predict", "--checkpoint", best, "--attention", at("a.png"), "--at", "2,3", picture}},
		{"want a name that ends in .png", []string{"predict", "--checkpoint", best, "--attention", at("a.jpg"), picture}},

		{"mistakes is -1", []string{"report", run, "--mistakes", "-1"}},
		{"neither a folder", []string{"report", run, "--data-dir", at("absent")}},
		{"is not the folder of a run", []string{"report", best}},
		{"folder " + at("no") + ": no such file or directory", []string{"report", run, "-o", at("no/x.html")}},
		{"is a directory", []string{"report", run, "-o", output}},

		{"is the state of a training run", []string{"convert", states[0], at("x.pth")}},
		{"is a directory", []string{"convert", best, output}},
		{"absent: no such file", []string{"convert", at("absent"), at("x.pth")}},
		{"one set of weights", []string{"convert", best, at("x.pth"), "--ema"}},
		{"want a name that ends in .pt", []string{"export", "--checkpoint", best, at("last.safetensors")}},
		{"absent: no such file", []string{"export", "--checkpoint", at("absent"), at("x.pt")}},

		{"ends in .png, .svg or .pdf", []string{"bench", "--plot", at("x.txt")}},
		{"--plot: atomicfile: write " + at("no/x.png"), []string{"bench", "--plot", at("no/x.png")}},
		{"folder " + at("no") + ": no such file", []string{"bench", "--model", "nat_base", "--profile", at("no/x")}},
		{"rounds is -1", []string{"bench", "--rounds", "-1"}},
		{`want one number in "D32x32"`, []string{"info", "--why", "D32x32 H2 7x7 K7x7"}},
		{`info: --why is ""`, []string{"info", "--why", ""}},
		{"did you mean nat_mini?", []string{"info", "nat_mni"}},
		{"absent.pth: no such file", []string{"info", "absent.pth"}},
		{"do not run on cuda:63", []string{"verify", "../../verify/testdata/golden", "--device", "cuda:63"}},
	} {
		stdout, stderr, code := natten(t, append(c.args, "--quiet")...)
		require.Equal(t, 1, code, "%v: %s", c.args, stderr)
		require.Empty(t, stdout, c.args)
		require.Contains(t, stderr, c.want, c.args)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
	require.Equal(t, before, sumsBelow(t, output))

	stdout, stderr, code := natten(t, "train", "--resume", run)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "Nothing is left to train: "+run+" is at epoch 2")
	require.Equal(t, before, sumsBelow(t, output))
	stdout, _, code = natten(t, "eval", "--checkpoint", best, "-b", "1000000000", "--quiet")
	require.Zero(t, code, "a batch is not larger than what there is")
	require.Contains(t, stdout, "on 16 images")

	require.NoError(t, os.WriteFile(best, whole[:100_000], 0o600))
	stdout, stderr, code = natten(t, "report", run, "--json")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "the page lacks the confusion matrix and the mistakes")
	var report reportResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &report), stdout)
	require.Contains(t, report.Lacks, "truncated?")
}

// sumsBelow are the checksums of every file below a folder.
func sumsBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			sums[path] = ""
			return err
		}
		data, err := os.ReadFile(path)
		sums[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}))
	return sums
}

func TestEnvAsJSON(t *testing.T) {
	require.Equal(t, map[string]string{"A": "-I x", "LIBRARY_PATH": "/lib"},
		exports("# libtorch\nexport A=\"-I x\"\nexport LIBRARY_PATH=\"/lib${LIBRARY_PATH:+:$LIBRARY_PATH}\"\n"))
}
