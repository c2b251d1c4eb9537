package train

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/progress"
	"github.com/gonatten/gonatten/train/record"
)

// addHooks hangs clock, display, records, evaluation and saving on the loop.
func (r *run) addHooks() error {
	r.loop.Cost = new(StepCost)
	clock := &stepClock{run: r, peak: peakOf(r.device, r.precision) * float64(r.world())} // images are those of all
	r.clock = clock
	r.loop.On(RunStart, r.announce)
	r.loop.On(EpochStart, clock.start)
	r.loop.On(StepEnd, clock.step)
	r.loop.On(EpochEnd, r.evaluate)
	r.loop.On(RunEnd, r.saveAtEnd)
	r.addCheckpointing()
	return nil
}

func (r *run) announce(context.Context, *Loop) error {
	r.options.Log.Info("training", "model", r.model.Config.Name, "parameters", r.parameters,
		"images", r.train.Len(), "classes", len(r.classes), "device", r.device.String(),
		"threads", torch.Threads(), "epochs", r.loop.Epochs, "steps_per_epoch", r.loop.StepsPerEpoch(), "folder", r.folder)
	return nil
}

// stepClock measures training time, shows progress and records losses.
type stepClock struct {
	run  *run
	last time.Time // end of the last step

	epochStart time.Time
	epochSteps int

	// since the last record
	loss    float64
	steps   int
	images  int64
	elapsed time.Duration
	total   int64 // images at the last step

	rate float64 // images per second, averaged over steps
	peak float64 // FLOP/s of all devices, 0: not known
}

func (c *stepClock) start(_ context.Context, l *Loop) error {
	c.last, c.epochStart, c.epochSteps = time.Now(), time.Now(), 0
	c.total = l.State.Images
	c.run.options.Progress.Start(fmt.Sprintf("epoch %d/%d", l.State.Epoch+1, l.Epochs))
	return nil
}

func (c *stepClock) step(_ context.Context, l *Loop) error {
	r, state := c.run, &l.State
	now := time.Now()
	took, images := now.Sub(c.last), state.Images-c.total
	c.last, c.total = now, state.Images
	r.trained += took
	r.images += images
	c.loss += state.Loss
	c.steps++
	c.images += images
	c.elapsed += took
	c.epochSteps++
	if state.SkippedInRow > 0 {
		r.options.Log.Warn("step left out: its loss or its gradients are no finite numbers", "step", state.Step,
			"in_a_row", state.SkippedInRow, "at_most", l.MaxSkipped)
	}
	if rate := float64(images) / max(took.Seconds(), 1e-9); c.rate == 0 {
		c.rate = rate
	} else {
		c.rate += (rate - c.rate) / min(20, float64(c.epochSteps+1))
	}
	c.show(l, now)
	if c.steps < r.config.LogInterval && state.Batch < l.Source.Len() {
		return nil
	}
	return c.flush(l)
}

// flush records the steps since the last record.
func (c *stepClock) flush(l *Loop) error {
	if c.steps == 0 {
		return nil
	}
	r, state := c.run, &l.State
	row := record.Row{
		Kind: "train", Time: time.Now().UTC().Format(time.RFC3339), Epoch: state.epochOfStep(), Step: state.Step,
		Loss: record.Number(c.loss / float64(c.steps)), LR: record.Number(state.LR),
		Images: state.Images, ImagesPerSecond: record.Number(float64(c.images) / max(c.elapsed.Seconds(), 1e-9)),
		ResidentBytes: procmem.Resident(), Overflows: state.Overflows,
	}
	if l.Scaler != nil {
		scale, _, err := l.Scaler.State()
		if err != nil {
			return err
		}
		row.LossScale = record.Number(scale)
	}
	rate, utilisation := l.Cost.speed(c.images, c.steps, c.elapsed, c.peak)
	row.FLOPsPerSecond, row.Utilisation = record.Number(rate), record.Number(utilisation)
	if state.GradNorm != nil {
		norm, err := torch.Scalar(state.GradNorm)
		if err != nil {
			return err
		}
		row.GradNorm = record.Number(norm)
	}
	c.loss, c.steps, c.images, c.elapsed = 0, 0, 0, 0
	return r.record(row)
}

func (c *stepClock) show(l *Loop, now time.Time) {
	bar, state := c.run.options.Progress, &l.State
	if !bar.Due() {
		return
	}
	perEpoch := l.StepsPerEpoch()
	left := (l.Epochs-state.Epoch)*perEpoch - state.Batch/max(l.Accumulate, 1)
	if l.MaxSteps > 0 {
		left = min(left, l.MaxSteps-state.Step)
	}
	eta := time.Duration(float64(now.Sub(c.epochStart)) / float64(c.epochSteps) * float64(left))
	words := fmt.Sprintf("%.0f img/s  loss %.3f  lr %.2g  eta %s", c.rate, state.Loss, state.LR, progress.Duration(eta))
	if operations, macs := l.Cost.Of(1, 0); operations > 0 {
		words += "  " + progress.Rate(operations*c.rate)
		if c.peak > 0 {
			words += fmt.Sprintf("  MFU %.1f%%", 200*macs*c.rate/c.peak)
		}
	}
	if resident := procmem.Resident(); resident > 0 {
		words += "  mem " + progress.Bytes(resident)
	}
	bar.Update(int64(state.Batch), int64(l.Source.Len()), words)
}

