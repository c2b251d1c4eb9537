package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train/config"
)

func TestTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range config.Fields() {
		require.NotEmpty(t, f.Key)
		require.NotEmpty(t, f.Section, f.Key)
		require.NotEmpty(t, f.Help, f.Key)
		require.NotEmpty(t, f.Type, f.Key)
		require.False(t, seen[f.Key], f.Key)
		seen[f.Key] = true
	}
	require.NoError(t, config.Default().Check())
}

func TestDefaultsAreThePublishedRecipe(t *testing.T) {
	c := config.Default()
	require.Equal(t, 300, c.Epochs)
	require.Equal(t, 10, c.CooldownEpochs)
	require.Equal(t, []float64{1e-3, 1e-6, 5e-6}, []float64{c.LR, c.WarmupLR, c.MinLR})
	require.Equal(t, []float64{0.08, 1}, c.Scale)
	require.Equal(t, "rand-m9-mstd0.5-inc1", c.AutoAugment)
	require.Nil(t, c.Mean)
}

func TestSavedConfigReadsBack(t *testing.T) {
	c := config.Default()
	require.NoError(t, c.Read([]byte("model: nat_mini\nlr: 1e-4\nmean: [0.5, 0.25]\nstd: 0.5,0.5\naa: null\nexperiment: 'a: b # c'\n"+
		"amp: True\ndecay_milestones: [1, 2]\nratio: []\n")))
	require.Equal(t, []float64{0.5, 0.25}, c.Mean)
	require.Equal(t, "rand-m9-mstd0.5-inc1", c.AutoAugment, "null leaves a key as it is")
	require.Nil(t, c.Ratio)
	again := config.Default()
	require.NoError(t, again.Read(c.YAML()))
	require.Equal(t, c, again)

	raw, err := json.Marshal(c)
	require.NoError(t, err)
	var values map[string]any
	require.NoError(t, json.Unmarshal(raw, &values))
	require.Len(t, values, len(config.Fields()))
	require.Equal(t, 1e-4, values["lr"])
	require.Equal(t, "a: b # c", values["experiment"])
}

func TestMistakesAreNamedWithASuggestion(t *testing.T) {
	for document, want := range map[string]string{
		"batch_sise: 3":             "unknown key batch_sise; did you mean batch_size?",
		"lr: fast":                  `lr: "fast" is not a number`,
		"lr: nan":                   `lr: "nan" is not a number`,
		"epochs: 1.5":               `epochs: "1.5" is not a whole number`,
		"amp: perhaps":              `amp: "perhaps" is not true or false`,
		"mean: [a]":                 "is not a list of numbers",
		"torchscript: True":         "torchscript has no meaning here",
		"zzzzzz: 1":                 "unknown key zzzzzz",
		"lr: {a: b}":                "line 1: want a value, not keys",
		"mean: [[1]]":               "want a plain value",
		"- lr":                      "want keys and values",
		"lr: 1\nlr: 2":              "lr stands there twice",
		"lr: [":                     "did not find expected node content",
		"modle: x\nwarmup_epoch: 1": "did you mean model?\nconfig: unknown key warmup_epoch; did you mean warmup_epochs?",
	} {
		require.ErrorContains(t, config.Default().Read([]byte(document)), want, document)
	}
	_, err := config.Load("absent.yml")
	require.ErrorContains(t, err, "no file absent.yml, and no preset of that name (presets: fashion_mnist")
}

func TestCheck(t *testing.T) {
	for assignment, want := range map[string]string{
		"batch_size=0":   "batch_size is 0, want at least 1",
		"lr=-1":          "lr is -1, want at least 0",
		"hflip=2":        "hflip is 2, want 0 to 1",
		"crop_pct=0":     "crop_pct is 0, want above 0",
		"drop_path=1":    "drop_path is 1",
		"scale=1,0.5":    "scale is 1,0.5, want two numbers",
		"opt=adam":       "opt is adam, want one of adamw, lamb",
		"sched=cosin":    "sched is cosin, want one of constant, cosine",
		"opt_betas=0.9":  "opt_betas is 0.9, want two numbers",
		"mean=0.5":       "std is empty, want as many numbers as mean has (1)",
		"amp_dtype=half": "amp_dtype is half",
	} {
		c := config.Default()
		key, value, _ := strings.Cut(assignment, "=")
		require.NoError(t, c.Set(key, value))
		require.ErrorContains(t, c.Check(), want)
	}
	c := config.Default()
	require.NoError(t, c.Set("lr", "-1"))
	require.NoError(t, c.Set("epochs", "0"))
	require.Len(t, strings.Split(c.Check().Error(), "\n"), 2, "all mistakes at once")
}

func TestPresetsAreValid(t *testing.T) {
	require.NotEmpty(t, config.Presets())
	for _, name := range config.Presets() {
		c, err := config.Load(name)
		require.NoError(t, err, name)
		require.NoError(t, c.Check(), name)
		require.NotEmpty(t, c.Model, name)
	}
}

func TestFlagsGoOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.yml")
	require.NoError(t, os.WriteFile(file, []byte("lr: 5e-5\nepochs: 30\n"), 0o600))
	var flags config.Flags
	set := pflag.NewFlagSet("train", pflag.ContinueOnError)
	set.SetNormalizeFunc(config.Normalize)
	flags.Define(set, "threads")
	require.Nil(t, set.Lookup("threads"))
	require.NoError(t, set.Parse([]string{"--epochs", "2", "-b", "64", "--amp", "--warmup_lr=1e-7", "--model-ema=false"}))
	c, err := config.Load(file)
	require.NoError(t, err)
	require.NoError(t, flags.Apply(c))
	require.Equal(t, []any{2, 64, true, 1e-7, 5e-5}, []any{c.Epochs, c.BatchSize, c.AMP, c.WarmupLR, c.LR})
	require.True(t, flags.Has("epochs"))
	require.False(t, flags.Has("lr"))
	require.ErrorContains(t, set.Parse([]string{"--lr", "x"}), `"x" is not a number`)
}

func ExampleConfig_Read() {
	c := config.Default()
	err := c.Read([]byte("model: nat_tiny\nbatch_size: 64\nwarmup_epoch: 5\n"))
	fmt.Println(c.Model, c.BatchSize, c.Epochs)
	fmt.Println(err)
	// Output:
	// nat_tiny 64 300
	// config: unknown key warmup_epoch; did you mean warmup_epochs?
}
