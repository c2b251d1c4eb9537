package train

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/schedule"
	"github.com/gonatten/gonatten/train/state"
)

// Model computes logits from images; all models and layers of this module do.
type Model interface {
	Apply(images *ts.Tensor, train bool) (*ts.Tensor, error)
}

// Source is where batches come from; a *data.Loader is one.
type Source interface {
	// Len is the number of batches of an epoch.
	Len() int
	// Epoch iterates over the batches of an epoch from number from on.
	Epoch(ctx context.Context, epoch, from int) iter.Seq2[*data.Batch, error]
}

// Mixer blends the images of a batch in place and returns the targets that go
// with them, [batch, classes]; nil leaves the batch's labels as the targets.
type Mixer func(b *data.Batch, epoch int) ([]float32, error)

// Peers are the other processes that train the same model, each on its share of
// every batch. All processes call the methods in the same order.
type Peers interface {
	// Forward is called before the forward pass of a batch. With reduce its
	// backward pass completes the gradients of a step, and averages them over the
	// processes.
	Forward(reduce bool) error
	// Backward is called after the backward pass with its error, and returns that,
	// or what is behind it.
	Backward(err error) error
	// Sum adds up numbers over the processes, in place.
	Sum(values []float64) error
	// Updated is called after the optimizer has updated its parameters.
	Updated() error
}

// Moment names a point in a run at which hooks are called.
type Moment string

// The moments, in the order in which they come.
const (
	RunStart   Moment = "run start"
	EpochStart Moment = "epoch start"
	StepEnd    Moment = "step end"  // after each optimizer step
	EpochEnd   Moment = "epoch end" // of a whole epoch
	RunEnd     Moment = "run end"   // always, also after a stop or an interruption
)

// Hook is called at a moment; an error ends the run.
type Hook func(ctx context.Context, l *Loop) error

// State is where a loop stands. It counts what has been done.
type State struct {
	Epoch  int   // epochs completed
	Batch  int   // batches of the present epoch completed
	Step   int   // optimizer steps
	Images int64 // images trained on

	// Of the last step:
	Loss     float64 // mean over its batches
	LR       float64
	GradNorm *ts.Tensor // scalar, before clipping; nil unless gradients are clipped by norm
	// Overflows counts steps that were left out because their float16 gradients
	// were not finite, see Loop.Scaler.
	Overflows int

	// Skipped counts steps that were left out because their loss, or the norm of
	// their gradients where it is measured, was no finite number; SkippedInRow the
	// last of them without one between.
	Skipped, SkippedInRow int

	// Interrupted tells that the context ended the run, StopReason that a hook did.
	Interrupted bool
	StopReason  string
}

// epochOfStep is the epoch of the last step, counted from 0.
func (s *State) epochOfStep() int {
	if s.Batch > 0 {
		return s.Epoch
	}
	return max(s.Epoch-1, 0)
}

// Loop trains a model. Set the fields, add hooks, call Run.
type Loop struct {
	Model     Model
	Optimizer *optim.Optimizer
	Source    Source
	Loss      Loss
	// Schedule is the learning rate of each optimizer step.
	Schedule schedule.Schedule
	Epochs   int
	// MaxSteps ends the run early; 0 is no limit.
	MaxSteps int

	// Mix is applied to each batch; nil: none.
	Mix Mixer
	// Accumulate is the number of batches per optimizer step; the last step of an
	// epoch may have fewer. 0 means 1.
	Accumulate int
	// ClipNorm and ClipValue limit gradients; 0 is off.
	ClipNorm, ClipValue float64
	// EMA is updated after each step; nil: none.
	EMA *optim.EMA
	// Precision computes the forward pass in mixed precision; gotch.Float is off.
	Precision gotch.DType
	// Scaler scales the loss, as float16 gradients need it; nil: none. A step whose
	// gradients are not finite is left out, but counted.
	Scaler *optim.Scaler
	// Recompute trades time for memory: what is inside the model's segments is
	// computed again in the backward pass. The model must be Segmented. On the CPU
	// the process then gives large blocks of memory back when they are freed.
	Recompute bool
	// Device is where the model is. The zero value is the CPU.
	Device torch.Device
	// Cost counts the first step; nil: no count.
	Cost *StepCost

	State State
	// Peers are the processes that train along; nil: none.
	Peers Peers
	// MaxSkipped is the number of steps in a row that may be skipped, see
	// State.Skipped; one more ends the run. OnNonFinite is given the batch whose
	// loss does, as the model saw it.
	MaxSkipped  int
	OnNonFinite func(b *data.Batch, s *State) error

	// Parts have state besides that of the model and the optimizer (a scaler of
	// losses, say), which checkpoints hold under their names.
	Parts map[string]state.Part

	hooks map[Moment][]Hook
}