func (r *run) record(row record.Row) error {
	if !r.leads() {
		return nil
	}
	r.rows = append(r.rows, row)
	return r.metrics.Add(row)
}

// evaluate measures after an epoch where that is due, and saves.
func (r *run) evaluate(ctx context.Context, l *Loop) error {
	if !r.evaluationDue(l) {
		return r.averaged(func() error { return r.save(LastFile, 0) })
	}
	err := r.averaged(func() error { return r.evaluateNow(ctx, l) })
	if err != nil && r.evaluated != l.State.Step && r.group == nil {
		// What was trained is kept: going on evaluates it first. The run ends with the
		// first error, whatever becomes of this.
		_ = r.saveState()
	}
	return err
}

// evaluationDue tells whether the epoch that has ended is to be evaluated.
func (r *run) evaluationDue(l *Loop) bool {
	last := l.State.Epoch == l.Epochs
	return r.evaluator != nil && (last || l.State.Epoch%r.config.ValInterval == 0)
}

// averaged runs f with the model computing with its averaged weights, where
// there are any.
func (r *run) averaged(f func() error) error {
	if r.ema == nil {
		return f()
	}
	if err := r.ema.Swap(); err != nil {
		return err
	}
	return errors.Join(f(), r.ema.Swap())
}

func (r *run) evaluateNow(ctx context.Context, l *Loop) error {
	bar, state := r.options.Progress, &l.State
	bar.Start("evaluating")
	if r.group != nil {
		ctx = context.WithoutCancel(ctx) // processes stop together, after a step
	}
	result, err := r.evaluator.Run(ctx)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) { // interrupted: what is trained is saved at the end
			state.Interrupted = true
			return nil
		}
		return err
	}
	r.evaluated, r.saved = state.Step, 0 // a checkpoint of this step does not know of it yet
	epoch := state.epochOfStep()
	if err := r.record(record.Row{
		Kind: "eval", Time: time.Now().UTC().Format(time.RFC3339), Epoch: epoch, Partial: state.Batch > 0, Step: state.Step,
		Loss: record.Number(result.Loss), Top1: record.Number(result.Top1), Top5: record.Number(result.Top5),
		EMA: r.ema != nil, Images: int64(result.Images), ImagesPerSecond: record.Number(result.ImagesPerSecond()),
		Seconds: record.Number(result.Seconds), ResidentBytes: procmem.Resident(),
	}); err != nil {
		return err
	}
	better := finite(result.Loss) && state.SkippedInRow == 0 && (r.best == nil || result.Top1 > r.best.Top1)
	if better {
		r.best, r.bestEpoch, r.bestStep = result, state.Epoch, state.Step
		if err := r.save(BestFile, result.Top1); err != nil {
			return err
		}
	}
	if err := r.save(LastFile, result.Top1); err != nil {
		return err
	}
	mark := ""
	if better {
		mark = "  best so far"
	}
	bar.Print(fmt.Sprintf("epoch %d/%d  loss %.4f  test loss %.4f  top-1 %.2f%%  top-5 %.2f%%  %s%s", epoch+1, l.Epochs,
		r.epochLoss(epoch), result.Loss, result.Top1, result.Top5, progress.Duration(r.elapsed()), mark))
	return r.saveCurve()
}

// epochLoss is the mean training loss recorded in an epoch.
func (r *run) epochLoss(epoch int) float64 {
	sum, n := 0.0, 0
	for _, row := range r.rows {
		if row.Kind == "train" && row.Epoch == epoch {
			sum += float64(row.Loss)
			n++
		}
	}
	return sum / max(float64(n), 1)
}

// save writes the present weights.
func (r *run) save(name string, top1 float64) error {
	if r.loop.State.SkippedInRow > 0 { // weights that give no number are not worth keeping
		return nil
	}
	if name == LastFile {
		r.kept = r.loop.State.Step
	}
	if !r.leads() {
		return nil
	}
	card, err := r.card(top1)
	if err != nil {
		return err
	}
	return SaveWeights(filepath.Join(r.folder, name), r.model, card)
}

func (r *run) saveCurve() error {
	if !r.leads() {
		return nil
	}
	return record.SaveCurve(filepath.Join(r.folder, CurveFile), r.model.Config.Name, r.rows, r.loop.StepsPerEpoch())
}

// saveAtEnd evaluates a run that ended at a step which has not been, and saves
// what an interrupted one has.
func (r *run) saveAtEnd(ctx context.Context, l *Loop) error {
	defer r.options.Progress.Clear()
	state := &l.State
	if !state.Interrupted { // a resumed run goes on counting
		if err := r.clock.flush(l); err != nil {
			return err
		}
	}
	switch {
	case !state.Interrupted && r.evaluator != nil && r.evaluated != state.Step:
		if err := r.averaged(func() error { return r.evaluateNow(ctx, l) }); err != nil {
			return err
		}
	case r.kept != state.Step:
		if err := r.averaged(func() error { return r.save(LastFile, 0) }); err != nil {
			return err
		}
	}
	if r.kept < 0 {
		return fmt.Errorf("nothing was learnt that could be saved: the last %d steps gave no finite loss (a lower lr may help)", state.SkippedInRow)
	}
	return r.saveCurve()
}
