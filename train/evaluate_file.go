package train

import (
	"cmp"
	"context"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/train/config"
)

// OpenData opens the split that a configuration evaluates on, with the labels of
// the predictor's model. Classes are matched by name, so that a part of the
// model's will do; it is an error where names and number differ. progress may be
// nil. The caller closes what it returns (data.Close).
func (p *Predictor) OpenData(ctx context.Context, c *config.Config, progress data.Progress) (data.Dataset, error) {
	ds, err := openSplit(ctx, c, cmp.Or(c.ValSplit, "val"), progress)
	if err != nil {
		return nil, err
	}
	own, err := labelled(ds, p.Card.Classes, p.Card.Config.NumClasses)
	if err != nil {
		_ = data.Close(ds) // the first error tells more
		return nil, err
	}
	return own, nil
}

// EvaluateOptions are whom EvaluateOn tells what it sees; nil: nobody.
type EvaluateOptions struct {
	OnBatch func(b *data.Batch, ranked [][]int64, losses []float64) // see Evaluator.OnBatch
	OnBad   func(*data.SampleError)                                 // an unreadable picture, replaced by another
}

// EvaluateOn measures a predictor's model on a dataset as a run of that
// configuration evaluates: with its batch size, and in its precision.
func (p *Predictor) EvaluateOn(ctx context.Context, c *config.Config, ds data.Dataset, o EvaluateOptions) (*Evaluation, error) {
	loader, err := data.NewLoader(ds, p.transform, data.LoaderOptions{
		BatchSize: cmp.Or(c.ValBatch, c.BatchSize), Workers: c.Workers, MaxBad: c.MaxBad, OnBad: o.OnBad, Uneven: true,
	})
	if err != nil {
		return nil, err
	}
	e := &Evaluator{Model: p.Model, Source: loader, Device: p.device, OnBatch: o.OnBatch}
	e.Precision, _ = precision(c, p.device)
	return e.Run(ctx)
}
