package train

import (
	"cmp"
	"context"

	"github.com/gonatten/gonatten/data"
)

// openData opens the splits. Of several processes one on each machine does so
// before the others, for it may have to fetch them.
func (r *run) openData(ctx context.Context) error {
	open := func() error { return r.openSplits(ctx) }
	if r.group == nil {
		return open()
	}
	return r.group.Once(ctx, "data", open)
}

func (r *run) openSplits(ctx context.Context) (err error) {
	defer r.options.Progress.Clear()
	if r.train, err = openSplit(ctx, r.config, r.config.TrainSplit, r.options.Progress.Fetching()); err != nil {
		return err
	}
	r.classes = r.train.Classes()
	if r.config.ValSplit != "" {
		r.val, err = openSplit(ctx, r.config, r.config.ValSplit, r.options.Progress.Fetching())
	}
	return err
}

func (r *run) trainLoader() (*data.Loader, error) {
	c := r.config
	transform, err := trainTransform(c, r.input, int(r.model.Config.InChans))
	if err != nil {
		return nil, err
	}
	return data.NewLoader(r.train, transform, data.LoaderOptions{
		BatchSize: c.BatchSize, Workers: c.Workers, Seed: uint64(c.Seed), Shuffle: true, DropLast: true,
		Rank: r.rank(), WorldSize: r.world(), Repeats: c.AugRepeats, MaxBad: c.MaxBad, OnBad: r.skipped,
	})
}

// buildEvaluator makes what evaluates the model on the validation split.
func (r *run) buildEvaluator() error {
	if r.val == nil {
		return nil
	}
	c := r.config
	transform, err := evalTransform(r.input, int(r.model.Config.InChans))
	if err != nil {
		return err
	}
	rank, world := r.rank(), r.world()
	if r.val.Len() < world {
		rank, world = 0, 1 // too few to share: every process evaluates all
	}
	loader, err := data.NewLoader(r.val, transform, data.LoaderOptions{
		BatchSize: cmp.Or(c.ValBatch, c.BatchSize), Workers: c.Workers, Uneven: true,
		Rank: rank, WorldSize: world, MaxBad: c.MaxBad, OnBad: r.skipped,
	})
	if err != nil {
		return err
	}
	r.evaluator = &Evaluator{Model: r.model, Source: loader, Device: r.device, Precision: r.precision}
	if world > 1 {
		r.evaluator.Sum = r.group.Sum
	}
	return nil
}

func (r *run) skipped(e *data.SampleError) {
	r.options.Log.Warn("unreadable image skipped", "image", e.Name, "error", e.Err)
}
