package train

import (
	"context"

	"github.com/gonatten/gonatten/train/state"
)

// CheckpointsDir is the folder in a run's folder that has what it takes to go on.
const CheckpointsDir = "checkpoints"

// addCheckpointing saves the state of the run: every recovery_interval steps,
// after each epoch and at the end, whatever ends it.
func (r *run) addCheckpointing() {
	r.loop.On(RunStart, r.evaluatePending)
	r.loop.On(StepEnd, func(_ context.Context, l *Loop) error {
		if n := r.config.RecoverySteps; n == 0 || l.State.Step%n != 0 || l.State.Batch == l.Source.Len() {
			return nil // the end of an epoch has its own
		}
		return r.saveState()
	})
	save := func(context.Context, *Loop) error { return r.saveState() }
	r.loop.On(EpochEnd, save)
	r.loop.On(RunEnd, save)
}

// evaluatePending makes up for an evaluation in whose midst the earlier process
// was interrupted.
func (r *run) evaluatePending(ctx context.Context, l *Loop) error {
	s := &l.State
	if s.Batch != 0 || s.Epoch == 0 || s.Step == r.evaluated || !r.evaluationDue(l) {
		return nil
	}
	return r.evaluate(ctx, l)
}

// saveState writes a checkpoint unless the present one has been.
func (r *run) saveState() error {
	step := r.loop.State.Step
	if r.saved == step || r.loop.State.SkippedInRow > 0 { // weights that give no number are not worth keeping
		return nil
	}
	s := state.New(step)
	if !r.leads() {
		s = state.Discard(step) // it takes all to put the state together
	}
	for _, p := range r.parts() {
		if err := p.part.SaveState(s.Section(p.name)); err != nil {
			return err
		}
	}
	r.saved = step
	if !r.leads() {
		return nil
	}
	return r.checkpoints().Save(s, r.config.CheckpointHist)
}