// On adds a hook. Hooks of one moment are called in the order they were added.
func (l *Loop) On(m Moment, h Hook) {
	if l.hooks == nil {
		l.hooks = map[Moment][]Hook{}
	}
	l.hooks[m] = append(l.hooks[m], h)
}

// Stop ends the run after the present step, for a reason given in State.
func (l *Loop) Stop(reason string) { l.State.StopReason = reason }

// StepsPerEpoch is the number of optimizer steps of an epoch.
func (l *Loop) StepsPerEpoch() int {
	k := max(l.Accumulate, 1)
	return (l.Source.Len() + k - 1) / k
}

// Run trains from State to the end, or until the context ends or a hook stops
// it; then it returns without error and State says which. It holds its OS
// thread throughout.
func (l *Loop) Run(ctx context.Context) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := l.check(); err != nil {
		return err
	}
	if l.Recompute && l.Device.Is(torch.CPU) {
		torch.ReturnFreedMemory(returnedSize)
	}
	defer l.setGradNorm(nil)
	if err := l.call(ctx, RunStart); err != nil {
		return err
	}
	defer func() {
		if err == nil { // saving belongs here, an ended context must not forbid it
			err = l.call(context.WithoutCancel(ctx), RunEnd)
		}
	}()
	for l.State.Epoch < l.Epochs && !l.done(ctx) {
		if err := l.call(ctx, EpochStart); err != nil {
			return err
		}
		whole, err := l.epoch(ctx)
		if err != nil || !whole {
			return err
		}
		l.State.Epoch++
		l.State.Batch = 0
		if err := l.call(ctx, EpochEnd); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loop) check() error {
	switch {
	case l.Model == nil || l.Optimizer == nil || l.Source == nil || l.Loss == nil || l.Schedule == nil:
		return errors.New("train: Loop: Model, Optimizer, Source, Loss and Schedule are needed")
	case l.Accumulate < 0 || l.ClipNorm < 0 || l.ClipValue < 0 || l.MaxSteps < 0:
		return fmt.Errorf("train: Loop: negative Accumulate %d, ClipNorm %g, ClipValue %g or MaxSteps %d",
			l.Accumulate, l.ClipNorm, l.ClipValue, l.MaxSteps)
	case l.Recompute && !l.segmented():
		return errNotSegmented
	case l.Precision != 0 && l.Precision != gotch.Float && l.Precision != gotch.BFloat16 && l.Precision != gotch.Half:
		return fmt.Errorf("train: Loop: precision %v, want float32, bfloat16 or float16", l.Precision)
	}
	return nil
}

// done tells whether the run is to end now.
func (l *Loop) done(ctx context.Context) bool {
	if ctx.Err() != nil && l.Peers == nil { // peers agree on it, see settle
		l.State.Interrupted = true
	}
	return l.State.Interrupted || l.State.StopReason != "" || l.MaxSteps > 0 && l.State.Step >= l.MaxSteps
}

func (l *Loop) call(ctx context.Context, m Moment) error {
	for _, h := range l.hooks[m] {
		if err := h(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", m, err)
		}
	}
	return nil
}

// epoch trains on the rest of the present epoch; whole tells that nothing of it
// is left.
func (l *Loop) epoch(ctx context.Context) (whole bool, err error) {
	n, k := l.Source.Len(), max(l.Accumulate, 1)
	loss, images := 0.0, int64(0)
	source := ctx
	if l.Peers != nil || k > 1 {
		// Peers end together, after a step. And batches of a step that is not made up
		// would have drawn random numbers that a resumed run lacks.
		source = context.WithoutCancel(ctx)
	}
	for b, err := range l.Source.Epoch(source, l.State.Epoch, l.State.Batch) {
		if err != nil {
			if source.Err() != nil { // that is what the source says
				l.State.Interrupted = true
				return false, nil
			}
			return false, err
		}
		first := b.Number - b.Number%k
		share := min(k, n-first) // batches of this optimizer step
		last := b.Number+1 == first+share
		var batchLoss float64
		err := l.Cost.ofBatch(len(b.Labels), func() (err error) {
			batchLoss, err = l.backward(b, 1/float64(share), last)
			return err
		})
		if err == nil {
			err = l.inspect(b, batchLoss)
		}
		images += int64(len(b.Labels))
		b.Release()
		if err != nil {
			return false, fmt.Errorf("train: epoch %d, batch %d: %w", l.State.Epoch, b.Number, err)
		}
		loss += batchLoss / float64(share)
		if !last {
			continue
		}
		if err := l.settle(ctx, loss, images); err != nil {
			return false, fmt.Errorf("train: epoch %d, batch %d: %w", l.State.Epoch, b.Number, err)
		}
		l.State.Batch, loss, images = b.Number+1, 0, 0
		if err := l.call(ctx, StepEnd); err != nil {
			return false, err
		}
		if l.State.Batch < n && l.done(ctx) {
			return false, nil
		}
	}
	return true, nil
}

