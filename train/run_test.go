package train_test

import (
	"context"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/record"
)

// smallRun is the configuration of a run on a tiny image folder.
func smallRun(t testing.TB, dir string) *config.Config {
	t.Helper()
	c, err := config.Load("fashion_mnist")
	require.NoError(t, err)
	require.NoError(t, c.Read([]byte("dataset: ''\nepochs: 2\nbatch_size: 8\nlog_interval: 2\nlr: 1e-3\nwarmup_epochs: 0\nworkers: 2\nimg_size: 16")))
	c.DataDir, c.Output = dir, filepath.Join(t.TempDir(), "runs")
	return c
}

func TestRun(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	require.NoError(t, c.Read([]byte("model_ema: true\nmodel_ema_decay: 0.5\nexperiment: one\nmixup: 0.8\ncutmix: 1")))
	summary, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(c.Output, "one"), summary.Folder)
	require.Equal(t, []int{2, 8}, []int{summary.Epochs, summary.Steps})
	require.Greater(t, summary.ImagesPerSecond, 0.0)
	require.False(t, summary.Interrupted)
	require.Greater(t, summary.FLOPsPerImage, 1e6)

	saved := config.Default()
	text, err := os.ReadFile(filepath.Join(summary.Folder, train.ConfigFile))
	require.NoError(t, err)
	require.NoError(t, saved.Read(text))
	require.Equal(t, c, saved)

	rows, err := record.ReadLog(filepath.Join(summary.Folder, train.MetricsFile))
	require.NoError(t, err)
	kinds := ""
	for _, r := range rows {
		kinds += r.Kind[:1]
		require.Greater(t, float64(r.Loss), 0.0)
		require.Equal(t, r.Kind == "train", r.FLOPsPerSecond > 0)
		require.Zero(t, r.Utilisation, "a CPU's peak is not known")
	}
	require.Equal(t, "ttette", kinds)
	require.Greater(t, float64(rows[0].FLOPsPerSecond), summary.FLOPsPerImage*float64(rows[0].ImagesPerSecond), "the update too")
	events, err := filepath.Glob(filepath.Join(summary.Folder, "events.out.tfevents.*"))
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.FileExists(t, filepath.Join(summary.Folder, record.CSVFile))
	require.Equal(t, summary.TestAccuracy, max(float64(rows[2].Top1), float64(rows[5].Top1)))

	curve, err := os.Open(summary.Curve)
	require.NoError(t, err)
	defer curve.Close()
	_, err = png.Decode(curve)
	require.NoError(t, err)

	var again train.Summary
	text, err = os.ReadFile(filepath.Join(summary.Folder, train.SummaryFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, *summary, again)

	t.Run("predict", func(t *testing.T) {
		p, err := train.OpenPredictor(summary.Checkpoint, train.PredictorOptions{})
		require.NoError(t, err)
		defer p.Close()
		require.Equal(t, []string{"blue", "green", "red one"}, p.Card.Classes)
		require.Equal(t, "nat_nano_28", p.Card.Config.Name)
		require.Equal(t, summary.BestEpoch, p.Card.Epoch)
		require.Equal(t, summary.TestAccuracy, p.Card.Top1)
		require.True(t, p.Card.EMA)
		files, err := filepath.Glob(filepath.Join(summary.Samples, "*.png"))
		require.NoError(t, err)
		require.Len(t, files, 10)
		right := 0
		for _, file := range files {
			sample, err := data.ReadSample(file)
			require.NoError(t, err)
			guesses, err := p.Predict([]data.Sample{sample, sample}, 5)
			require.NoError(t, err)
			require.Len(t, guesses[0], 3)
			require.Equal(t, guesses[0][0].Class, guesses[1][0].Class)
			require.GreaterOrEqual(t, guesses[0][0].Probability, guesses[0][1].Probability)
			require.InDelta(t, 1, float64(guesses[0][0].Probability+guesses[0][1].Probability+guesses[0][2].Probability), 1e-5)
			if strings.Contains(file, strings.ReplaceAll(guesses[0][0].Name, " ", "-")) {
				right++
			}
		}
		require.GreaterOrEqual(t, right, 1)

		cfg, err := p.Card.Configuration()
		require.NoError(t, err)
		require.Equal(t, c, cfg)
		pictures, err := p.OpenData(context.Background(), cfg, nil)
		require.NoError(t, err)
		defer data.Close(pictures)
		result, err := p.EvaluateOn(context.Background(), cfg, pictures, train.EvaluateOptions{})
		require.NoError(t, err)
		require.Equal(t, summary.TestAccuracy, result.Top1)
		require.Equal(t, 12, result.Images)

		_, err = train.OpenPredictor(summary.Checkpoint, train.PredictorOptions{Classes: []string{"one"}})
		require.ErrorContains(t, err, "1 class names for 3 classes")
		_, err = train.OpenPredictor(summary.Checkpoint, train.PredictorOptions{Model: "nat_mini"})
		require.Error(t, err)
	})
	t.Run("go on from its weights with other classes", func(t *testing.T) {
		next := smallRun(t, c.DataDir)
		require.NoError(t, next.Read([]byte("num_classes: 7\nmax_steps: 2\nlayer_decay: 0.7\nopt: lamb\nsched: onecycle\nval_split: ''\n"+
			"grad_checkpointing: true\namp: true\namp_dtype: float16\nlog_interval: 1")))
		next.InitialCheckpoint = summary.Checkpoint
		s, err := train.Run(context.Background(), next, train.RunOptions{})
		require.NoError(t, err)
		require.Equal(t, []int{0, 2}, []int{s.Epochs, s.Steps})
		require.Equal(t, filepath.Join(s.Folder, train.LastFile), s.Checkpoint)
		wider, err := train.OpenPredictor(s.Checkpoint, train.PredictorOptions{})
		require.NoError(t, err)
		defer wider.Close()
		require.Equal(t, []string{"class 3", "class 6"}, []string{wider.Card.Classes[3], wider.Card.Classes[6]}, "the data has three")
		pictures, err := wider.OpenData(context.Background(), next, nil)
		require.NoError(t, err, "whose labels they are is known")
		require.Equal(t, 12, pictures.Len())
		require.Empty(t, s.Samples)
		rows, err := record.ReadLog(filepath.Join(s.Folder, train.MetricsFile))
		require.NoError(t, err)
		require.Greater(t, float64(rows[0].LossScale), 0.0)
		require.Greater(t, s.FLOPsPerImage, 1.2*summary.FLOPsPerImage, "recomputation is counted")
	})
	t.Run("a name is taken", func(t *testing.T) {
		_, err := train.Run(context.Background(), c, train.RunOptions{})
		require.ErrorContains(t, err, "one exists already")
	})
}

