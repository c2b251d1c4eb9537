package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/data/augment"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
)

// dataSpec is the dataset's specification for package data, and the folder of
// a named set.
func dataSpec(c *config.Config) (spec, root string, err error) {
	switch {
	case c.Dataset != "":
		return c.Dataset, c.DataDir, nil
	case c.DataDir != "":
		if slices.Contains(data.Names(), c.DataDir) && data.HoldsPictures(c.DataDir) {
			return "." + string(filepath.Separator) + c.DataDir, "", nil // a folder that is called like a set
		}
		return c.DataDir, "", nil
	}
	return "", "", fmt.Errorf("train: no data: give data_dir (an image folder or shards) or dataset (one of %v)", data.Names())
}

// openSplit opens a split of the configured dataset.
func openSplit(ctx context.Context, c *config.Config, split string, progress data.Progress) (data.Dataset, error) {
	spec, root, err := dataSpec(c)
	if err != nil {
		return nil, err
	}
	return data.Open(ctx, spec, split, data.Options{
		Root: root, Offline: c.Offline, HoldOut: c.HoldOut, Seed: uint64(c.Seed), Progress: progress,
	})
}

// preprocessing is what the configuration and the model together ask of pictures.
func preprocessing(c *config.Config, m *models.Config) (models.Preprocess, error) {
	spec, _, err := dataSpec(c)
	if err != nil {
		return models.Preprocess{}, err
	}
	channels := int(m.InChans)
	stats := data.StatsOf(spec)
	p := models.Preprocess{
		ImageSize: m.ImageSize, CropPct: c.CropPct, Interpolation: c.Interpolation,
		Mean: fitChannels(stats.Mean, channels), Std: fitChannels(stats.Std, channels),
	}
	if len(c.Mean) > 0 {
		p.Mean, p.Std = c.Mean, c.Std
	}
	if len(p.Mean) != channels {
		return p, fmt.Errorf("train: mean has %d numbers for %d channels", len(p.Mean), channels)
	}
	return p, nil
}

// fitChannels carries statistics to another number of channels by their average.
func fitChannels(values []float32, channels int) []float64 {
	sum := 0.0
	exact := make([]float64, len(values))
	for i, v := range values {
		exact[i] = shortest(v)
		sum += exact[i]
	}
	if len(values) == channels || len(values) == 0 {
		return exact
	}
	out := make([]float64, channels)
	for i := range out {
		out[i] = sum / float64(len(values))
	}
	return out
}

// shortest is the decimal number that a float32 was written as: 0.485, not
// 0.48500001430511475.
func shortest(v float32) float64 {
	x, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	if err != nil {
		return float64(v)
	}
	return x
}

// evalTransform is the evaluation pipeline of a preprocessing.
func evalTransform(p models.Preprocess, channels int) (data.Transform, error) {
	return augment.EvalTransform(augmentation(p, channels))
}

func augmentation(p models.Preprocess, channels int) augment.Config {
	return augment.Config{
		Channels: channels, Height: int(p.ImageSize), Width: int(p.ImageSize),
		Mean: float32s(p.Mean), Std: float32s(p.Std), CropPct: p.CropPct, EvalInterpolation: p.Interpolation,
	}
}

func float32s(values []float64) []float32 {
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = float32(v)
	}
	return out
}

// trainTransform is the training pipeline of a configuration.
func trainTransform(c *config.Config, p models.Preprocess, channels int) (data.Transform, error) {
	if c.NoAug {
		return evalTransform(p, channels)
	}
	a := augmentation(p, channels)
	if c.CropPad > 0 {
		a.Crop, a.Padding = augment.CropPadded, c.CropPad
	}
	a.Scale, a.Ratio = pair(c.Scale), pair(c.Ratio)
	a.Interpolation = c.TrainInterpolation
	a.HFlip, a.VFlip = c.HFlip, c.VFlip
	a.AutoAugment = c.AutoAugment
	if c.ColorJitter > 0 {
		a.ColorJitter = []float64{c.ColorJitter}
	}
	a.ReProb, a.ReMode, a.ReCount = c.ReProb, c.ReMode, c.ReCount
	return augment.TrainTransform(a)
}

func pair(v []float64) [2]float64 {
	if len(v) != 2 {
		return [2]float64{}
	}
	return [2]float64{v[0], v[1]}
}

// streamMix keys the random numbers of mixing; package data uses small keys.
const streamMix = 1 << 32

// mixing is the batch mixing and the loss of a configuration, which go together.
// Each process mixes by chances of its own.
func mixing(c *config.Config, classes, rank, world int) (Mixer, Loss) {
	mix := augment.Mix{
		MixupAlpha: c.Mixup, CutmixAlpha: c.CutMix, Prob: c.MixupProb, SwitchProb: c.MixupSwitchProb,
		LabelSmoothing: c.Smoothing, Classes: classes,
	}
	mixed := (c.Mixup > 0 || c.CutMix > 0) && c.MixupProb > 0
	if !mixed && !c.BCELoss {
		return nil, CrossEntropy(c.Smoothing)
	}
	loss := Loss(SoftTarget)
	if c.BCELoss {
		loss = BinaryCrossEntropy(c.BCETargetThresh)
	}
	return func(b *data.Batch, epoch int) ([]float32, error) {
		params := augment.MixParams{Lambda: 1}
		if mixed && (c.MixupOffEpoch == 0 || epoch < c.MixupOffEpoch) {
			params = mix.Params(mixRand(c, epoch, b.Number*world+rank), b.Height, b.Width)
			params.Apply(b.Images, len(b.Labels), b.Channels, b.Height, b.Width)
		}
		targets := make([]float32, len(b.Labels)*classes)
		return targets, mix.Targets(targets, b.Labels, params)
	}, loss
}

func mixRand(c *config.Config, epoch, batch int) *rand.Rand {
	return data.NewRand(streamMix, uint64(c.Seed), uint64(epoch), uint64(batch))
}
