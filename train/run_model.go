package train

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// buildModel makes the model with its initial weights, and settles precision and
// preprocessing, which depend on it.
func (r *run) buildModel() error {
	c := r.config
	if c.Threads > 0 {
		if err := torch.SetThreads(c.Threads); err != nil {
			return err
		}
	}
	var reduced bool
	if r.precision, reduced = precision(c, r.device); reduced {
		r.options.Log.Info("training in float32: this processor has no bfloat16 instructions")
	}
	if c.NumClasses > 0 && c.NumClasses < len(r.classes) {
		return fmt.Errorf("train: num_classes is %d, and the data has %d classes", c.NumClasses, len(r.classes))
	}
	if err := torch.ManualSeed(uint64(c.Seed)); err != nil {
		return err
	}
	var err error
	r.model, err = models.New(c.Model, gotchnn.NewVarStore(r.device.Gotch()).Root(), models.With(func(m *models.Config) {
		m.NumClasses = int64(cmp.Or(c.NumClasses, len(r.classes)))
		if c.ImgSize > 0 && int64(c.ImgSize) != m.ImageSize {
			models.WithImageSize(int64(c.ImgSize))(m)
		}
		m.DropRate, m.AttnDropRate = c.Drop, c.AttnDrop
		if c.DropPath >= 0 {
			m.DropPathRate = c.DropPath
		}
	}))
	if err != nil {
		return err
	}
	if r.parameters, err = r.model.NumParameters(); err != nil {
		return err
	}
	if r.input, err = preprocessing(c, &r.model.Config); err != nil {
		return err
	}
	if err := r.initialWeights(); err != nil {
		return err
	}
	return r.freeze()
}

// card describes the model as it is now.
func (r *run) card(top1 float64) (Card, error) {
	raw, err := json.Marshal(r.config)
	if err != nil {
		return Card{}, fmt.Errorf("train: %w", err)
	}
	return Card{
		Info: models.Info{Config: r.model.Config, Classes: r.classNames(), Preprocess: r.input}, Run: raw,
		Epoch: r.loop.State.Epoch, Step: r.loop.State.Step, Top1: top1, EMA: r.ema != nil,
	}, nil
}

// classNames are the data's, and numbers for what the model has beyond them.
func (r *run) classNames() []string {
	if len(r.classes) == 0 {
		return nil
	}
	names := slices.Clone(r.classes)
	for i := len(names); int64(i) < r.model.Config.NumClasses; i++ {
		names = append(names, unnamed(i))
	}
	return names
}