func TestRunIsInterrupted(t *testing.T) {
	c := smallRun(t, imageFolder(t, 16, 12, 4))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	summary, err := train.Run(ctx, c, train.RunOptions{Prepare: func(l *train.Loop) error {
		l.On(train.StepEnd, func(context.Context, *train.Loop) error {
			if l.State.Step == 2 {
				cancel()
			}
			return nil
		})
		return nil
	}})
	require.NoError(t, err)
	require.True(t, summary.Interrupted)
	require.Equal(t, 2, summary.Steps)
	p, err := train.OpenPredictor(summary.Checkpoint, train.PredictorOptions{})
	require.NoError(t, err)
	require.Equal(t, 2, p.Card.Step)
	p.Close()
}

// TestRunsAgree: the same configuration gives the same losses, whatever the
// number of workers; another seed gives others.
func TestRunsAgree(t *testing.T) {
	dir := imageFolder(t, 16, 12, 1)
	losses := func(extra string) []record.Number {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte("epochs: 1\nlog_interval: 1\ndrop_path: 0.2\nmixup: 0.8\ncutmix: 1\n"+extra)))
		s, err := train.Run(context.Background(), c, train.RunOptions{})
		require.NoError(t, err)
		rows, err := record.ReadLog(filepath.Join(s.Folder, train.MetricsFile))
		require.NoError(t, err)
		var list []record.Number
		for _, r := range rows {
			list = append(list, r.Loss)
		}
		require.Len(t, list, 5)
		return list
	}
	first := losses("workers: 1")
	require.Equal(t, first, losses("workers: 3"))
	require.NotEqual(t, first, losses("seed: 7"))
}

func TestRunErrors(t *testing.T) {
	dir := imageFolder(t, 16, 4, 1)
	for change, want := range map[string]string{
		"lr: -1":                      "config: lr is -1",
		"data_dir: ''":                "no data: give data_dir",
		"data_dir: /nowhere":          "/nowhere",
		"model: nat_minni":            `no variant "nat_minni"; there are nat_mini`,
		"num_classes: 2":              "num_classes is 2, and the data has 3 classes",
		"batch_size: 99":              "do not fill one batch of 99",
		"mean: [1, 2]\nstd: [1, 2]":   "mean has 2 numbers for 1 channels",
		"interpolation: cubist":       "cubist",
		"initial_checkpoint: /absent": "/absent",
		"train_split: tain":           `unknown split "tain"`,
		"device: cuda":                "device is cuda",
	} {
		c := smallRun(t, dir)
		require.NoError(t, c.Read([]byte(change)))
		_, err := train.Run(context.Background(), c, train.RunOptions{})
		require.ErrorContains(t, err, want, change)
		require.NotContains(t, err.Error(), "\n", change)
	}
	c := smallRun(t, dir)
	require.NoError(t, os.WriteFile(c.Output, nil, 0o600))
	_, err := train.Run(context.Background(), c, train.RunOptions{})
	require.ErrorContains(t, err, "run folder")
}
