package train

import (
	"time"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
)

// StepCost is what an optimizer step computes: forward and backward of one
// batch, and the update. It is counted once, while the first step runs, by what
// libtorch then does (package flops, the convention Exact).
type StepCost struct {
	batch, update *flops.Totals
	images        int64 // of the batch that was counted
}

// ofBatch runs forward and backward of a batch and counts the first; c may be nil.
func (c *StepCost) ofBatch(images int, run func() error) error {
	if c == nil || c.batch != nil {
		return run()
	}
	c.images = int64(images)
	return countOnce(&c.batch, run)
}

// ofUpdate does the same for the optimizer's part.
func (c *StepCost) ofUpdate(run func() error) error {
	if c == nil || c.update != nil {
		return run()
	}
	return countOnce(&c.update, run)
}

// countOnce never fails for the count's sake: what could not be counted is 0.
func countOnce(into **flops.Totals, run func() error) error {
	*into = new(flops.Totals)
	var failed error
	ran := false
	counted, err := flops.TrainingStep(func() error {
		ran = true
		failed = run()
		return failed
	})
	if !ran {
		return run()
	}
	if err == nil {
		**into = counted.Totals
	}
	return failed
}

// Of is the FLOPs and MACs of training on that many images in so many steps;
// zeros before the first step.
func (c *StepCost) Of(images int64, steps int) (operations, macs float64) {
	if c == nil || c.batch == nil || c.update == nil || c.images == 0 {
		return 0, 0
	}
	batches := float64(images) / float64(c.images)
	return float64(c.batch.FLOPs)*batches + float64(c.update.FLOPs)*float64(steps),
		float64(c.batch.MACs)*batches + float64(c.update.MACs)*float64(steps)
}

// speed is FLOP/s, and the share of a device's peak that matrix products,
// convolutions and attention used (MFU; 0: the peak is not known).
func (c *StepCost) speed(images int64, steps int, elapsed time.Duration, peak float64) (rate, utilisation float64) {
	operations, macs := c.Of(images, steps)
	seconds := max(elapsed.Seconds(), 1e-9)
	if peak > 0 {
		utilisation = 2 * macs / seconds / peak
	}
	return operations / seconds, utilisation
}

// peakOf is the peak rate of the device that a run trains on, 0 where it is not
// known: CPUs differ too much.
func peakOf(device torch.Device, precision gotch.DType) float64 {
	if device.Is(torch.CPU) {
		return 0
	}
	if precision == 0 {
		precision = gotch.Float
	}
	peak, _ := flops.PeakFLOPs(flops.GPUName(), precision, false)
	return peak
}
