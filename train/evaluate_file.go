package train

import (
	"context"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/train/config"
)

// EvaluateOn measures a predictor's model on a split of the configured dataset,
// with the configuration's batch size and precision. Classes are matched by
// name, so that a part of the model's will do; it is an error where names and
// number differ.
func (p *Predictor) EvaluateOn(ctx context.Context, c *config.Config, onBatch func(*data.Batch, [][]int64, []float64), progress data.Progress) (*Evaluation, error) {
	split := c.ValSplit
	if split == "" {
		split = "val"
	}
	ds, err := openSplit(c, split, progress)
	if err != nil {
		return nil, err
	}
	if closer, ok := ds.(interface{ Close() error }); ok {
		defer closer.Close()
	}
	if ds, err = labelled(ds, p.Card.Classes, p.Card.Config.NumClasses); err != nil {
		return nil, err
	}
	batch := c.ValBatch
	if batch == 0 {
		batch = c.BatchSize
	}
	loader, err := data.NewLoader(ds, p.transform, data.LoaderOptions{BatchSize: batch, Workers: c.Workers, MaxBad: c.MaxBad, Uneven: true})
	if err != nil {
		return nil, err
	}
	e := &Evaluator{Model: p.Model, Source: loader, Device: p.device, OnBatch: onBatch}
	if c.AMP {
		e.Precision = map[string]gotch.DType{"bfloat16": gotch.BFloat16, "float16": gotch.Half}[c.AMPDType]
	}
	return e.Run(ctx)
}