// backward adds the gradients of one batch, its loss weighted by share.
func (l *Loop) backward(b *data.Batch, share float64, last bool) (loss float64, err error) {
	s := torch.NewScope()
	defer s.Close()
	images, targets, err := l.tensors(s, b)
	if err != nil {
		return 0, err
	}
	if l.Peers != nil {
		if err := l.Peers.Forward(last); err != nil {
			return 0, err
		}
	}
	var value *ts.Tensor
	if l.Recompute {
		if value, err = l.recompute(s, images, targets, share); err != nil {
			return 0, err
		}
		return torch.Scalar(value)
	}
	if err := l.inPrecision(func() error {
		value = l.Loss(s, s.Own(l.Model.Apply(images, true)), targets)
		return s.Err()
	}); err != nil {
		return 0, err
	}
	if weighted := l.weigh(s, value, share); s.Err() == nil {
		err := torch.Backward(weighted)
		if l.Peers != nil {
			err = l.Peers.Backward(err)
		}
		s.Fail(err)
	}
	if s.Err() != nil {
		return 0, s.Err()
	}
	return torch.Scalar(value)
}

// tensors copies a batch to the device.
func (l *Loop) tensors(s *torch.Scope, b *data.Batch) (images, targets *ts.Tensor, err error) {
	var soft []float32
	if l.Mix != nil {
		if soft, err = l.Mix(b, l.State.Epoch); err != nil {
			return nil, nil, err
		}
	}
	n := int64(len(b.Labels))
	images = torch.Upload(s, b.Images, l.Device, n, int64(b.Channels), int64(b.Height), int64(b.Width))
	if soft != nil {
		targets = torch.Upload(s, soft, l.Device, n, int64(len(soft))/n)
	} else {
		targets = torch.Upload(s, b.Labels, l.Device, n)
	}
	return images, targets, s.Err()
}

// update is one optimizer step from the gradients that have been added up. It
// tells their norm where that is known, and leaves the weights alone where it is
// no finite number: one infinite gradient would be all of them.
func (l *Loop) update() (norm float64, err error) {
	parameters := l.Optimizer.Parameters()
	l.State.LR = l.Schedule(l.State.Step)
	if l.Scaler != nil {
		good, err := l.Scaler.Unscale(parameters)
		if err == nil {
			err = l.Scaler.Update()
		}
		if err != nil {
			return 0, err
		}
		if !good {
			l.State.Overflows++
			l.State.Step++
			return 0, l.Optimizer.ZeroGrad()
		}
	}
	if l.ClipNorm > 0 {
		measured, err := optim.ClipNorm(parameters, l.ClipNorm)
		if err != nil {
			return 0, err
		}
		l.setGradNorm(measured)
		if norm, err = torch.Scalar(measured); err != nil || !finite(norm) {
			return norm, err
		}
	}
	if l.ClipValue > 0 {
		if err := optim.ClipValue(parameters, l.ClipValue); err != nil {
			return 0, err
		}
	}
	if err := l.Optimizer.Step(l.State.LR); err != nil {
		return 0, err
	}
	if err := l.Optimizer.ZeroGrad(); err != nil {
		return 0, err
	}
	if l.Peers != nil {
		if err := l.Peers.Updated(); err != nil {
			return 0, err
		}
	}
	if l.EMA != nil {
		if err := l.EMA.Update(); err != nil {
			return 0, err
		}
	}
	l.State.Step++
	return norm, nil
}

func (l *Loop) setGradNorm(norm *ts.Tensor) {
	if l.State.GradNorm != nil {
		l.State.GradNorm.MustDrop()
	}
	l.State.GradNorm = norm
}
