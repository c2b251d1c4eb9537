package train

import (
	"math"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/schedule"
	"github.com/gonatten/gonatten/train/state"
)

// buildLoop makes the loop from the configuration: batches, loss, optimizer and
// schedule.
func (r *run) buildLoop() error {
	c := r.config
	loader, err := r.trainLoader()
	if err != nil {
		return err
	}
	if err := r.buildOptimizer(); err != nil {
		return err
	}
	r.loop = &Loop{
		Model: r.model, Optimizer: r.optimizer, Source: loader, MaxSteps: c.MaxSteps,
		Accumulate: c.AccumSteps, EMA: r.ema, Precision: r.precision, Device: r.device, Recompute: c.GradCheckpointing,
		MaxSkipped: c.MaxSkipped, OnNonFinite: r.saveInputs,
	}
	if r.precision == gotch.Half {
		if r.loop.Scaler, err = optim.NewScaler(r.device, optim.ScalerOptions{}); err != nil {
			return err
		}
		r.loop.Parts = map[string]state.Part{"scaler": scalerPart{r.loop.Scaler, &r.loop.State}}
	}
	if r.replica != nil {
		r.loop.Peers = r.replica
	}
	r.loop.Mix, r.loop.Loss = mixing(c, int(r.model.Config.NumClasses), r.rank(), r.world())
	if c.ClipMode == "value" {
		r.loop.ClipValue = c.ClipGrad
	} else {
		r.loop.ClipNorm = c.ClipGrad
	}
	r.loop.Schedule, r.loop.Epochs, err = learningRate(c, r.loop.StepsPerEpoch())
	if c.WarmupEpochs > 0 && c.WarmupEpochs >= float64(c.Epochs) && r.leads() {
		r.options.Log.Warn("the learning rate never leaves its warm-up: warmup_epochs reaches the end of the schedule",
			"warmup_epochs", c.WarmupEpochs, "epochs", c.Epochs, "cooldown_epochs", c.CooldownEpochs)
	}
	return err
}

// buildOptimizer makes the optimizer and the moving average, once all processes
// have the same weights.
func (r *run) buildOptimizer() error {
	c := r.config
	parameters := trainable(r.model)
	groups, err := optim.Groups(parameters, optim.Grouping{
		WeightDecay: c.WeightDecay, LayerDecay: c.LayerDecay, Layer: r.model.LayerID, Layers: r.model.NumLayers(),
	})
	if err != nil {
		return err
	}
	if r.shards, err = r.owners(parameters); err != nil {
		return err
	}
	if err := r.replicate(parameters); err != nil {
		return err
	}
	options := optim.Options{Eps: c.OptEps, Momentum: c.Momentum}
	if r.shards != nil {
		options.Owned = func(name string) bool { return r.shards[name] == r.rank() }
	}
	if len(c.OptBetas) == 2 {
		options.Beta1, options.Beta2 = c.OptBetas[0], c.OptBetas[1]
	}
	if r.optimizer, err = optim.New(c.Opt, groups, options); err != nil {
		return err
	}
	if c.ModelEMA {
		r.ema, err = optim.NewEMA(parameters, c.ModelEMADecay, c.ModelEMAWarmup)
	}
	return err
}

// trainable are the parameters of a model that are not frozen.
func trainable(m *models.Model) []optim.Parameter {
	var list []optim.Parameter
	for _, t := range m.Trainable() {
		list = append(list, optim.Parameter(t))
	}
	return list
}

// learningRate is the configured schedule per optimizer step, and the number of
// epochs of the run. With sched_epochwise the schedule counts in epochs.
func learningRate(c *config.Config, stepsPerEpoch int) (schedule.Schedule, int, error) {
	perEpoch := stepsPerEpoch // units of the schedule
	if c.SchedEpochwise {
		perEpoch = 1
	}
	unit := float64(perEpoch)
	settings := schedule.Settings{
		Name: c.Sched, LR: c.LR, MinLR: c.MinLR, WarmupLR: c.WarmupLR,
		Steps: perEpoch * c.Epochs, Warmup: int(math.Round(unit * c.WarmupEpochs)), WarmupPrefix: c.WarmupPrefix,
		Cycles: c.LRCycleLimit, CycleMul: c.LRCycleMul, CycleDecay: c.LRCycleDecay, KDecay: c.LRKDecay,
		DecaySteps: unit * c.DecayEpochs, DecayRate: c.DecayRate,
	}
	for _, epoch := range c.DecayMilestones {
		settings.Milestones = append(settings.Milestones, perEpoch*epoch)
	}
	lr, err := schedule.New(settings)
	if err != nil {
		return nil, 0, err
	}
	epochs := int(math.Ceil(float64(settings.Length())/unit)) + c.CooldownEpochs
	if c.SchedEpochwise {
		return func(step int) float64 { return lr(step / stepsPerEpoch) }, epochs, nil
	}
	return lr, epochs, nil
}
